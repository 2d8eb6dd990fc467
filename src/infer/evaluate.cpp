// Shape letters: B batch, N window length, d width.
#include "linformer/infer/evaluate.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "linformer/core/error.hpp"
#include "linformer/nn/device.hpp"
#include "linformer/ops/cross_entropy.hpp"

namespace linformer {
namespace {

constexpr std::int64_t kIgnored = -100;

void check_request(const LanguageModel& model, const Tokenizer& tokenizer, const EvaluateOptions& options) {
  require(model.config().causal,
          "this model is bidirectional (model.causal = false): it sees the tokens that it would have to "
          "predict, so its loss means nothing; "
          "evaluate a model that was trained with model.causal = true");
  require(tokenizer.size() == model.config().vocabulary,
          "the tokenizer '{}' has {} ids, but the model's vocabulary has {}: use data that was prepared with "
          "the model's tokenizer",
          tokenizer.name(), tokenizer.size(), model.config().vocabulary);
  require(options.batch >= 1, "batch is {}, but must be at least 1", options.batch);
}

// Windows of one text in batches: as ValidationBatches, without a token file.
class TextBatches {
 public:
  TextBatches(const std::vector<std::int32_t>& ids, std::int64_t batch, std::int64_t length)
      : ids_(at::tensor(at::ArrayRef<std::int32_t>(ids.data(), ids.size()), at::kLong)),
        batch_(batch),
        length_(length) {}

  std::int64_t targets() const { return ids_.numel() - 1; }
  std::int64_t windows() const { return (targets() + length_ - 1) / length_; }
  std::int64_t count() const { return (windows() + batch_ - 1) / batch_; }

  Batch at(std::int64_t index) const {
    const auto first = index * batch_ * length_;
    const auto size = std::min(batch_, windows() - index * batch_);
    const auto valid = std::min(size * length_, targets() - first);
    const auto ids = at::zeros({size * length_}, at::kLong),
               targets = at::full({size * length_}, kIgnored, at::kLong);
    ids.narrow(0, 0, valid).copy_(ids_.narrow(0, first, valid));
    targets.narrow(0, 0, valid).copy_(ids_.narrow(0, first + 1, valid));
    return {ids.view({size, length_}), targets.view({size, length_})};
  }

 private:
  at::Tensor ids_;
  std::int64_t batch_, length_;
};

// Sums in float64 over batches, each batch's mean weighted by its number of targets.
template <class Batches>
Evaluation evaluate_batches(const LanguageModel& model, const Batches& batches, double bytes_per_token,
                            const EvaluateOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const c10::NoGradGuard no_grad;
  const AutocastGuard autocast(options.dtype, model.output_weight().device().type());
  auto weight = model.output_weight();
  if (options.dtype == at::kBFloat16) weight = weight.to(at::kBFloat16);
  const auto device = weight.device();
  Evaluation result;
  double sum = 0;
  for (std::int64_t index = 0; index < batches.count(); ++index) {
    const Batch batch = batches.at(index);
    const auto valid = batch.targets.ne(kIgnored).sum().template item<std::int64_t>();
    if (valid > 0) {
      const auto hidden_BNd = model.hidden(batch.ids.to(device)).to(weight.scalar_type());
      const auto loss =
          ops::linear_cross_entropy(hidden_BNd, weight, batch.targets.to(device), {.ignore_index = kIgnored});
      sum += loss.template item<double>() * static_cast<double>(valid);
      result.tokens += valid;
    }
    if (options.progress) options.progress(index + 1, batches.count());
  }
  require(result.tokens > 0,
          "there is nothing to evaluate: the text has fewer than two tokens, so none has one before it");
  result.loss = sum / static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.loss);
  result.bits_per_byte = result.loss / std::log(2.0) / bytes_per_token;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace

Evaluation evaluate(const LanguageModel& model, const TokenData& data, const EvaluateOptions& options) {
  check_request(model, *data.tokenizer(), options);
  const ValidationBatches batches(data, options.batch, model.config().length);
  return evaluate_batches(model, batches, data.validation_bytes_per_token(), options);
}

Evaluation evaluate(const LanguageModel& model, const Tokenizer& tokenizer, std::string_view text,
                    const EvaluateOptions& options) {
  check_request(model, tokenizer, options);
  const auto ids = tokenizer.encode(text);
  require(
      ids.size() >= 2,
      "the text has {} tokens, but at least 2 are needed, since the first has none before it to be told from",
      ids.size());
  const TextBatches batches(ids, options.batch, model.config().length);
  const double bytes_per_token = static_cast<double>(text.size()) / static_cast<double>(ids.size());
  return evaluate_batches(model, batches, bytes_per_token, options);
}

}  // namespace linformer
