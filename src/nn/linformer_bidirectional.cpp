// The paper's bidirectional attention (maths 1).
#include <ATen/ATen.h>

#include "linformer/core/error.hpp"
#include "linformer/ops/reference.hpp"
#include "nn/attention.hpp"
#include "nn/slots/linear.hpp"

namespace linformer::nn {

namespace {

class BidirectionalAttention final : public Attention {
 public:
  explicit BidirectionalAttention(const LayerContext& context)
      : Attention(context), rule_(make_slot_rule(context)), reassociate_(context.config.attention.reassociate) {}

  ops::Branch forward(const at::Tensor& x_BNd, const std::optional<at::Tensor>& padding_mask) const override {
    const auto* linear = dynamic_cast<const LinearSlots*>(rule_.get());
    if (!reassociate_ || linear == nullptr || !linear->shared_by_heads())
      return Attention::forward(x_BNd, padding_mask);
    // E (X Wᵀ + 1 bᵀ) = (E X) Wᵀ + (E 1) bᵀ: the sequence is shortened before the products with W (maths 1,
    // reassociation).
    const auto n = x_BNd.size(1);
    auto present = at::ones({x_BNd.size(0), n, 1}, x_BNd.options());
    if (padding_mask) present = padding_mask->logical_not().unsqueeze(-1).to(x_BNd.scalar_type());
    const auto x = padding_mask ? x_BNd.masked_fill(padding_mask->unsqueeze(-1), 0) : x_BNd;
    const auto project = [&](const at::Tensor& projection, const Linear& layer, const at::Tensor& shortened) {
      const auto mass = at::matmul(projection.narrow(1, 0, n), present);
      const auto product = at::matmul(shortened, layer.weight.t().to(shortened.scalar_type()));
      return split(layer.bias.defined() ? product + mass * layer.bias : product);
    };
    // Expanded, because matmul would move the batch into columns: that needs a copy of x, and gives a gradient with
    // strides.
    const auto shorten = [&](const at::Tensor& projection) {
      return at::bmm(projection.narrow(1, 0, n).expand({x.size(0), -1, -1}), x);
    };
    const auto [e, f] = linear->projections(x.scalar_type());
    const auto key_x = shorten(e);
    const auto value_x = f.is_same(e) ? key_x : shorten(f);
    const auto query = split(query_(x_BNd));
    return merge(mix(query, {project(e, key_, key_x), project(f, value_, value_x)}));
  }

  AttentionWeights weights(const at::Tensor& x) const override {
    const auto heads = heads_of(x);
    const auto slots = slots_of(x, heads, std::nullopt);
    const ops::Slots marked{ops::repeat_heads(slots.key, heads_), identity_values(slots.key.size(2), x)};
    const auto reads = rule_->reads(x, {});
    return {.slots = ops::reference::attend(heads.query, {}, {}, marked, {}),
            .reads = reads.defined() ? ops::repeat_heads(reads, heads_) : reads};
  }

 protected:
  at::Tensor attend(const at::Tensor& x, const Heads& heads,
                    const std::optional<at::Tensor>& padding_mask) const override {
    return mix(heads.query, slots_of(x, heads, padding_mask));
  }
  std::pair<at::Tensor, StatePointer> attend_chunk(const Chunk&) const override {
    fail("a bidirectional model has no decode state.");
  }
  at::Tensor attend_step(const at::Tensor&, const Heads&, const std::vector<std::int64_t>&,
                         LayerState&) const override {
    fail("a bidirectional model can't continue a sequence.");
  }

 private:
  at::Tensor mix(const at::Tensor& query, const ops::Slots& slots) const {
    const auto dtype = query.scalar_type();
    const ops::Slots cast{slots.key.to(dtype), slots.value.to(dtype)};
    return ops::attend(query, cast.key, cast.value, cast, {});
  }
  ops::Slots slots_of(const at::Tensor& x, const Heads& heads, const std::optional<at::Tensor>& padding_mask) const {
    return rule_->summarise({.key = heads.key, .value = heads.value, .scores = rule_->scores(x)},
                            {.key_padding_mask = padding_mask});
  }

  std::unique_ptr<SlotRule> rule_;
  bool reassociate_;
};

}  // namespace

std::unique_ptr<Attention> make_bidirectional(const LayerContext& context) {
  return std::make_unique<BidirectionalAttention>(context);
}

}  // namespace linformer::nn
