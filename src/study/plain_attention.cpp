// Shape letters: B batch, N length, H heads, D head width, d = H·D.
#include "study/plain_attention.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>

#include "linformer/core/format.hpp"
#include "linformer/ops/gelu.hpp"
#include "linformer/ops/layer_norm.hpp"

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
      const auto block = formatted("blocks.{}", layer), up = block + ".feed_forward.up";
      const auto normed = ops::layer_norm(x, norm_of(block + ".attention_norm"), x.scalar_type());
      auto [sum, again] =
          ops::add_layer_norm(x, attention(block + ".attention", normed), norm_of(block + ".feed_forward_norm"));
      const auto hidden = ops::bias_gelu(branch(up, again).product, named_.at(up + ".bias"));
      x = ops::add_branch(sum, branch(block + ".feed_forward.down", hidden));
    }
    return ops::layer_norm(x, norm_of("final_norm"), x.scalar_type());
  }

 private:
  at::Tensor linear(const std::string& name, const at::Tensor& x) const {
    return at::linear(x, named_.at(name + ".weight"), named_.at(name + ".bias"));
  }
  ops::Branch branch(const std::string& name, const at::Tensor& x) const {
    return {at::linear(x, named_.at(name + ".weight")), named_.at(name + ".bias")};
  }
  ops::LayerNorm norm_of(const std::string& name) const {
    return {named_.at(name + ".weight"), named_.at(name + ".bias")};
  }
  ops::Branch attention(const std::string& name, const at::Tensor& x_BNd) const {
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
    return branch(name + ".output", at::matmul(weights_BHNN, split(".value")).transpose(1, 2).flatten(2));
  }

  const ModelConfig& config_;
  std::map<std::string, at::Tensor> named_;
};

}  // namespace

at::Tensor plain_hidden(const LanguageModel& model, const at::Tensor& ids_BN) {
  return PlainTransformer(model).hidden(ids_BN);
}

}  // namespace linformer
