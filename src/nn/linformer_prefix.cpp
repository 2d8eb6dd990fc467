// Causal prefix attention (maths 3). Its decode state holds the two running sums.
#include <ATen/ATen.h>

#include <cmath>

#include "linformer/core/error.hpp"
#include "linformer/ops/autocast.hpp"
#include "nn/attention.hpp"
#include "nn/slots/linear.hpp"

namespace linformer::nn {

namespace {

class PrefixAttention final : public Attention {
 public:
  explicit PrefixAttention(const LayerContext& context) : Attention(context), slots_(context) {
    require(context.config.attention.projection == Projection::linear,
            "attention.projection {}: prefix attention (attention.window 0) needs linear.",
            enum_name(context.config.attention.projection));
  }

  // Softmax of S_t q_t for every t. It needs N×K×D memory, like the reference.
  AttentionWeights weights(const at::Tensor& x) const override {
    const auto heads = heads_of(x);
    const auto projection = slots_.key().narrow(-1, 0, x.size(1));
    const auto* product = projection.dim() == 2 ? "kn,bhnd->bhnkd" : "hkn,bhnd->bhnkd";
    const auto sums_BHNKD = at::einsum(product, {projection, heads.key}).cumsum(2);
    const auto all_BHNKD = ops::repeat_heads(sums_BHNKD, heads_);
    const auto logits_BHNK =
        at::einsum("bhnd,bhnkd->bhnk", {heads.query, all_BHNKD}) / std::sqrt(static_cast<double>(head_width_));
    return {.slots = at::softmax(logits_BHNK, -1)};
  }

 protected:
  at::Tensor attend(const at::Tensor&, const Heads& heads, const std::optional<at::Tensor>&) const override {
    return attend_from(heads, 0, nullptr);
  }

  std::pair<at::Tensor, StatePointer> attend_chunk(const Chunk& chunk) const override {
    const auto& [query, key, value] = chunk.heads;
    auto out = attend_from(chunk.heads, chunk.position, chunk.before);
    const ops::AutocastOff autocast_off(key.device().type());
    auto state = std::make_unique<LayerState>();
    if (chunk.before != nullptr) {
      state->slots = chunk.before->slots;
    } else {
      const auto none = at::zeros({key.size(0), state_heads_, slots_.slots(), head_width_},
                                  output_.weight.options().requires_grad(std::nullopt));
      state->slots = {none, none};
    }
    state->slots = slots_.sums_after(state->slots, {.key = key, .value = value, .first = chunk.position});
    return {out, std::move(state)};
  }

  at::Tensor attend_step(const at::Tensor&, const Heads& heads, const std::vector<std::int64_t>& positions,
                         LayerState& state) const override {
    const ops::AutocastOff autocast_off(heads.key.device().type());
    auto& sums = state.slots;
    const auto rows = at::tensor(positions, at::kLong).to(heads.key.device());
    sums.key.add_(column(slots_.key(), rows) * wide(heads.key));
    sums.value.add_(column(slots_.value(), rows) * wide(heads.value));
    const auto weights =
        at::softmax(at::matmul(wide(heads.query), ops::repeat_heads(sums.key, heads_).transpose(2, 3)) /
                        std::sqrt(static_cast<double>(head_width_)),
                    -1);
    return at::matmul(weights, ops::repeat_heads(sums.value, heads_)).to(heads.query.scalar_type());
  }

 private:
  at::Tensor attend_from(const Heads& heads, std::int64_t position, const LayerState* before) const {
    const auto [e, f] = slots_.projections(heads.key.scalar_type());
    if (before == nullptr) return ops::prefix_attention(heads.query, heads.key, heads.value, e, f, {});
    const auto n = heads.key.size(2);
    return ops::prefix_attention(heads.query, heads.key, heads.value, e.narrow(-1, position, n),
                                 f.narrow(-1, position, n), {.before = before->slots});
  }

  // E[:, position] of each row of the batch: (B,1 or H,K,1).
  static at::Tensor column(const at::Tensor& projection, const at::Tensor& rows) {
    const auto columns = projection.index_select(-1, rows);
    return (projection.dim() == 2 ? columns.unsqueeze(0) : columns).permute({2, 0, 1}).unsqueeze(-1);
  }
  LinearSlots slots_;
};

}  // namespace

std::unique_ptr<Attention> make_prefix(const LayerContext& context) {
  return std::make_unique<PrefixAttention>(context);
}

}  // namespace linformer::nn
