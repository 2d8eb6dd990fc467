// GELU together with the bias that is added before it.
#pragma once

#include <ATen/core/Tensor.h>

namespace linformer::ops {

/// gelu(x + bias), where gelu(u) = u·Φ(u) and Φ is the distribution function of the normal distribution (Hendrycks and
/// Gimpel 2016, arXiv 1606.08415, the exact form). x (…,h), bias (h), or undefined for none; the result has x's dtype.
/// On a CPU, float32 and bfloat16 x with a float32 bias need one pass over memory forward and one backward. UserError
/// for shapes that don't fit together.
at::Tensor bias_gelu(const at::Tensor& x, const at::Tensor& bias);

}  // namespace linformer::ops
