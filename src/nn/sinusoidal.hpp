#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace linformer::nn {

/// Position embedding (length, width) in float64: sines at even, cosines at odd columns (Vaswani et al. 2017,
/// section 3.5).
at::Tensor sinusoidal_table(std::int64_t length, std::int64_t width);

}  // namespace linformer::nn
