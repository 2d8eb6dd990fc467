#include "linformer/nn/language_model.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <utility>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/nn/decode_state.hpp"
#include "nn/attention.hpp"
#include "nn/checkpoint.hpp"
#include "nn/feed_forward.hpp"
#include "nn/linear_product.hpp"
#include "nn/sinusoidal.hpp"

namespace linformer {

namespace {

using nn::Norm, ops::Branch;

struct Block {
  Norm attention_norm;
  std::unique_ptr<nn::Attention> attention;
  Norm feed_forward_norm;
  std::unique_ptr<nn::FeedForward> feed_forward;
  std::vector<at::Tensor> parameters;  // all that it uses, shared ones included

  /// x + attention(norm(x)), then x + feed_forward(norm(x)). `attend` computes the attention from the norm's result;
  /// `drop` applies dropout.
  template <class Attend, class Drop>
  at::Tensor forward(const at::Tensor& x, const Attend& attend, const Drop& drop) const {
    const auto [sum, normed] =
        ops::add_layer_norm(x, drop(attend(attention_norm.for_products(x))), feed_forward_norm.parameters());
    return ops::add_branch(sum, drop(feed_forward->forward(normed)));
  }
  template <class Attend>
  at::Tensor forward(const at::Tensor& x, const Attend& attend) const {
    return forward(x, attend, [](const Branch& branch) { return branch; });
  }
};

}  // namespace

struct LanguageModel::Impl {
  ModelConfig config;
  nn::Parameters parameters;
  at::Tensor token_embedding, position_embedding, output;  // position_embedding: a parameter, a table, or undefined
  std::vector<Block> blocks;
  Norm final_norm;

  Impl(const ModelConfig& resolved_config, nn::Parameters first_parameters);
  void add_block(std::int64_t layer, nn::SharedProjection& shared);
  at::Tensor embed(const at::Tensor& ids_BN, const at::Tensor& positions) const;
  at::Tensor drop(const at::Tensor& x, bool training) const {
    return config.dropout > 0 && training ? at::dropout(x, config.dropout, true) : x;
  }
  Branch drop(const Branch& branch, bool training) const {
    if (!training || config.dropout == 0) return branch;
    const auto& product = branch.product;
    return {drop(branch.bias.defined() ? product + branch.bias.to(product.scalar_type()) : product, true), {}};
  }
  void check_ids(const at::Tensor& ids) const;
  void check_text(const at::Tensor& ids_BN) const;
  /// The next tokens of a text, which begin at `position`: what the blocks make of them (1,N,d). `states`: of the text
  /// before, one a block, null at its start; afterwards those of the text with these tokens.
  at::Tensor read(const at::Tensor& ids_1N, std::int64_t position, std::vector<nn::StatePointer>& states) const;
};

LanguageModel::Impl::Impl(const ModelConfig& resolved_config, nn::Parameters first_parameters)
    : config(resolved_config), parameters(std::move(first_parameters)) {
  require(config.vocabulary > 0, "model.vocabulary {}: expected the number of token ids.", config.vocabulary);
  token_embedding =
      parameters.normal("token_embedding.weight", {config.vocabulary, config.width}, config.initializer_range);
  if (config.position == Position::learned) {
    position_embedding =
        parameters.normal("position_embedding.weight", {config.length, config.width}, config.initializer_range);
  } else if (config.position == Position::sinusoidal) {
    position_embedding =
        nn::sinusoidal_table(config.length, config.width).to(token_embedding.options().requires_grad(std::nullopt));
  }
  nn::SharedProjection shared;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) add_block(layer, shared);
  final_norm = Norm(parameters, "final_norm", config.width, config);
  output = config.tied
               ? token_embedding
               : parameters.normal("output.weight", {config.vocabulary, config.width}, config.initializer_range);
}

