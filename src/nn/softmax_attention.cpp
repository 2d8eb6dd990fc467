// Standard attention (maths 5). Its decode state is a key-value cache, whose keys stand where they are: rotary ones are
// turned.
#include <ATen/ATen.h>

#include <algorithm>

#include "linformer/ops/reference.hpp"
#include "nn/attention.hpp"

namespace linformer::nn {

namespace {

class SoftmaxAttention final : public Attention {
 public:
  explicit SoftmaxAttention(const LayerContext& context) : Attention(context), causal_(context.config.causal) {}

  AttentionWeights weights(const at::Tensor& x) const override {
    const auto heads = turned(heads_of(x), 0);
    return {.positions = ops::reference::softmax_attention(heads.query, ops::repeat_heads(heads.key, heads_),
                                                           identity_values(x.size(1), x), {.causal = causal_})};
  }

 protected:
  at::Tensor attend(const at::Tensor&, const Heads& given,
                    const std::optional<at::Tensor>& padding_mask) const override {
    const auto heads = turned(given, 0);
    return ops::softmax_attention(heads.query, heads.key, heads.value,
                                  {.causal = causal_, .key_padding_mask = padding_mask});
  }

  std::pair<at::Tensor, StatePointer> attend_chunk(const Chunk& chunk) const override {
    const auto [query, key, value] = turned(chunk.heads, chunk.position);
    auto state = std::make_unique<LayerState>();
    state->key = key.contiguous();
    state->value = value.contiguous();
    if (chunk.before != nullptr) {
      const auto behind = [&](const at::Tensor& held, const at::Tensor& more) {
        return at::cat({held.narrow(2, 0, chunk.position), more.to(held.scalar_type())}, 2);
      };
      state->key = behind(chunk.before->key, key);
      state->value = behind(chunk.before->value, value);
    }
    const auto dtype = query.scalar_type();
    auto out = ops::softmax_attention(query, state->key.to(dtype), state->value.to(dtype), {.causal = true});
    return {out, std::move(state)};
  }

  at::Tensor attend_step(const at::Tensor&, const Heads& heads, const std::vector<std::int64_t>& positions,
                         LayerState& state) const override {
    const auto longest = *std::max_element(positions.begin(), positions.end()) + 1;
    const auto rows = at::tensor(positions, at::kLong).to(heads.key.device());
    const auto index = rows.view({-1, 1, 1, 1}).expand(heads.key.sizes());
    const auto key = (*rotation_)(heads.key, rows.unsqueeze(1)), query = (*rotation_)(heads.query, rows.unsqueeze(1));
    reserve(state.key, longest);
    reserve(state.value, longest);
    state.key.scatter_(2, index, key.to(state.key.scalar_type()));
    state.value.scatter_(2, index, heads.value.to(state.value.scalar_type()));
    ops::SoftmaxOptions options;
    const bool ragged = *std::min_element(positions.begin(), positions.end()) + 1 != longest;
    if (ragged) options.key_padding_mask = at::arange(longest, rows.options()).unsqueeze(0) > rows.unsqueeze(1);
    return ops::softmax_attention(query, state.key.narrow(2, 0, longest), state.value.narrow(2, 0, longest), options);
  }

 private:
  bool causal_;
};

}  // namespace

std::unique_ptr<Attention> make_softmax(const LayerContext& context) {
  return std::make_unique<SoftmaxAttention>(context);
}

}  // namespace linformer::nn
