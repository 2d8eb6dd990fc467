#include "nn/attention.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "linformer/core/error.hpp"

namespace linformer {

std::int64_t DecodeState::bytes() const {
  std::int64_t total = static_cast<std::int64_t>(positions_.size() * sizeof(std::int64_t));
  for (const auto& layer : layers_) total += layer->bytes();
  return total;
}

DecodeState DecodeState::repeat(std::int64_t times) const {
  std::vector<std::int64_t> rows;
  for (std::int64_t row = 0; row < batch(); ++row) rows.insert(rows.end(), static_cast<std::size_t>(times), row);
  return select(rows);
}

DecodeState DecodeState::select(const std::vector<std::int64_t>& rows) const {
  require(!rows.empty(), "rows: expected at least one sequence.");
  std::vector<std::int64_t> positions;
  for (const auto row : rows) {
    require(row >= 0 && row < batch(), "row {}: expected one of the {} sequences of this state.", row, batch());
    positions.push_back(positions_[static_cast<std::size_t>(row)]);
  }
  std::vector<std::unique_ptr<Layer>> layers;
  for (const auto& layer : layers_) layers.push_back(layer->select(rows));
  return {std::move(positions), std::move(layers)};
}

namespace nn {

std::int64_t LayerState::bytes() const {
  std::int64_t total = 0;
  for (const auto& tensor : tensors) total += static_cast<std::int64_t>(tensor.nbytes());
  return total;
}

std::unique_ptr<DecodeState::Layer> LayerState::select(const std::vector<std::int64_t>& rows) const {
  std::vector<at::Tensor> copies;
  for (const auto& tensor : tensors)
    copies.push_back(tensor.index_select(0, at::tensor(rows, at::kLong).to(tensor.device())));
  return std::make_unique<LayerState>(std::move(copies));
}

StatePointer join(const std::vector<StatePointer>& states) {
  std::vector<at::Tensor> joined;
  for (std::size_t i = 0; i < states.front()->tensors.size(); ++i) {
    std::int64_t longest = 0;
    for (const auto& state : states) longest = std::max(longest, state->tensors[i].size(2));
    std::vector<at::Tensor> parts;
    for (const auto& state : states) {
      const auto& tensor = state->tensors[i];
      parts.push_back(at::constant_pad_nd(tensor, {0, 0, 0, longest - tensor.size(2)}));
    }
    joined.push_back(at::cat(parts, 0));
  }
  return std::make_unique<LayerState>(std::move(joined));
}

at::Tensor identity_values(std::int64_t count, const at::Tensor& like) {
  return at::eye(count, like.options()).view({1, 1, count, count});
}

void reserve(at::Tensor& tensor, std::int64_t length) {
  const auto held = tensor.size(2);
  if (length > held) tensor = at::constant_pad_nd(tensor, {0, 0, 0, std::max(length, 2 * held) - held});
}

Attention::Attention(const LayerContext& context)
    : heads_(context.config.heads),
      head_width_(context.config.head_width()),
      query_(context.parameters, context.name + ".query", context.config.width, context.config.width,
             context.config.initializer_range),
      key_(context.parameters, context.name + ".key", context.config.width, context.config.width,
           context.config.initializer_range),
      value_(context.parameters, context.name + ".value", context.config.width, context.config.width,
             context.config.initializer_range),
      output_(context.parameters, context.name + ".output", context.config.width, context.config.width,
              residual_deviation(context.config)) {}

at::Tensor Attention::split(const at::Tensor& x_BNd) const {
  return x_BNd.unflatten(-1, {heads_, head_width_}).transpose(1, 2);
}
ops::Branch Attention::merge(const at::Tensor& x_BHND) const {
  return output_.branch(x_BHND.transpose(1, 2).flatten(2));
}
Heads Attention::heads_of(const at::Tensor& x) const { return {split(query_(x)), split(key_(x)), split(value_(x))}; }

ops::Branch Attention::forward(const at::Tensor& x_BNd, const std::optional<at::Tensor>& padding_mask) const {
  return merge(attend(x_BNd, heads_of(x_BNd), padding_mask));
}

std::pair<ops::Branch, StatePointer> Attention::prefill(const at::Tensor& x_BNd) const {
  const auto heads = heads_of(x_BNd);
  return {merge(attend(x_BNd, heads, std::nullopt)), state_after(x_BNd, heads)};
}

ops::Branch Attention::step(const at::Tensor& x_B1d, const std::vector<std::int64_t>& positions,
                            LayerState& state) const {
  return merge(attend_step(x_B1d, heads_of(x_B1d), positions, state));
}

std::unique_ptr<Attention> make_attention(const LayerContext& context) {
  switch (form_of(context.config)) {
    case Form::softmax:
    case Form::bidirectional_softmax:
      return make_softmax(context);
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

}  // namespace nn
}  // namespace linformer
