#include "nn/state.hpp"

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

std::vector<at::Tensor> DecodeState::tensors() const {
  std::vector<at::Tensor> all;
  for (const auto& layer : layers_) {
    const auto own = layer->tensors();
    all.insert(all.end(), own.begin(), own.end());
  }
  return all;
}

DecodeState DecodeState::with(const std::vector<at::Tensor>& tensors) const {
  std::vector<std::unique_ptr<Layer>> layers;
  auto next = tensors.begin();
  for (const auto& layer : layers_) {
    const auto count = static_cast<std::ptrdiff_t>(layer->tensors().size());
    require(tensors.end() - next >= count, "{} tensors: expected those of {} layers.", tensors.size(), layers_.size());
    layers.push_back(layer->with({next, next + count}));
    next += count;
  }
  return {positions_, std::move(layers)};
}

namespace nn {

std::vector<at::Tensor> LayerState::tensors() const {
  std::vector<at::Tensor> found;
  for (const auto& [name, tensor] : named()) found.push_back(tensor);
  return found;
}

std::unique_ptr<DecodeState::Layer> LayerState::with(const std::vector<at::Tensor>& tensors) const {
  auto other = std::make_unique<LayerState>(*this);
  auto next = tensors.begin();
  for (auto* tensor : other->all()) {
    if (tensor->defined()) *tensor = *next++;
  }
  return other;
}

std::vector<std::pair<std::string_view, at::Tensor>> LayerState::named() const {
  constexpr std::array<std::string_view, kTensors> kNames{"key",       "value",  "slot_key", "slot_value",
                                                          "slot_mass", "scores", "sink_key", "sink_value"};
  std::vector<std::pair<std::string_view, at::Tensor>> found;
  for (std::size_t i = 0; i < kTensors; ++i) {
    if (all()[i]->defined()) found.emplace_back(kNames[i], *all()[i]);
  }
  return found;
}

std::int64_t LayerState::bytes() const {
  std::int64_t total = 0;
  for (const auto& [name, tensor] : named()) total += static_cast<std::int64_t>(tensor.nbytes());
  return total;
}

std::unique_ptr<DecodeState::Layer> LayerState::select(const std::vector<std::int64_t>& rows) const {
  auto selected = std::make_unique<LayerState>();
  for (std::size_t i = 0; i < kTensors; ++i) {
    const auto& from = *all()[i];
    if (from.defined()) *selected->all()[i] = from.index_select(0, at::tensor(rows, at::kLong).to(from.device()));
  }
  return selected;
}

StatePointer join(const std::vector<StatePointer>& states) {
  auto joined = std::make_unique<LayerState>();
  for (std::size_t i = 0; i < LayerState::kTensors; ++i) {
    if (!states.front()->all()[i]->defined()) continue;
    std::int64_t longest = 0;
    for (const auto& state : states) longest = std::max(longest, state->all()[i]->size(2));
    std::vector<at::Tensor> parts;
    for (const auto& state : states) {
      const auto& tensor = *state->all()[i];
      parts.push_back(at::constant_pad_nd(tensor, {0, 0, 0, longest - tensor.size(2)}));
    }
    *joined->all()[i] = at::cat(parts, 0);
  }
  return joined;
}

void reserve(at::Tensor& tensor, std::int64_t length) {
  const auto held = tensor.size(2);
  if (length > held) tensor = at::constant_pad_nd(tensor, {0, 0, 0, std::max(length, 2 * held) - held});
}

}  // namespace nn
}  // namespace linformer