void LanguageModel::Impl::add_block(std::int64_t layer, nn::SharedProjection& shared) {
  const auto name = formatted("blocks.{}", layer);
  const auto first = parameters.list().size();
  Block block;
  block.attention_norm = Norm(parameters, name + ".attention_norm", config.width, config);
  block.attention = nn::make_attention({parameters, config, layer, name + ".attention", shared});
  block.feed_forward_norm = Norm(parameters, name + ".feed_forward_norm", config.width, config);
  block.feed_forward = nn::make_feed_forward(parameters, name + ".feed_forward", config);
  for (std::size_t i = first; i < parameters.list().size(); ++i)
    block.parameters.push_back(parameters.list()[i].second);
  if (layer > 0 && config.attention.kind == AttentionKind::linformer &&
      config.attention.sharing == Sharing::layerwise) {
    for (const auto& tensor : {shared.key, shared.scores.weight, shared.scores.bias}) {
      if (tensor.defined()) block.parameters.push_back(tensor);
    }
  }
  blocks.push_back(std::move(block));
}

void LanguageModel::Impl::check_ids(const at::Tensor& ids) const {
  require(ids.scalar_type() == at::kLong && ids.numel() > 0, "ids: expected at least one int64 id.");
  const auto least = ids.min().item<std::int64_t>(), most = ids.max().item<std::int64_t>();
  require(least >= 0 && most < config.vocabulary, "token id {}: outside the vocabulary of {} ids.",
          least < 0 ? least : most, config.vocabulary);
}

void LanguageModel::Impl::check_text(const at::Tensor& ids_BN) const {
  require(ids_BN.dim() == 2, "ids: expected (batch, length), got {} dimensions.", ids_BN.dim());
  check_ids(ids_BN);
  require(ids_BN.size(1) <= config.longest_text(), "{} tokens: longer than model.length {}.", ids_BN.size(1),
          config.length);
}

at::Tensor LanguageModel::Impl::embed(const at::Tensor& ids_BN, const at::Tensor& positions) const {
  const auto x = at::embedding(token_embedding, ids_BN);
  return position_embedding.defined() ? x + at::embedding(position_embedding, positions) : x;
}

at::Tensor LanguageModel::Impl::read(const at::Tensor& ids_1N, std::int64_t position,
                                     std::vector<nn::StatePointer>& states) const {
  auto x = embed(ids_1N, at::arange(position, position + ids_1N.size(1), ids_1N.options()));
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    x = blocks[i].forward(x, [&](const at::Tensor& normed) {
      auto [branch, state] = blocks[i].attention->read(normed, position, states[i].get());
      states[i] = std::move(state);
      return branch;
    });
  }
  return x;
}

LanguageModel::LanguageModel(const ModelConfig& config, std::uint64_t seed, at::TensorOptions options)
    : impl_(std::make_unique<Impl>(resolved(config), nn::Parameters(seed, options))) {}
LanguageModel::LanguageModel(const ModelConfig& config, const ParameterSource& source)
    : impl_(std::make_unique<Impl>(resolved(config), nn::Parameters(source))) {}
LanguageModel::~LanguageModel() = default;
LanguageModel::LanguageModel(LanguageModel&&) noexcept = default;
LanguageModel& LanguageModel::operator=(LanguageModel&&) noexcept = default;

const ModelConfig& LanguageModel::config() const { return impl_->config; }
std::vector<std::pair<std::string, at::Tensor>> LanguageModel::parameters() const { return impl_->parameters.list(); }
at::Tensor LanguageModel::output_weight() const { return impl_->output; }

std::int64_t LanguageModel::parameter_count() const {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : impl_->parameters.list()) count += tensor.numel();
  return count;
}

void LanguageModel::to(at::Device device, at::ScalarType dtype) {
  for (const auto& [name, tensor] : impl_->parameters.list()) {
    tensor.mutable_grad() = at::Tensor();
    tensor.set_data(tensor.detach().to(device, dtype));
  }
  auto& table = impl_->position_embedding;
  if (table.defined() && !table.requires_grad())
    table = nn::sinusoidal_table(impl_->config.length, impl_->config.width).to(device, dtype);
}

at::Tensor LanguageModel::hidden(const at::Tensor& ids_BN, const ForwardOptions& options) const {
  const auto& model = *impl_;
  model.check_text(ids_BN);
  require(!options.padding_mask || !model.config.causal,
          "padding_mask: only for bidirectional models; a causal one needs none, since padding comes last.");
  auto x = model.drop(model.embed(ids_BN, at::arange(ids_BN.size(1), ids_BN.options())), options.training);
  for (const auto& block : model.blocks) {
    const auto body = [&model, &block, options](const at::Tensor& input) {
      return block.forward(
          input, [&](const at::Tensor& normed) { return block.attention->forward(normed, options.padding_mask); },
          [&](const Branch& branch) { return model.drop(branch, options.training); });
    };
    x = options.checkpoint && at::GradMode::is_enabled() ? nn::checkpointed(body, x, block.parameters) : body(x);
  }
  return model.final_norm.for_products(x);
}

