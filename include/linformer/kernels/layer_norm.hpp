// What a branch adds to a residual stream, and the layer norm of the sum, in one pass each way. Shape letters: R rows
// (tokens), d width.
#pragma once

#include <cstdint>

#include "linformer/kernels/attend.hpp"

namespace linformer::kernels {

/// All contiguous; sum may be x. s = x + branch + branch_bias; normed = (s − mean(s))·scale·weight + bias, scale =
/// 1/√(variance(s) + 1e-5).
struct LayerNormRows {
  std::int64_t rows, width;
  Element stream, element;                         ///< stream: of x and sum; element: of branch and normed
  const void* x;                                   ///< (R,d)
  const void* branch = nullptr;                    ///< (R,d); null: none, s is x
  const float* branch_bias = nullptr;              ///< (d); null: none
  const float *weight = nullptr, *bias = nullptr;  ///< (d); of the norm, as mean and scale
  void* sum = nullptr;                             ///< (R,d), where there is a branch: s
  void* normed = nullptr;                          ///< (R,d); null: only the sum is wanted
  float *mean = nullptr, *scale = nullptr;         ///< (R)
};

/// Gradients of the inputs; null where not wanted.
struct LayerNormGradients {
  std::int64_t rows, width;
  Element stream, element;  ///< stream: of sum, grad_sum and x
  const void* sum;          ///< (R,d): s
  const float *mean, *scale, *weight;
  const void* grad_normed;                            ///< (R,d); null: zero
  const void* grad_sum;                               ///< (R,d); null: zero
  void* x;                                            ///< (R,d)
  void* branch;                                       ///< (R,d): the same as x in `element`
  float *weight_grad, *bias_grad, *branch_bias_grad;  ///< (d), written
};

/// Rows are spread over the engine's threads; the result does not depend on their number.
void layer_norm_forward(const LayerNormRows& rows);
void layer_norm_backward(const LayerNormGradients& gradients);

}  // namespace linformer::kernels
