#include "nn/trunk.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/ops/dropout.hpp"
#include "nn/checkpoint.hpp"

namespace linformer::nn {

namespace {

using ops::Branch;

/// `attend` computes the attention from the norm's result; `drop` applies dropout.
template <class Attend, class Drop>
at::Tensor through(const Block& block, const at::Tensor& x, const Attend& attend, Drop drop) {
  const auto [sum, normed] =
      ops::add_layer_norm(x, drop(attend(block.attention_norm.for_products(x))), block.feed_forward_norm.parameters());
  return ops::add_branch(sum, drop(block.feed_forward->forward(normed)));
}
template <class Attend>
at::Tensor through(const Block& block, const at::Tensor& x, const Attend& attend) {
  return through(block, x, attend, [](const Branch& branch) { return branch; });
}

/// Dropout in the chunk of a text that begins at `position`. Sites are numbered through the model: 0 the embedding,
/// then two for each layer, of the attention and of the feed-forward.
class ChunkDropout {
 public:
  ChunkDropout(const ForwardOptions& options, double share, std::int64_t position)
      : share_(options.training ? share : 0.0), seed_(options.dropout_seed), position_(position) {}

  at::Tensor operator()(const at::Tensor& x, std::int64_t site) const {
    return share_ > 0 ? ops::dropout(x, share_, {.seed = seed_, .site = site, .position = position_}) : x;
  }
  Branch operator()(const Branch& branch, std::int64_t site) const {
    if (share_ == 0) return branch;
    const auto& product = branch.product;
    return {(*this)(branch.bias.defined() ? product + branch.bias.to(product.scalar_type()) : product, site), {}};
  }

 private:
  double share_;
  std::uint64_t seed_;
  std::int64_t position_;
};

/// For `through`: the sites of a layer, one after the other.
auto sites_of(const ChunkDropout& dropout, std::size_t layer) {
  return [dropout, site = 2 * static_cast<std::int64_t>(layer)](const Branch& branch) mutable {
    return dropout(branch, ++site);
  };
}

}  // namespace

Trunk::Trunk(const ModelConfig& config, Parameters& parameters) : config_(config) {
  require(config.vocabulary > 0, "model.vocabulary {}: expected the number of token ids.", config.vocabulary);
  token_embedding_ =
      parameters.normal("token_embedding.weight", {config.vocabulary, config.width}, config.initializer_range);
  position_ = PositionEmbedding(parameters, config);
  to(token_embedding_.device(), token_embedding_.scalar_type());
  SharedParts shared(config);
  for (std::int64_t layer = 0; layer < config.layers; ++layer) add_block(layer, parameters, shared);
  final_norm_ = Norm(parameters, "final_norm", config.width, config);
}

void Trunk::add_block(std::int64_t layer, Parameters& parameters, SharedParts& shared) {
  const auto name = formatted("blocks.{}", layer);
  const auto first = parameters.list().size();
  // With layerwise sharing the first layer that has slots owns the projection.
  const bool shares = config_.attention.sharing == Sharing::layerwise && !config_.is_softmax(layer) &&
                      (shared.key.defined() || shared.scores.weight.defined());
  Block block;
  block.attention_norm = Norm(parameters, name + ".attention_norm", config_.width, config_);
  block.attention = make_attention({parameters, config_, layer, name + ".attention", shared});
  block.feed_forward_norm = Norm(parameters, name + ".feed_forward_norm", config_.width, config_);
  block.feed_forward = make_feed_forward(parameters, name + ".feed_forward", config_);
  for (std::size_t i = first; i < parameters.list().size(); ++i)
    block.parameters.push_back(parameters.list()[i].second);
  if (shares) {
    for (const auto& tensor : {shared.key, shared.value, shared.scores.weight, shared.scores.bias}) {
      if (tensor.defined()) block.parameters.push_back(tensor);
    }
  }
  blocks_.push_back(std::move(block));
}

void Trunk::check_ids(const at::Tensor& ids) const {
  require(ids.scalar_type() == at::kLong && ids.numel() > 0, "ids: expected at least one int64 id.");
  const auto least = ids.min().item<std::int64_t>(), most = ids.max().item<std::int64_t>();
  require(least >= 0 && most < config_.vocabulary, "token id {}: outside the vocabulary of {} ids.",
          least < 0 ? least : most, config_.vocabulary);
}

void Trunk::check_text(const at::Tensor& ids_BN) const {
  require(ids_BN.dim() == 2, "ids: expected (batch, length), got {} dimensions.", ids_BN.dim());
  check_ids(ids_BN);
  require(ids_BN.size(1) <= config_.longest_text(), "{} tokens: longer than model.length {}.", ids_BN.size(1),
          config_.length);
}

at::Tensor Trunk::embed(const at::Tensor& ids_BN, const at::Tensor& positions) const {
  return position_.added_to(at::embedding(token_embedding_, ids_BN), positions);
}

at::Tensor Trunk::hidden(const at::Tensor& ids_BN, const ForwardOptions& options) const {
  check_text(ids_BN);
  require(!options.padding_mask || !config_.causal,
          "padding_mask: only for bidirectional models; a causal one needs none, since padding comes last.");
  const ChunkDropout dropout(options, config_.dropout, 0);
  auto x = dropout(embed(ids_BN, at::arange(ids_BN.size(1), ids_BN.options())), 0);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const auto& block = blocks_[i];
    const auto body = [&block, options, drop = sites_of(dropout, i)](const at::Tensor& input) {
      return through(
          block, input,
          [&](const at::Tensor& normed) { return block.attention->forward(normed, options.padding_mask); }, drop);
    };
    x = options.checkpoint && at::GradMode::is_enabled() ? checkpointed(body, x, block.parameters) : body(x);
  }
  return final_norm_.for_products(x);
}

