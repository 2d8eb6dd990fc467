// Running slots whose gates a linear layer makes of the text: each position replaces a part of what a slot holds
// (Peng et al. 2022, arXiv 2110.02488; Zhang et al. 2024, arXiv 2409.07146; maths 4).
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "linformer/ops/autocast.hpp"
#include "nn/attention.hpp"
#include "nn/slots/slot_rule.hpp"

namespace linformer::nn {

namespace {

// α is the sigmoid of a score to the power of 1/8: so even a score of 0 keeps 92 % of a slot.
constexpr double kPower = 1.0 / 8;
// Biases from slots that forget half of what they hold in 8 positions to slots that do so in 16,500.
constexpr double kLargestBias = 8;

class GatedSlots final : public SlotRule {
 public:
  explicit GatedSlots(const LayerContext& context) : SlotRule(context), sinks_(context.config.attention.sinks) {
    const auto& config = context.config;
    const bool layerwise = config.attention.sharing == Sharing::layerwise;
    if (layerwise && context.shared.scores.weight.defined()) {
      gate_ = context.shared.scores;
      return;
    }
    const auto name = context.name + ".gate";
    gate_.weight =
        context.parameters.normal(name + ".weight", {heads_ * slots_, config.width}, config.initializer_range);
    // Also in a model without biases: slots that start alike would stay alike for long.
    gate_.bias = context.parameters.around(
        name + ".bias", {heads_ * slots_},
        [&] { return at::linspace(0, kLargestBias, slots_, at::kFloat).repeat(heads_); }, 0);
    context.shared.scores = gate_;
  }

  // The bias in float32 at least: bfloat16 has steps of 1/32 near 8.
  at::Tensor scores(const at::Tensor& x_BNd) const override {
    const auto [product, bias] = gate_.branch(x_BNd);
    return (in_float(product) + bias).unflatten(-1, {heads_, slots_}).permute({0, 2, 3, 1});
  }
  bool has_scores() const override { return true; }

  // Those of the slots that the last block of queries sees.
  at::Tensor reads(const at::Tensor& x_BNd, const ops::SummariseOptions& options) const override {
    const auto marks = identity_values(x_BNd.size(1), x_BNd).expand({x_BNd.size(0), heads_, -1, -1});
    const SlotText text{
        .key = marks, .value = marks, .scores = scores(x_BNd), .sinks = std::min(sinks_, x_BNd.size(1))};
    return summarise(text, options).value.select(2, -1);
  }

  ops::Slots summarise(const SlotText& text, const ops::SummariseOptions& options) const override {
    const auto sums = ops::running_sums(text.key, text.value, *writes(text), options.window, options.before);
    return {sums.key.to(text.key.scalar_type()), sums.value.to(text.value.scalar_type())};
  }

  ops::Slots sums_after(const ops::Slots& sums, const SlotText& blocks) const override {
    const auto written = writes_of(blocks, blocks.key.size(2) / window_);
    const auto after = [&](at::Tensor sum, const at::Tensor& weights, const at::Tensor& x) {
      for (std::int64_t block = 0; block < written.decay.size(3); ++block) {
        const auto own = weights.narrow(3, block * window_, window_).to(sum.scalar_type()),
                   rows = x.narrow(2, block * window_, window_).to(sum.scalar_type()),
                   kept = written.decay.select(3, block).unsqueeze(-1).to(sum.scalar_type());
        sum = sum * kept + at::matmul(own, rows);
      }
      return sum;
    };
    return {after(sums.key, written.key_weights, blocks.key), after(sums.value, written.value_weights, blocks.value)};
  }

  std::optional<ops::SlotWrites> writes(const SlotText& text) const override {
    // Nothing reads what the last two blocks write.
    return writes_of(text, std::max<std::int64_t>((text.key.size(2) + window_ - 1) / window_ - 2, 0));
  }

  void absorb(const DecodedBlock& block) const override {
    for (std::int64_t slot = 0; slot < slots_; ++slot) {
      float* weights = block.weights + slot * window_;
      float later = 0;  // Σ log α of the positions after
      for (auto i = window_ - 1; i >= 0; --i) {
        const auto kept = i < block.sinks ? 0.0F : log_gate(block.scores[i * block.score_stride + slot]);
        weights[i] = -std::expm1(kept) * std::exp(later);
        later += kept;
      }
      const auto kept = std::exp(later);
      for (const auto* side : {&block.key, &block.value}) {
        for (std::int64_t i = 0; i < block.stride; ++i) side->slots[slot * block.stride + i] *= kept;
      }
    }
    for (const auto* side : {&block.key, &block.value})
      block.kernels.add_slots({block.weights, window_, side->rows, side->slots, slots_, window_, block.stride});
  }

 private:
  static float log_gate(float score) {
    const auto softplus = std::max(-score, 0.0F) + std::log1p(std::exp(-std::abs(score)));
    return -static_cast<float>(kPower) * softplus;
  }

  // What the first `count` blocks write, in float32 at least. A sink has α = 1, and so the weight 0.
  ops::SlotWrites writes_of(const SlotText& text, std::int64_t count) const {
    const ops::AutocastOff autocast_off(text.key.device().type());
    const auto scores = in_float(text.scores.narrow(3, 0, count * window_)).contiguous();
    auto log_gates = at::log_sigmoid(scores) * kPower;
    if (const auto sinks = std::min(text.sinks, count * window_); sinks > 0)
      log_gates = at::constant_pad_nd(log_gates.narrow(3, sinks, count * window_ - sinks), {sinks, 0});
    const auto log_BGKJW = log_gates.unflatten(3, {count, window_});
    const auto next = at::constant_pad_nd(log_BGKJW.narrow(4, 1, window_ - 1), {0, 1});
    const auto later = next.flip(4).cumsum(4).flip(4);  // Σ log α of the positions after
    const auto weights = (at::expm1(log_BGKJW).neg() * later.exp()).flatten(3);
    return {.key_weights = weights, .value_weights = weights, .decay = log_BGKJW.sum(4).exp()};
  }

  Linear gate_;
  std::int64_t sinks_;
};

}  // namespace

std::unique_ptr<SlotRule> make_gated_slots(const LayerContext& context) {
  return std::make_unique<GatedSlots>(context);
}

}  // namespace linformer::nn
