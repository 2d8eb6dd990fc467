// Running slots that are means of clusters of keys: each position is shared out to the entries of a codebook that its
// key is like (Lingle 2023, arXiv 2309.16354, made soft; maths 4).
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "linformer/ops/autocast.hpp"
#include "nn/slots/mass.hpp"
#include "nn/slots/slot_rule.hpp"

namespace linformer::nn {

namespace {

// Rows scaled to length 1; a row of zeros stays one. Divided by their largest number first, so that no square of a huge
// row overflows. That number is held fast: what comes out doesn't depend on it.
at::Tensor unit_rows(const at::Tensor& x) {
  const auto largest = x.detach().abs().amax(-1, true);
  const auto scaled = x / largest.masked_fill(largest.eq(0), 1.0);
  return scaled * scaled.square().sum(-1, true).clamp_min(0.5).rsqrt();  // at least 1, but for rows of zeros
}

class ClusterSlots final : public SlotRule {
 public:
  explicit ClusterSlots(const LayerContext& context)
      : SlotRule(context), sinks_(context.config.attention.sinks), width_(context.config.head_width()) {
    if (context.config.attention.sharing == Sharing::layerwise && context.shared.key.defined()) {
      codebook_ = context.shared.key, sharpness_ = context.shared.value;
      return;
    }
    codebook_ = context.parameters.normal(context.name + ".codebook", {heads_, slots_, width_}, 1);
    sharpness_ = context.parameters.constant(context.name + ".sharpness", {heads_}, std::log(2.0));
    context.shared.key = codebook_, context.shared.value = sharpness_;
  }

  bool has_mass() const override { return true; }

  // As means have them, of the slots that the last block of queries sees.
  at::Tensor reads_of_keys(const at::Tensor& key_BGND) const override {
    const auto length = key_BGND.size(2), seen = finished(length) * window_;
    const auto weights = shares(key_BGND.narrow(2, 0, seen), std::min(sinks_, seen));
    const auto mass = weights.sum(-1, true);
    return at::constant_pad_nd((weights / mass.clamp_min(kLeastMass)).masked_fill(mass.lt(kLeastMass), 0.0),
                               {0, length - seen});
  }

  // The sums, which the reader divides by their mass.
  ops::Slots summarise(const SlotText& text, const ops::SummariseOptions& options) const override {
    const auto count = finished(text.key.size(2)), seen = count * window_;
    const auto weights = shares(text.key.narrow(2, 0, seen), std::min(text.sinks, seen));
    const ops::SlotWrites writes{.key_weights = weights, .value_weights = weights};
    auto sums = ops::running_sums(text.key, text.value, writes, window_, options.before);
    auto mass_BGKJ = weights.unflatten(3, {count, window_}).sum(4).cumsum(3);
    mass_BGKJ = at::constant_pad_nd(mass_BGKJ, {sums.key.size(2) - count, 0});
    if (options.before) mass_BGKJ = mass_BGKJ + options.before->mass;
    sums.mass = mass_BGKJ.transpose(2, 3).unsqueeze(-1);
    return sums;
  }

  ops::Slots sums_after(const ops::Slots& sums, const SlotText& blocks) const override {
    const auto weights = shares(blocks.key, blocks.sinks).to(sums.key.scalar_type());
    const auto with = [&](const at::Tensor& sum, const at::Tensor& x) {
      return sum + at::matmul(weights, x.to(sum.scalar_type()));
    };
    return {with(sums.key, blocks.key), with(sums.value, blocks.value), sums.mass + weights.sum(-1, true)};
  }

  void prepare_decoding() override {
    const auto codes_GDK = unit_rows(codebook_.detach()).mT() * scale_G11(sharpness_.detach());
    codes_ = at::constant_pad_nd(codes_GDK, {0, kernels::padded(slots_) - slots_}).contiguous();
  }

  std::int64_t working_floats() const override { return window_ * (kernels::padded(slots_) + slots_); }

  void absorb(const DecodedBlock& block) const override {
    const auto columns = kernels::padded(slots_);
    float *logits = block.weights, *weights = logits + window_ * columns;
    std::fill_n(logits, window_ * columns, 0.0F);
    // Of keys as they are: their lengths are divided by below.
    const float* codes = codes_.const_data_ptr<float>() + block.head * width_ * columns;
    block.kernels.add_slots({block.key.rows, block.stride, codes, logits, window_, width_, columns});
    for (std::int64_t i = 0; i < window_; ++i) {
      if (i < block.sinks) {
        for (std::int64_t slot = 0; slot < slots_; ++slot) weights[slot * window_ + i] = 0;
      } else {
        share(block.key.rows + i * block.stride, logits + i * columns, weights + i);
      }
    }
    for (std::int64_t slot = 0; slot < slots_; ++slot) {
      float taken = 0;
      for (std::int64_t i = 0; i < window_; ++i) taken += weights[slot * window_ + i];
      block.mass[slot] += taken;
    }
    for (const auto* side : {&block.key, &block.value})
      block.kernels.add_slots({weights, window_, side->rows, side->slots, slots_, window_, block.stride});
  }

 private:
  // Blocks of a text that its last block of queries sees in slots.
  std::int64_t finished(std::int64_t length) const {
    return std::max<std::int64_t>((length + window_ - 1) / window_ - 2, 0);
  }

  at::Tensor scale_G11(const at::Tensor& sharpness) const {
    return sharpness.exp().mul(std::sqrt(static_cast<double>(width_))).view({-1, 1, 1});
  }

  // p (B,G,K,M) of keys (B,G,M,D), in float32 at least; nothing of the first `sinks`.
  at::Tensor shares(const at::Tensor& key_BGMD, std::int64_t sinks) const {
    const ops::AutocastOff autocast_off(key_BGMD.device().type());
    const auto key = in_float(key_BGMD);
    // A view collects the gradient of this layer before it is added to those of other layers: see projected.cpp.
    const auto codes = unit_rows(codebook_.view_as(codebook_).to(key.scalar_type()));
    const auto scale = scale_G11(sharpness_.view_as(sharpness_).to(key.scalar_type()));
    auto shares_BGMK = at::softmax(at::matmul(unit_rows(key), codes.mT()) * scale, -1);
    if (sinks > 0)
      shares_BGMK = at::constant_pad_nd(shares_BGMK.narrow(2, sinks, key.size(2) - sinks), {0, 0, sinks, 0});
    return shares_BGMK.transpose(2, 3);
  }

  // One position's logits become weights, `window_` apart.
  void share(const float* key, float* logits, float* weights) const {
    double square = 0;
    for (std::int64_t i = 0; i < width_; ++i) square += static_cast<double>(key[i]) * static_cast<double>(key[i]);
    const auto factor = square == 0 ? 0.0F : static_cast<float>(1 / std::sqrt(square));
    const auto largest = *std::max_element(logits, logits + slots_) * factor;
    float total = 0;
    for (std::int64_t slot = 0; slot < slots_; ++slot)
      total += logits[slot] = std::exp(logits[slot] * factor - largest);
    for (std::int64_t slot = 0; slot < slots_; ++slot) weights[slot * window_] = logits[slot] / total;
  }

  std::int64_t sinks_, width_;
  at::Tensor codebook_, sharpness_;  // (G,K,D); (G), log β
  at::Tensor codes_;                 // of the decoder: β√D ĉ (G,D,K), rows padded
};

}  // namespace

std::unique_ptr<SlotRule> make_cluster_slots(const LayerContext& context) {
  return std::make_unique<ClusterSlots>(context);
}

}  // namespace linformer::nn
