// The language-model loss (maths 6).
#pragma once

#include <ATen/core/Tensor.h>

namespace linformer::ops {

struct CrossEntropyOptions {
  std::int64_t ignore_index = -100;
  std::int64_t chunk = 0;  ///< rows of logits held in memory at once; 0 = chosen automatically
};
/// Mean over targets ≠ ignore_index of −log softmax(hidden·weightᵀ)[target], never holding more than one
/// chunk of logits; gradients are made in the same pass. hidden (…,d), weight (V,d), target (…) int64. No
/// valid target: NaN, as PyTorch's. float16 is computed in float32.
at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& target,
                                const CrossEntropyOptions& options = {});

}  // namespace linformer::ops
