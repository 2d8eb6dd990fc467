// GELU of a product and its bias, x·Φ(x), in one pass each way. Shape letters: R rows, h width.
#pragma once

#include <cstdint>

#include "linformer/kernels/attend.hpp"

namespace linformer::kernels {

/// All contiguous: out = gelu(x + bias).
struct GeluRows {
  std::int64_t rows, width;
  Element element;    ///< of all but bias
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
  float* grad_bias;      ///< (h), written
};

/// Rows are spread over the engine's threads; the result does not depend on their number.
void gelu_forward(const GeluRows& rows);
void gelu_backward(const GeluGradients& gradients);

}  // namespace linformer::kernels
