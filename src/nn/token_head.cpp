// Shape letters: B sequences, N tokens, Q targets, V vocabulary, d width.
#include "nn/token_head.hpp"

#include <ATen/ATen.h>

#include "linformer/ops/cross_entropy.hpp"
#include "nn/linear_product.hpp"

namespace linformer::nn {

namespace {

constexpr std::int64_t kNone = ops::CrossEntropyOptions{}.ignore_index;

class TokenHead : public Head {
 public:
  TokenHead(const ModelConfig& config, Parameters& parameters, const at::Tensor& token_embedding)
      : weight_Vd_(config.tied ? token_embedding
                               : parameters.normal("output.weight", {config.vocabulary, config.width},
                                                   config.initializer_range)) {}

  at::Tensor loss(const at::Tensor& hidden_BNd, const Targets& targets, at::ScalarType dtype) const override {
    const auto rows = rows_with_targets(hidden_BNd, targets);
    return ops::linear_cross_entropy(rows.hidden.to(dtype), weight_Vd_.to(dtype), rows.targets);
  }

  Score score(const at::Tensor& hidden_BNd, const Targets& targets, at::ScalarType dtype, bool answers) const override {
    const at::NoGradGuard no_grad;
    const auto rows = rows_with_targets(hidden_BNd, targets);
    const auto hidden = rows.hidden.to(dtype), weight_Vd = weight_Vd_.to(dtype);
    Score score{.targets = rows.targets.ne(kNone).sum().item<std::int64_t>()};
    if (score.targets == 0) return score;  // a mean of none is NaN
    const auto loss = ops::linear_cross_entropy(hidden, weight_Vd, rows.targets);
    score.loss = loss.item<double>() * static_cast<double>(score.targets);
    if (answers) {
      const auto best = at::linear(hidden, weight_Vd).argmax(-1);
      score.right = best.eq(rows.targets).masked_select(rows.targets.ne(kNone));
    }
    return score;
  }

  at::Tensor logits(const at::Tensor& hidden) const override { return linear_product(hidden, weight_Vd_); }
  const at::Tensor& weight() const override { return weight_Vd_; }

 private:
  struct Rows {
    at::Tensor hidden, targets;
  };
  Rows rows_with_targets(const at::Tensor& hidden_BNd, const Targets& targets) const {
    if (!targets.sparse) return {hidden_BNd, targets.ids.to(hidden_BNd.device())};
    const auto places_Q = targets.ids.flatten().ne(kNone).nonzero().squeeze(1);
    return {hidden_BNd.flatten(0, 1).index_select(0, places_Q.to(hidden_BNd.device())),
            targets.ids.flatten().index_select(0, places_Q).to(hidden_BNd.device())};
  }

  at::Tensor weight_Vd_;
};

class LanguageHead final : public TokenHead {
 public:
  using TokenHead::TokenHead;
  std::string_view name() const override { return "language"; }
  bool gives_code_length() const override { return true; }
};

// A masked model sees the tokens around a target, so its loss is no code length.
class MaskedHead final : public TokenHead {
 public:
  using TokenHead::TokenHead;
  std::string_view name() const override { return "masked"; }
  bool gives_code_length() const override { return false; }
};

}  // namespace

std::unique_ptr<Head> make_head(const ModelConfig& config, Parameters& parameters, const at::Tensor& token_embedding) {
  if (config.causal) return std::make_unique<LanguageHead>(config, parameters, token_embedding);
  return std::make_unique<MaskedHead>(config, parameters, token_embedding);
}

}  // namespace linformer::nn
