// Activation checkpointing: computes activations again in backward instead of storing them.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace linformer::nn {

/// Returns body(x) without storing its intermediate results. Backward runs `body` again, with the same random state and
/// autocast mode. `parameters` must hold every tensor that `body` uses and that gets a gradient. The gradients equal
/// those of a plain call bit for bit.
at::Tensor checkpointed(std::function<at::Tensor(const at::Tensor&)> body, const at::Tensor& x,
                        const std::vector<at::Tensor>& parameters);

}  // namespace linformer::nn
