// Causal prefix attention (maths 3). Its decode state holds the two running sums.
#include <ATen/ATen.h>

#include <cmath>

#include "linformer/core/error.hpp"
#include "linformer/ops/autocast.hpp"
#include "nn/slot_maker.hpp"

namespace linformer::nn {

namespace {

class PrefixAttention final : public Attention {
 public:
  explicit PrefixAttention(const LayerContext& context) : Attention(context), maker_(context, false) {
    require(maker_.projection == Projection::linear,
            "attention.projection {}: prefix attention (attention.window 0) needs linear.",
            enum_name(maker_.projection));
  }

  // Softmax of S_t q_t for every t. It needs N×K×D memory, like the reference.
  AttentionWeights weights(const at::Tensor& x) const override {
    const auto heads = heads_of(x);
    const auto projection = maker_.key.narrow(-1, 0, x.size(1));
    const auto* product = projection.dim() == 2 ? "kn,bhnd->bhnkd" : "hkn,bhnd->bhnkd";
    const auto sums_BHNKD = at::einsum(product, {projection, heads.key}).cumsum(2);
    const auto logits_BHNK =
        at::einsum("bhnd,bhnkd->bhnk", {heads.query, sums_BHNKD}) / std::sqrt(static_cast<double>(head_width_));
    return {.slots = at::softmax(logits_BHNK, -1)};
  }

 protected:
  at::Tensor attend(const at::Tensor&, const Heads& heads, const std::optional<at::Tensor>&) const override {
    const auto [e, f] = maker_.projections(heads.key.scalar_type());
    return ops::prefix_attention(heads.query, heads.key, heads.value, e, f, {});
  }

  // The two sums are kept in the weights' own dtype, float32 or wider.
  StatePointer state_after(const at::Tensor&, const Heads& heads) const override {
    const ops::AutocastOff autocast_off(heads.key.device().type());
    const auto sum = [n = heads.key.size(2)](const at::Tensor& projection, const at::Tensor& x) {
      return at::matmul(projection.narrow(-1, 0, n), x.to(projection.scalar_type()));
    };
    return std::make_unique<LayerState>(std::vector{sum(maker_.key, heads.key), sum(maker_.value, heads.value)});
  }

  at::Tensor attend_step(const at::Tensor&, const Heads& heads, const std::vector<std::int64_t>& positions,
                         LayerState& state) const override {
    const ops::AutocastOff autocast_off(heads.key.device().type());
    auto& sums = state.tensors;
    const auto dtype = sums[0].scalar_type();
    const auto rows = at::tensor(positions, at::kLong).to(heads.key.device());
    sums[0].add_(column(maker_.key, rows) * heads.key.to(dtype));
    sums[1].add_(column(maker_.value, rows) * heads.value.to(dtype));
    const auto weights = at::softmax(
        at::matmul(heads.query.to(dtype), sums[0].transpose(2, 3)) / std::sqrt(static_cast<double>(head_width_)), -1);
    return at::matmul(weights, sums[1]).to(heads.query.scalar_type());
  }

 private:
  // E[:, position] of each row of the batch: (B,1 or H,K,1).
  static at::Tensor column(const at::Tensor& projection, const at::Tensor& rows) {
    const auto columns = projection.index_select(-1, rows);
    return (projection.dim() == 2 ? columns.unsqueeze(0) : columns).permute({2, 0, 1}).unsqueeze(-1);
  }
  SlotMaker maker_;
};

}  // namespace

std::unique_ptr<Attention> make_prefix(const LayerContext& context) {
  return std::make_unique<PrefixAttention>(context);
}

}  // namespace linformer::nn
