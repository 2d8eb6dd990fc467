// GELU with the bias that comes before it.
#pragma once

#include <ATen/core/Tensor.h>

namespace linformer::ops {

/// gelu(x + bias), gelu(u) = u·Φ(u) with the normal distribution's Φ (Hendrycks and Gimpel 2016, the exact form). x
/// (…,h), bias (h); the result has x's dtype. On a CPU, float32 and bfloat16 x with a float32 bias take one pass over
/// memory each way, which has no second derivative. UserError: shapes that don't fit.
at::Tensor bias_gelu(const at::Tensor& x, const at::Tensor& bias);

}  // namespace linformer::ops
