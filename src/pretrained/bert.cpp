// Shape letters: B batch, N length, H heads, D head width, d model width.
#include "linformer/pretrained/bert.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <type_traits>

#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/nn/model_file.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

template <class Value>
Value field(const json& config, const std::string& file, const char* key) {
  const auto found = config.find(key);
  const bool right =
      found != config.end() && (std::is_same_v<Value, std::int64_t> ? found->is_number_integer() : found->is_number());
  require(right, "{}: '{}' is {}, expected a number, as in the config.json of a BERT encoder", file, key,
          found == config.end() ? "missing" : json_excerpt(*found));
  const auto value = found->template get<Value>();
  require(value > 0, "{}: '{}' is {}, expected more than 0", file, key, value);
  return value;
}

void check_choice(const json& config, const std::string& file, const char* key, const std::string& known) {
  const auto value = config.value(key, json(known));
  require(value == known, "{}: {} is {}; only \"{}\" is known here", file, key, json_excerpt(value), known);
}

}  // namespace

bool BertEncoder::is_here(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_regular_file(folder / "config.json", ignored)) return false;
  const auto config = read_json(folder / "config.json");
  return config.is_object() && config.value("model_type", json()) == "bert";
}

BertEncoder::BertEncoder(const fs::path& folder) : file_((folder / "model.safetensors").string()) {
  const auto source = (folder / "config.json").string();
  const auto config = read_json(source);
  require(config.is_object(), "{}: expected an object", source);
  check_choice(config, source, "hidden_act", "gelu");
  check_choice(config, source, "position_embedding_type", "absolute");
  const auto whole = [&](const char* key) { return field<std::int64_t>(config, source, key); };
  layers_ = whole("num_hidden_layers");
  heads_ = whole("num_attention_heads");
  width_ = whole("hidden_size");
  feed_forward_ = whole("intermediate_size");
  length_ = whole("max_position_embeddings");
  vocabulary_ = whole("vocab_size");
  types_ = whole("type_vocab_size");
  epsilon_ = field<double>(config, source, "layer_norm_eps");
  require(width_ % heads_ == 0, "{}: hidden_size {} is not a multiple of num_attention_heads {}", source, width_,
          heads_);
  for (auto& [name, tensor] : read_safetensors(folder / "model.safetensors").tensors) {
    const std::string prefix = "bert.";
    if (tensor.is_floating_point())
      tensors_[name.starts_with(prefix) ? name.substr(prefix.size()) : name] = tensor.to(at::kFloat);
  }
}

at::Tensor BertEncoder::get(const std::string& name, at::IntArrayRef shape) const {
  const auto found = tensors_.find(name);
  require(found != tensors_.end(), "{}: tensor '{}' is missing; expected the weights of a BERT encoder", file_, name);
  require(found->second.sizes() == shape, "{}: tensor '{}' has shape {}, config.json asks for {}", file_, name,
          excerpt(joined(found->second.sizes(), "×")), joined(shape, "×"));
  return found->second;
}

at::Tensor BertEncoder::linear(const std::string& name, const at::Tensor& x, std::int64_t out) const {
  return at::linear(x, get(name + ".weight", {out, x.size(-1)}), get(name + ".bias", {out}));
}

at::Tensor BertEncoder::norm(const std::string& name, const at::Tensor& x) const {
  return at::layer_norm(x, {width_}, get(name + ".weight", {width_}), get(name + ".bias", {width_}), epsilon_);
}

// norm(x + attention(x)), then norm(x + feed_forward(x)): the norms stand after, unlike in our models.
at::Tensor BertEncoder::block(std::int64_t layer, const at::Tensor& x_BNd, const WeightsVisitor& visit) const {
  const auto name = formatted("encoder.layer.{}", layer);
  const auto heads = [&](const char* what) {
    return linear(name + ".attention.self." + what, x_BNd, width_)
        .unflatten(-1, {heads_, width_ / heads_})
        .transpose(1, 2);
  };
  const auto logits_BHNN = at::matmul(heads("query"), heads("key").mT()) /
                           std::sqrt(static_cast<double>(width_) / static_cast<double>(heads_));
  const auto weights_BHNN = at::softmax(logits_BHNN, -1);
  visit(layer, {.positions = weights_BHNN});
  const auto mixed = at::matmul(weights_BHNN, heads("value")).transpose(1, 2).flatten(2);
  const auto attended =
      norm(name + ".attention.output.LayerNorm", x_BNd + linear(name + ".attention.output.dense", mixed, width_));
  const auto hidden = at::gelu(linear(name + ".intermediate.dense", attended, feed_forward_));
  return norm(name + ".output.LayerNorm", attended + linear(name + ".output.dense", hidden, width_));
}

void BertEncoder::attention_weights(const at::Tensor& ids_BN, const WeightsVisitor& visit) const {
  const at::NoGradGuard no_grad;
  require(ids_BN.dim() == 2 && ids_BN.numel() > 0 && ids_BN.scalar_type() == at::kLong,
          "ids: expected (batch, length) of int64 ids");
  require(ids_BN.size(1) <= length_, "{} tokens: longer than max_position_embeddings {}", ids_BN.size(1), length_);
  const auto most = ids_BN.max().item<std::int64_t>();
  require(ids_BN.min().item<std::int64_t>() >= 0 && most < vocabulary_, "token id {}: outside the vocabulary of {} ids",
          most, vocabulary_);
  auto x = at::embedding(get("embeddings.word_embeddings.weight", {vocabulary_, width_}), ids_BN) +
           get("embeddings.position_embeddings.weight", {length_, width_}).narrow(0, 0, ids_BN.size(1)) +
           get("embeddings.token_type_embeddings.weight", {types_, width_})[0];
  x = norm("embeddings.LayerNorm", x);
  for (std::int64_t layer = 0; layer < layers_; ++layer) x = block(layer, x, visit);
}

}  // namespace linformer
