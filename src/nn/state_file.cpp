// Shape letters: B texts, W window, r slots a block.
#include "linformer/nn/state_file.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"
#include "nn/state.hpp"

namespace linformer {
namespace {

const nn::LayerState& layer_of(const DecodeState& state, std::size_t layer) {
  return static_cast<const nn::LayerState&>(state.layer(layer));
}

// Of dimension 2, where it grows with the text; else `now`, that of any state.
std::int64_t length_at(const ModelConfig& config, std::int64_t layer, std::string_view name, std::int64_t position,
                       std::int64_t now) {
  if (form_of(config, layer) == Form::softmax) return position;
  const bool slots = name == "slot_key" || name == "slot_value";
  if (form_of(config, layer) != Form::block || !slots) return now;
  const auto last_block = (position - 1) / config.window();
  return config.block_slots_of(layer) * std::max<std::int64_t>(last_block - 1, 0);
}

// `make(layer, name, sizes, options)` gives each tensor of a state, whose names are those of the state of one token.
template <class Make>
DecodeState build(const LanguageModel& model, std::int64_t batch, std::int64_t position, const Make& make) {
  require(batch >= 1 && position >= 1 && position <= model.config().longest_text(),
          "a state of {} texts of {} tokens: expected at least one of each, and a text that the model can read", batch,
          position);
  const at::NoGradGuard no_grad;
  const auto first = model.read(at::zeros({1, 1}, at::kLong).to(model.output_weight().device()), {}).second;
  std::vector<std::unique_ptr<DecodeState::Layer>> layers;
  for (std::int64_t i = 0; i < model.config().layers; ++i) {
    const auto& like = layer_of(first, static_cast<std::size_t>(i));
    std::vector<at::Tensor> tensors;
    for (const auto& [name, tensor] : like.named()) {
      auto sizes = tensor.sizes().vec();
      sizes[0] = batch;
      if (sizes.size() > 2) sizes[2] = length_at(model.config(), i, name, position, sizes[2]);
      tensors.push_back(make(i, name, sizes, tensor.options()));
    }
    layers.push_back(like.with(tensors));
  }
  return {std::vector<std::int64_t>(static_cast<std::size_t>(batch), position), std::move(layers)};
}

}  // namespace

std::vector<std::pair<std::string, at::Tensor>> named_tensors(const DecodeState& state) {
  std::vector<std::pair<std::string, at::Tensor>> found;
  for (std::size_t i = 0; i < state.layers(); ++i) {
    for (const auto& [name, tensor] : layer_of(state, i).named())
      found.emplace_back(formatted("{}.{}", i, name), tensor.detach().cpu().contiguous());
  }
  return found;
}

DecodeState blank_state(const LanguageModel& model, std::int64_t batch, std::int64_t position) {
  return build(model, batch, position,
               [](std::int64_t, std::string_view, const std::vector<std::int64_t>& sizes,
                  const at::TensorOptions& options) { return at::zeros(sizes, options); });
}

DecodeState state_of(const LanguageModel& model, std::int64_t batch, std::int64_t position, const TensorFile& file) {
  std::size_t used = 0;
  auto state = build(model, batch, position,
                     [&](std::int64_t layer, std::string_view name, const std::vector<std::int64_t>& sizes,
                         const at::TensorOptions& options) {
                       const auto full = formatted("{}.{}", layer, name);
                       const auto& tensor = file.at(full);
                       require(tensor.sizes() == at::IntArrayRef(sizes) && at::isFloatingType(tensor.scalar_type()),
                               "tensor '{}' has shape {} and dtype {}; expected {} of a floating-point dtype", full,
                               excerpt(at::str(tensor.sizes())), c10::toString(tensor.scalar_type()),
                               at::str(at::IntArrayRef(sizes)));
                       ++used;
                       return tensor.to(options.device());
                     });
  require(used == file.tensors.size(), "{} tensors, of which the state of this model has {}.", file.tensors.size(),
          used);
  return state;
}

}  // namespace linformer