void Trunk::attention_weights(const at::Tensor& ids_BN, const WeightsVisitor& visit) const {
  const at::NoGradGuard no_grad;
  check_text(ids_BN);
  auto x = embed(ids_BN, at::arange(ids_BN.size(1), ids_BN.options()));
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    x = through(blocks_[i], x, [&](const at::Tensor& normed) {
      visit(static_cast<std::int64_t>(i), blocks_[i].attention->weights(normed));
      return blocks_[i].attention->forward(normed, std::nullopt);
    });
  }
}

at::Tensor Trunk::read(const at::Tensor& ids_BN, std::int64_t position, std::vector<StatePointer>& states,
                       const ForwardOptions& options) const {
  const ChunkDropout dropout(options, config_.dropout, position);
  auto x = dropout(embed(ids_BN, at::arange(position, position + ids_BN.size(1), ids_BN.options())), 0);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    x = through(
        blocks_[i], x,
        [&](const at::Tensor& normed) {
          auto [branch, state] = blocks_[i].attention->read(normed, position, states[i].get());
          states[i] = std::move(state);
          return branch;
        },
        sites_of(dropout, i));
  }
  return x;
}

std::pair<at::Tensor, DecodeState> Trunk::read(const at::Tensor& ids_BN, const DecodeState& before,
                                               const ForwardOptions& options) const {
  require(config_.causal, "this model is bidirectional (model.causal false), so it can't read a text in chunks.");
  require(!options.padding_mask && !options.checkpoint, "padding_mask and checkpoint: not for a text in chunks.");
  require(ids_BN.dim() == 2, "ids: expected (batch, length), got {} dimensions.", ids_BN.dim());
  check_ids(ids_BN);
  const auto& positions = before.positions();
  const auto position = positions.empty() ? 0 : positions.front();
  require(positions.empty() || (before.batch() == ids_BN.size(0) &&
                                std::ranges::count(positions, position) == static_cast<std::int64_t>(positions.size())),
          "state: expected that of {} equally long texts, like the ids.", ids_BN.size(0));
  require(position + ids_BN.size(1) <= config_.longest_text(), "{} tokens: longer than model.length {}.",
          position + ids_BN.size(1), config_.length);
  std::vector<StatePointer> states;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    states.push_back(positions.empty() ? nullptr
                                       : std::make_unique<LayerState>(static_cast<const LayerState&>(before.layer(i))));
  }
  const auto x = read(ids_BN, position, states, options);
  return {final_norm_.for_products(x),
          DecodeState(std::vector<std::int64_t>(static_cast<std::size_t>(ids_BN.size(0)), position + ids_BN.size(1)),
                      {std::make_move_iterator(states.begin()), std::make_move_iterator(states.end())})};
}

std::pair<std::vector<at::Tensor>, DecodeState> Trunk::prefill(const std::vector<std::vector<std::int64_t>>& prompts,
                                                               std::int64_t chunk) const {
  const at::NoGradGuard no_grad;
  require(
      config_.causal,
      "this model is bidirectional (model.causal false): each of its outputs sees the whole text, so it can't write "
      "what comes next. Train one with model.causal true.");
  require(!prompts.empty(), "prompts: expected at least one.");
  require(chunk >= 1, "chunk {}: expected a number of tokens, at least 1.", chunk);
  std::vector<std::vector<StatePointer>> states(blocks_.size());
  std::vector<at::Tensor> last;
  std::vector<std::int64_t> positions;
  for (const auto& prompt : prompts) {
    require(!prompt.empty(), "prompt: expected at least one token.");
    const auto count = static_cast<std::int64_t>(prompt.size());
    require(count <= config_.longest_text(), "prompt of {} tokens: longer than model.length {}. Shorten it.", count,
            config_.length);
    const auto ids = at::tensor(prompt, at::kLong).unsqueeze(0).to(token_embedding_.device());
    check_ids(ids);
    std::vector<StatePointer> layers(blocks_.size());
    at::Tensor x;
    for (std::int64_t position = 0; position < count; position += chunk)
      x = read(ids.narrow(1, position, std::min(chunk, count - position)), position, layers, {});
    last.push_back(final_norm_(x.select(1, -1)));
    for (std::size_t i = 0; i < layers.size(); ++i) states[i].push_back(std::move(layers[i]));
    positions.push_back(count);
  }
  std::vector<std::unique_ptr<DecodeState::Layer>> joined;
  for (auto& layer : states) joined.push_back(join(layer));
  return {std::move(last), DecodeState(std::move(positions), std::move(joined))};
}

at::Tensor Trunk::step(const at::Tensor& ids_B, DecodeState& state) const {
  const at::NoGradGuard no_grad;
  require(ids_B.dim() == 1 && ids_B.size(0) == state.batch(), "ids: expected one for each of the {} sequences.",
          state.batch());
  check_ids(ids_B);
  for (const auto position : state.positions()) {
    require(position < config_.longest_text(), "position {}: past model.length {}. Start again from a shorter text.",
            position, config_.length);
  }
  const auto positions = at::tensor(state.positions(), at::kLong).to(ids_B.device());
  auto x = embed(ids_B.unsqueeze(1), positions.unsqueeze(1));
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    x = through(blocks_[i], x, [&](const at::Tensor& normed) {
      return blocks_[i].attention->step(normed, state.positions(), static_cast<LayerState&>(state.layer(i)));
    });
  }
  state.advance();
  return final_norm_(x.squeeze(1));
}

}  // namespace linformer::nn
