// The language-model loss (maths 6).
#pragma once

#include <ATen/core/Tensor.h>

namespace linformer::ops {

struct CrossEntropyOptions {
  std::int64_t ignore_index = -100;
  std::int64_t chunk = 0;  ///< rows of logits held in memory at once; 0 = chosen automatically
};
/// The mean of −log softmax(hidden·weightᵀ)[target] over all targets ≠ ignore_index. It never holds more than one chunk
/// of logits, and makes the gradients in the same pass. hidden (…,d), weight (V,d), target (…) int64. NaN when no
/// target counts, as in PyTorch. Float16 is computed in float32.
at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& target,
                                const CrossEntropyOptions& options = {});

}  // namespace linformer::ops
