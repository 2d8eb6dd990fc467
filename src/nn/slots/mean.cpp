// Slots that are means of segments (maths 1, 4).
#include <algorithm>

#include "nn/slots/slot_rule.hpp"

namespace linformer::nn {

namespace {

class MeanSlots final : public SlotRule {
 public:
  using SlotRule::SlotRule;

  ops::Slots summarise(const SlotText& text, const ops::SummariseOptions& options) const override {
    return ops::summarise_mean(text.key, text.value, segment_, options);
  }

  void absorb(const DecodedBlock& block) const override {
    std::fill_n(block.weights, slots_ * window_, 0.0F);
    for (std::int64_t slot = 0; slot < slots_; ++slot)
      std::fill_n(block.weights + slot * (window_ + segment_), segment_, 1.0F / static_cast<float>(segment_));
    for (const auto* side : {&block.key, &block.value}) set_slots(block, *side, block.weights);
  }
};

}  // namespace

std::unique_ptr<SlotRule> make_mean_slots(const LayerContext& context) { return std::make_unique<MeanSlots>(context); }

}  // namespace linformer::nn
