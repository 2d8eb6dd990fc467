// The paper's slots: sums of all positions, weighted by learned matrices (Wang et al. 2020, arXiv 2006.04768; maths 1,
// 4).
#pragma once

#include "nn/slots/projected.hpp"

namespace linformer::nn {

/// E and F are (K,P) or (H,K,P); with block summaries (r,W) or (H,r,W).
class LinearSlots final : public ProjectedSlots {
 public:
  explicit LinearSlots(const LayerContext& context);
  ops::Slots summarise(const SlotText& text, const ops::SummariseOptions& options) const override;
  ops::Slots sums_after(const ops::Slots& sums, const SlotText& blocks) const override;
  std::optional<ops::SlotWrites> writes(const SlotText& text) const override;
  void absorb(const DecodedBlock& block) const override;
};

}  // namespace linformer::nn