at::Tensor LanguageModel::logits(const at::Tensor& ids_BN, const ForwardOptions& options) const {
  return nn::linear_product(hidden(ids_BN, options), impl_->output);
}

void LanguageModel::attention_weights(const at::Tensor& ids_BN, const WeightsVisitor& visit) const {
  const at::NoGradGuard no_grad;
  const auto& model = *impl_;
  model.check_text(ids_BN);
  auto x = model.embed(ids_BN, at::arange(ids_BN.size(1), ids_BN.options()));
  for (std::size_t i = 0; i < model.blocks.size(); ++i) {
    const auto& block = model.blocks[i];
    x = block.forward(x, [&](const at::Tensor& normed) {
      visit(static_cast<std::int64_t>(i), block.attention->weights(normed));
      return block.attention->forward(normed, std::nullopt);
    });
  }
}

std::pair<at::Tensor, DecodeState> LanguageModel::prefill(const std::vector<std::vector<std::int64_t>>& prompts,
                                                          std::int64_t chunk) const {
  const at::NoGradGuard no_grad;
  const auto& model = *impl_;
  require(
      model.config.causal,
      "this model is bidirectional (model.causal false): each of its outputs sees the whole text, so it can't write "
      "what comes next. Train one with model.causal true.");
  require(!prompts.empty(), "prompts: expected at least one.");
  require(chunk >= 1, "chunk {}: expected a number of tokens, at least 1.", chunk);
  std::vector<std::vector<nn::StatePointer>> states(model.blocks.size());
  std::vector<at::Tensor> logits;
  std::vector<std::int64_t> positions;
  for (const auto& prompt : prompts) {
    require(!prompt.empty(), "prompt: expected at least one token.");
    const auto count = static_cast<std::int64_t>(prompt.size());
    require(count <= model.config.longest_text(), "prompt of {} tokens: longer than model.length {}. Shorten it.",
            count, model.config.length);
    const auto ids = at::tensor(prompt, at::kLong).unsqueeze(0).to(model.output.device());
    model.check_ids(ids);
    std::vector<nn::StatePointer> layers(model.blocks.size());
    at::Tensor x;
    for (std::int64_t position = 0; position < count; position += chunk)
      x = model.read(ids.narrow(1, position, std::min(chunk, count - position)), position, layers);
    logits.push_back(at::linear(model.final_norm(x.select(1, -1)), model.output));
    for (std::size_t i = 0; i < layers.size(); ++i) states[i].push_back(std::move(layers[i]));
    positions.push_back(count);
  }
  std::vector<std::unique_ptr<DecodeState::Layer>> joined;
  for (auto& layer : states) joined.push_back(nn::join(layer));
  return {at::cat(logits, 0), DecodeState(std::move(positions), std::move(joined))};
}

at::Tensor LanguageModel::step(const at::Tensor& ids_B, DecodeState& state) const {
  const at::NoGradGuard no_grad;
  const auto& model = *impl_;
  require(ids_B.dim() == 1 && ids_B.size(0) == state.batch(), "ids: expected one for each of the {} sequences.",
          state.batch());
  model.check_ids(ids_B);
  for (const auto position : state.positions()) {
    require(position < model.config.longest_text(),
            "position {}: past model.length {}. Start again from a shorter text.", position, model.config.length);
  }
  const auto positions = at::tensor(state.positions(), at::kLong).to(ids_B.device());
  auto x = model.embed(ids_B.unsqueeze(1), positions.unsqueeze(1));
  for (std::size_t i = 0; i < model.blocks.size(); ++i) {
    const auto& block = model.blocks[i];
    x = block.forward(x, [&](const at::Tensor& normed) {
      return block.attention->step(normed, state.positions(), static_cast<nn::LayerState&>(state.layer(i)));
    });
  }
  state.advance();
  return at::linear(model.final_norm(x.squeeze(1)), model.output);
}

}  // namespace linformer
