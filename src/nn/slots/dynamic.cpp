// Slots whose weights a linear layer makes of the text: a softmax over positions (Zhu et al. 2021, arXiv 2107.02192;
// maths 1, 4).
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "nn/attention.hpp"
#include "nn/slots/slot_rule.hpp"

namespace linformer::nn {

namespace {

class DynamicSlots final : public SlotRule {
 public:
  explicit DynamicSlots(const LayerContext& context) : SlotRule(context), sinks_(context.config.attention.sinks) {
    const auto& config = context.config;
    const bool layerwise = config.attention.sharing == Sharing::layerwise;
    if (layerwise && context.shared.scores.weight.defined()) {
      scores_ = context.shared.scores;
      return;
    }
    scores_ = Linear(context.parameters, context.name + ".projection",
                     {config.width, heads_ * slots_, config.initializer_range, config.bias});
    context.shared.scores = scores_;
  }

  at::Tensor scores(const at::Tensor& x_BNd) const override {
    return scores_(x_BNd).unflatten(-1, {heads_, slots_}).permute({0, 2, 3, 1});
  }
  bool has_scores() const override { return true; }

  at::Tensor reads(const at::Tensor& x_BNd, const ops::SummariseOptions& options) const override {
    const auto marks = identity_values(x_BNd.size(1), x_BNd).expand({x_BNd.size(0), heads_, -1, -1});
    return ops::summarise_dynamic(marks, marks, without(scores(x_BNd), sinks_), options).value;
  }

  ops::Slots summarise(const SlotText& text, const ops::SummariseOptions& options) const override {
    return ops::summarise_dynamic(text.key, text.value, without(text.scores, text.sinks), options);
  }

  void absorb(const DecodedBlock& block) const override {
    for (std::int64_t slot = 0; slot < slots_; ++slot) {
      float* weights = block.weights + slot * window_;
      float maximum = -std::numeric_limits<float>::infinity(), total = 0;
      std::fill_n(weights, block.sinks, 0.0F);
      for (std::int64_t i = block.sinks; i < window_; ++i) {
        weights[i] = block.scores[i * block.score_stride + slot];
        maximum = std::max(maximum, weights[i]);
      }
      for (std::int64_t i = block.sinks; i < window_; ++i) total += weights[i] = std::exp(weights[i] - maximum);
      for (std::int64_t i = block.sinks; i < window_; ++i) weights[i] /= total;
    }
    for (const auto* side : {&block.key, &block.value}) set_slots(block, *side, block.weights);
  }

 private:
  // Scores (B,H,K,N) with which the softmax gives the first positions nothing.
  static at::Tensor without(const at::Tensor& scores, std::int64_t sinks) {
    if (sinks == 0 || scores.size(3) <= sinks) return scores;  // nothing reads slots of so short a text
    const auto rest = scores.narrow(3, sinks, scores.size(3) - sinks);
    return at::constant_pad_nd(rest, {sinks, 0}, -std::numeric_limits<double>::infinity());
  }

  Linear scores_;
  std::int64_t sinks_;
};

}  // namespace

std::unique_ptr<SlotRule> make_dynamic_slots(const LayerContext& context) {
  return std::make_unique<DynamicSlots>(context);
}

}  // namespace linformer::nn
