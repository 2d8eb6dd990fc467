#include "nn/sinusoidal.hpp"

#include <ATen/ATen.h>

namespace linformer::nn {

at::Tensor sinusoidal_table(std::int64_t length, std::int64_t width) {
  const auto columns = at::arange(width, at::kDouble);
  const auto rates = at::pow(10000.0, -2.0 * at::floor(columns / 2) / static_cast<double>(width));
  const auto angles = at::arange(length, at::kDouble).unsqueeze(1) * rates;
  return at::where(columns.remainder(2) == 0, angles.sin(), angles.cos());
}

}  // namespace linformer::nn
