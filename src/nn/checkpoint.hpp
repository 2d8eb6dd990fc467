// Activation checkpointing: recompute instead of keep.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace linformer::nn {

/// body(x) without keeping its intermediates: backward runs it again under the same random state and autocast mode.
/// `parameters`: every tensor that `body` uses and that gets a gradient. Gradients equal those of the plain call bit
/// for bit.
at::Tensor checkpointed(std::function<at::Tensor(const at::Tensor&)> body, const at::Tensor& x,
                        const std::vector<at::Tensor>& parameters);

}  // namespace linformer::nn
