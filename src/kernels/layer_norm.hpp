// Adds the output of a branch to a residual stream and computes the layer norm of the sum, in one pass over memory,
// forward and backward. Shape letters: R rows (tokens), d width.
#pragma once

#include <cstdint>

#include "kernels/attend.hpp"

namespace linformer::kernels {

/// Of every norm: training's and the decoder's, layer norm and RMS norm.
constexpr double norm_epsilon = 1e-5;

/// s = x + branch + branch_bias; normed = (s − mean(s))·scale·weight + bias, with scale = 1/√(variance(s) + 1e-5). With
/// `rms` the mean is taken for 0. All arrays are contiguous; `sum` may be the same memory as x.
struct LayerNormRows {
  std::int64_t rows, width;
  bool rms = false;
  Element stream, element;                         ///< stream: element type of x and sum; element: of branch and normed
  const void* x;                                   ///< (R,d)
  const void* branch = nullptr;                    ///< (R,d); null: no branch, so s is x
  const float* branch_bias = nullptr;              ///< (d); null: no bias
  const float *weight = nullptr, *bias = nullptr;  ///< (d); of the norm, like mean and scale; bias null: none
  void* sum = nullptr;                             ///< (R,d), s; written when there is a branch
  void* normed = nullptr;                          ///< (R,d); null: only the sum is needed
  float *mean = nullptr, *scale = nullptr;         ///< (R)
};

/// Gradients of the inputs. A gradient that is not needed is null.
struct LayerNormGradients {
  std::int64_t rows, width;
  bool rms = false;
  Element stream, element;  ///< stream: element type of sum, grad_sum and x; element: of the rest
  const void* sum;          ///< (R,d): s
  const float *mean, *scale, *weight;
  const void* grad_normed;                            ///< (R,d); null: zero
  const void* grad_sum;                               ///< (R,d); null: zero
  void* x;                                            ///< (R,d)
  void* branch;                                       ///< (R,d): the same numbers as x, in `element`
  float *weight_grad, *bias_grad, *branch_bias_grad;  ///< (d), overwritten
};

/// The rows are divided among LibTorch's threads; their number doesn't change the result.
void layer_norm_forward(const LayerNormRows& rows);
void layer_norm_backward(const LayerNormGradients& gradients);

}  // namespace linformer::kernels
