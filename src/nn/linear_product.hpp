// The product of a linear layer, by the library that multiplies faster on this processor.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace linformer::nn {

/// x Wᵀ + b; weight (out,in), bias (out) or none. LibTorch multiplies float32 matrices with MKL, which on some
/// processors runs at half of oneDNN's speed. Without gradients (evaluation, prompts) both are timed once a process on
/// products of some milliseconds; oneDNN serves where it is faster by 30 %, so that no processor is near the border.
/// The two round differently in the last bits.
at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight,
                          const std::optional<at::Tensor>& bias = std::nullopt);

enum class ProductLibrary { measured, libtorch, onednn };

/// Whether LibTorch has what `onednn` needs.
bool onednn_available();

/// While it lives, this thread's linear_product() takes that library; `onednn` only where onednn_available(). A forward
/// that is made again with gradients, to the same bits, takes `libtorch`.
class ForcedProduct {
 public:
  explicit ForcedProduct(ProductLibrary library);
  ~ForcedProduct();
  ForcedProduct(const ForcedProduct&) = delete;
  ForcedProduct& operator=(const ForcedProduct&) = delete;

 private:
  ProductLibrary before_;
};

}  // namespace linformer::nn
