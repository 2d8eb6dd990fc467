// The learned part of a Linformer layer that makes its slots, for every kind of projection.
#pragma once

#include "linformer/ops/summarise.hpp"
#include "nn/attention.hpp"

namespace linformer::nn {

struct SlotMaker {
  Projection projection;
  bool shared_by_heads;
  std::int64_t slots;     ///< K, or r with block summaries
  std::int64_t length;    ///< P, or W with block summaries
  std::int64_t segment;   ///< positions per slot; for convolution and pooling
  at::Tensor key, value;  ///< (K,P) or (H,K,P); convolution: (segment) or (H,segment)
  Linear scores;          ///< dynamic

  SlotMaker(const LayerContext& context, bool block);
  /// The weights for keys and for values, in `dtype`, for one forward pass. If they are shared, the same tensor twice.
  std::pair<at::Tensor, at::Tensor> projections(at::ScalarType dtype) const;
  /// (B,H,K,M) for dynamic projection; else undefined.
  at::Tensor scores_of(const at::Tensor& x_BNd, std::int64_t heads) const;
  /// How much each slot takes from each position (B,H,K,M), when that depends on the text; else undefined.
  at::Tensor reads(const at::Tensor& x_BNd, std::int64_t heads, const ops::SummariseOptions& options) const;
  ops::Slots operator()(const at::Tensor& scores_BHKM, const at::Tensor& key_BHMD, const at::Tensor& value_BHMD,
                        const ops::SummariseOptions& options) const;
};

}  // namespace linformer::nn
