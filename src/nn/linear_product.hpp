// The product of a linear layer.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace linformer::nn {

/// x Wᵀ + b; weight (out,in), bias (out) or none. LibTorch multiplies float32 matrices with MKL, which on some
/// processors runs at half of oneDNN's speed. Without gradients (evaluation, prompts) a ProductGuard, or else
/// automatic_products(), says which of the two serves; they round differently in the last bits. With few rows it is
/// always LibTorch.
at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight,
                          const std::optional<at::Tensor>& bias = std::nullopt);

/// Whether LibTorch offers products of float32 by oneDNN.
bool onednn_available();

}  // namespace linformer::nn
