// Slots that are the largest values of segments, channel by channel (maths 1, 4).
#include <algorithm>

#include "nn/slots/slot_rule.hpp"

namespace linformer::nn {

namespace {

class MaxSlots final : public SlotRule {
 public:
  using SlotRule::SlotRule;

  ops::Slots summarise(const SlotText& text, const ops::SummariseOptions& options) const override {
    return ops::summarise_max(text.key, text.value, segment_, options);
  }

  void absorb(const DecodedBlock& block) const override {
    for (const auto* side : {&block.key, &block.value}) {
      const float* row = side->rows;
      float* slots = side->slots;
      for (std::int64_t slot = 0; slot < slots_; ++slot, slots += block.stride) {
        std::copy_n(row, block.stride, slots);
        for (std::int64_t i = 0; i < segment_; ++i, row += block.stride) {
          for (std::int64_t k = 0; k < block.stride; ++k) slots[k] = std::max(slots[k], row[k]);
        }
      }
    }
  }
};

}  // namespace

std::unique_ptr<SlotRule> make_max_slots(const LayerContext& context) { return std::make_unique<MaxSlots>(context); }

}  // namespace linformer::nn
