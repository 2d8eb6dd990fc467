#include "nn/attention.hpp"

#include <ATen/ATen.h>

#include "linformer/core/error.hpp"

namespace linformer::nn {

at::Tensor identity_values(std::int64_t count, const at::Tensor& like) {
  return at::eye(count, like.options()).view({1, 1, count, count});
}

Attention::Attention(const LayerContext& context)
    : heads_(context.config.heads),
      state_heads_(context.config.state_heads()),
      head_width_(context.config.head_width()),
      rotation_(context.shared.rotation) {
  const auto& config = context.config;
  const auto linear = [&](const char* part, std::int64_t out, double deviation) {
    return Linear(context.parameters, context.name + part, {config.width, out, deviation, config.bias});
  };
  query_ = linear(".query", config.width, config.initializer_range);
  key_ = linear(".key", state_heads_ * head_width_, config.initializer_range);
  value_ = linear(".value", state_heads_ * head_width_, config.initializer_range);
  output_ = linear(".output", config.width, residual_deviation(config));
}

at::Tensor Attention::split(const at::Tensor& x_BNd) const {
  return x_BNd.unflatten(-1, {-1, head_width_}).transpose(1, 2);
}
ops::Branch Attention::merge(const at::Tensor& x_BHND) const {
  return output_.branch(x_BHND.transpose(1, 2).flatten(2));
}
Heads Attention::heads_of(const at::Tensor& x) const { return {split(query_(x)), split(key_(x)), split(value_(x))}; }

Heads Attention::turned(const Heads& heads, std::int64_t first) const {
  return {(*rotation_)(heads.query, first), (*rotation_)(heads.key, first), heads.value};
}

ops::Branch Attention::forward(const at::Tensor& x_BNd, const std::optional<at::Tensor>& padding_mask) const {
  return merge(attend(x_BNd, heads_of(x_BNd), padding_mask));
}

std::pair<ops::Branch, StatePointer> Attention::read(const at::Tensor& x_BNd, std::int64_t position,
                                                     const LayerState* before) const {
  auto [out, state] = attend_chunk({x_BNd, heads_of(x_BNd), position, before});
  return {merge(out), std::move(state)};
}

ops::Branch Attention::step(const at::Tensor& x_B1d, const std::vector<std::int64_t>& positions,
                            LayerState& state) const {
  return merge(attend_step(x_B1d, heads_of(x_B1d), positions, state));
}

std::unique_ptr<Attention> make_attention(const LayerContext& context) {
  switch (form_of(context.config, context.layer)) {
    case Form::softmax:
    case Form::bidirectional_softmax:
      return context.config.attention.plain ? make_plain(context) : make_softmax(context);
    case Form::bidirectional:
      return make_bidirectional(context);
    case Form::prefix:
      return make_prefix(context);
    case Form::running:
    case Form::block:
      return make_window(context);
  }
  fail("no attention for this form");
}

}  // namespace linformer::nn
