// Adds a bias and applies GELU, x·Φ(x), in one pass over memory, forward and backward. Shape letters: R rows, h width.
#pragma once

#include <cstdint>

#include "kernels/attend.hpp"

namespace linformer::kernels {

/// out = gelu(x + bias). All arrays are contiguous.
struct GeluRows {
  std::int64_t rows, width;
  Element element;    ///< element type of everything except bias
  const void* x;      ///< (R,h)
  const float* bias;  ///< (h)
  void* out;          ///< (R,h)
};

struct GeluGradients {
  std::int64_t rows, width;
  Element element;
  const void* x;
  const float* bias;
  const void* grad_out;  ///< (R,h)
  void* grad_x;          ///< (R,h)
  float* grad_bias;      ///< (h), overwritten
};

/// The rows are divided among LibTorch's threads; their number doesn't change the result.
void gelu_forward(const GeluRows& rows);
void gelu_backward(const GeluGradients& gradients);

}  // namespace linformer::kernels
