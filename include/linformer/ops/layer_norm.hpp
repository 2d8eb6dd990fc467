// A residual sum and the layer norm after it, as a pre-norm block needs them, in one pass. Shape letters: d width.
#pragma once

#include <ATen/core/Tensor.h>

namespace linformer::ops {

/// What a block adds to its residual stream: product + bias. An undefined bias means no bias.
struct Branch {
  at::Tensor product;  ///< (…,d)
  at::Tensor bias;     ///< (d)
};

/// Layer norm over the last dimension (Ba et al. 2016, arXiv 1607.06450), epsilon 1e-5. An undefined bias means no
/// bias. With `rms` it is the RMS norm (Zhang and Sennrich 2019, arXiv 1910.07467), x/√(mean(x²) + 1e-5)·weight: no
/// mean is taken off. Statistics are in float32 or wider.
struct LayerNorm {
  at::Tensor weight, bias;  ///< (d)
  bool rms = false;
};

struct SumAndNorm {
  at::Tensor sum;     ///< in x's dtype
  at::Tensor normed;  ///< in the product's dtype
};

/// Returns x + branch, and the layer norm of that sum. x (…,d) may have a wider dtype than the product: a residual
/// stream stays in float32 when products are in bfloat16. On a CPU, float32 and bfloat16 with float32 weights need one
/// pass over memory forward and one backward. UserError for shapes that don't fit together.
SumAndNorm add_layer_norm(const at::Tensor& x, const Branch& branch, const LayerNorm& norm);

/// Returns x + branch, without a norm.
at::Tensor add_branch(const at::Tensor& x, const Branch& branch);

/// The layer norm of x, in `dtype`.
at::Tensor layer_norm(const at::Tensor& x, const LayerNorm& norm, at::ScalarType dtype);

}  // namespace linformer::ops
