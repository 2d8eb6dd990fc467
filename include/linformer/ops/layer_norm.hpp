// Layer norm and the sum that it follows in a pre-norm block, in one pass. Shape letters: d width.
#pragma once

#include <ATen/core/Tensor.h>

namespace linformer::ops {

/// What a block adds to its residual stream: product + bias. An undefined bias is none.
struct Branch {
  at::Tensor product;  ///< (…,d)
  at::Tensor bias;     ///< (d)
};

/// Layer norm over the last dimension (Ba et al. 2016), epsilon 1e-5; computed and summed in float32 at least.
struct LayerNorm {
  at::Tensor weight, bias;  ///< (d)
};

struct SumAndNorm {
  at::Tensor sum;     ///< in x's dtype
  at::Tensor normed;  ///< in the product's dtype
};

/// x + branch, and its layer norm. x (…,d) may be wider than the product: a residual stream stays in float32 where
/// products are in bfloat16. On a CPU, float32 and bfloat16 with float32 weights take one pass over memory each way,
/// which has no second derivative. UserError: shapes that don't fit.
SumAndNorm add_layer_norm(const at::Tensor& x, const Branch& branch, const LayerNorm& norm);

/// x + branch alone.
at::Tensor add_branch(const at::Tensor& x, const Branch& branch);

/// The layer norm of x, in `dtype`.
at::Tensor layer_norm(const at::Tensor& x, const LayerNorm& norm, at::ScalarType dtype);

}  // namespace linformer::ops
