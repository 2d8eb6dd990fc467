// The product of a linear layer, by the library that multiplies faster on this processor.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace linformer::nn {

/// x Wᵀ + b; weight (out,in), bias (out) or none. LibTorch multiplies float32 matrices with MKL, which on some processors runs at half of
/// oneDNN's speed. Without gradients (evaluation, prompts) both are timed once on a product of a few milliseconds, and the faster one serves.
at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias = std::nullopt);

/// While it lives, this thread's products are those made with gradients: for a forward that is made again with them, to the same bits.
class AsWithGradients {
 public:
  AsWithGradients();
  ~AsWithGradients();
  AsWithGradients(const AsWithGradients&) = delete;
  AsWithGradients& operator=(const AsWithGradients&) = delete;

 private:
  bool before_;
};

}  // namespace linformer::nn
