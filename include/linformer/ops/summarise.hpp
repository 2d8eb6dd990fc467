// Makes slots from keys and values (maths 1, 4, 4a), with plain products and autograd.
#pragma once

#include "linformer/ops/attention.hpp"

namespace linformer::ops {

/// What slots are made from: the whole sequence, all finished blocks together (running), or each block on its own
/// (block).
struct SummariseOptions {
  std::int64_t window = 0;  ///< W; 0 = slots of the whole sequence (bidirectional)
  bool block = false;       ///< with a window: block summaries instead of running ones
  /// only for the whole sequence; (B,M) bool, true = padding
  std::optional<at::Tensor> key_padding_mask = std::nullopt;
  /// Only for running slots: the sums of the text before, (B,H,K,D). key and value then begin with the block before
  /// the first query's, as the projections do; the result has one entry for each block of queries.
  std::optional<Slots> before = std::nullopt;
  /// Only for running slots: λ (H,K). With every block that is added, what each slot held before is multiplied by it.
  std::optional<at::Tensor> decay = std::nullopt;
};

/// Linear (Wang et al. 2020, arXiv 2006.04768): slots = E·K and F·V. Projections are (K,P) or (H,K,P) with P ≥ M; for
/// block (r,W) or (H,r,W).
Slots summarise_linear(const at::Tensor& key, const at::Tensor& value, const at::Tensor& projection_key,
                       const at::Tensor& projection_value, const SummariseOptions& options);
/// Dynamic (Zhu et al. 2021, arXiv 2107.02192): the weights are a softmax of `scores` (B,H,K,M) over positions, the
/// same for keys and values. For block, scores are (B,H,r,M) and the softmax is over one block.
Slots summarise_dynamic(const at::Tensor& key, const at::Tensor& value, const at::Tensor& scores,
                        const SummariseOptions& options);
/// Convolution over segments of P/K positions (block: W/r). The kernel is (segment), shared by all channels and heads,
/// or (H,segment). A bidirectional sequence shorter than P gives ceil(M/segment) slots. If the last segment is
/// incomplete, it uses the first weights of the kernel.
Slots summarise_convolution(const at::Tensor& key, const at::Tensor& value, const at::Tensor& kernel_key,
                            const at::Tensor& kernel_value, const SummariseOptions& options);
/// The mean or the maximum over segments of `segment` positions. Padded positions are ignored.
Slots summarise_mean(const at::Tensor& key, const at::Tensor& value, std::int64_t segment,
                     const SummariseOptions& options);
Slots summarise_max(const at::Tensor& key, const at::Tensor& value, std::int64_t segment,
                    const SummariseOptions& options);

}  // namespace linformer::ops
