// Shape letters: B batch, N length, H heads, D head width, d = H·D.
#include "study/plain_attention.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>

namespace linformer {
namespace {

class PlainTransformer {
 public:
  explicit PlainTransformer(const LanguageModel& model) : config_(model.config()) {
    for (const auto& [name, tensor] : model.parameters()) named_.emplace(name, tensor);
  }

  at::Tensor hidden(const at::Tensor& ids_BN) const {
    auto x = at::embedding(named_.at("token_embedding.weight"), ids_BN);
    x = x + at::embedding(named_.at("position_embedding.weight"), at::arange(ids_BN.size(1), ids_BN.options()));
    for (std::int64_t layer = 0; layer < config_.layers; ++layer) {
      const auto block = fmt::format("blocks.{}", layer);
      x = x + attention(block + ".attention", norm(block + ".attention_norm", x));
      const auto up = linear(block + ".feed_forward.up", norm(block + ".feed_forward_norm", x));
      x = x + linear(block + ".feed_forward.down", at::gelu(up));
    }
    return norm("final_norm", x);
  }

 private:
  at::Tensor linear(const std::string& name, const at::Tensor& x) const {
    return at::linear(x, named_.at(name + ".weight"), named_.at(name + ".bias"));
  }
  at::Tensor norm(const std::string& name, const at::Tensor& x) const {
    return at::layer_norm(x, {config_.width}, named_.at(name + ".weight"), named_.at(name + ".bias"));
  }
  at::Tensor attention(const std::string& name, const at::Tensor& x_BNd) const {
    const auto split = [&](const char* part) {
      return linear(name + part, x_BNd).unflatten(-1, {config_.heads, config_.head_width()}).transpose(1, 2);
    };
    const auto query = split(".query") / std::sqrt(static_cast<double>(config_.head_width()));
    auto logits_BHNN = at::matmul(query, split(".key").transpose(2, 3));
    if (config_.causal) {
      const auto n = x_BNd.size(1);
      const auto future_NN = at::ones({n, n}, x_BNd.options().dtype(at::kBool)).triu(1);
      logits_BHNN = logits_BHNN.masked_fill(future_NN, -std::numeric_limits<double>::infinity());
    }
    const auto weights_BHNN = at::softmax(logits_BHNN, -1);
    return linear(name + ".output", at::matmul(weights_BHNN, split(".value")).transpose(1, 2).flatten(2));
  }

  const ModelConfig& config_;
  std::map<std::string, at::Tensor> named_;
};

}  // namespace

at::Tensor plain_hidden(const LanguageModel& model, const at::Tensor& ids_BN) { return PlainTransformer(model).hidden(ids_BN); }

}  // namespace linformer
