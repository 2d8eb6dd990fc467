// Making slots from keys and values (maths 1, 4, 4a). Plain products with autograd.
#pragma once

#include "linformer/ops/attention.hpp"

namespace linformer::ops {

/// Where slots look: the whole sequence, running sums of finished blocks, or each block on its own.
struct SummariseOptions {
  std::int64_t window = 0;                                    ///< W; 0 = the whole sequence (bidirectional)
  bool block = false;                                         ///< with a window: block instead of running
  std::optional<at::Tensor> key_padding_mask = std::nullopt;  ///< whole sequence only; (B,M) bool, true = padding
};

/// Linear: slots = E·K, F·V. Projections (K,P) or (H,K,P), P ≥ M; block: (r,W) or (H,r,W).
Slots summarise_linear(const at::Tensor& key, const at::Tensor& value, const at::Tensor& projection_key,
                       const at::Tensor& projection_value, const SummariseOptions& options);
/// Dynamic: weights are a softmax over positions of `scores` (B,H,K,M), one for keys and values; block:
/// (B,H,r,M), a softmax in each block.
Slots summarise_dynamic(const at::Tensor& key, const at::Tensor& value, const at::Tensor& scores,
                        const SummariseOptions& options);
/// Convolution over segments of P/K positions (block: W/r), `kernel` (segment) shared over channels and
/// heads, or (H,segment). Bidirectional sequences shorter than P give ceil(M/segment) slots; the last,
/// partial segment uses the kernel's first weights.
Slots summarise_convolution(const at::Tensor& key, const at::Tensor& value, const at::Tensor& kernel_key,
                            const at::Tensor& kernel_value, const SummariseOptions& options);
/// Mean and max over segments of `segment` positions; padded positions count for nothing.
Slots summarise_mean(const at::Tensor& key, const at::Tensor& value, std::int64_t segment,
                     const SummariseOptions& options);
Slots summarise_max(const at::Tensor& key, const at::Tensor& value, std::int64_t segment,
                    const SummariseOptions& options);

}  // namespace linformer::ops
