// The loss of a model on text.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "linformer/data/dataset.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer {

/// How many queries were answered correctly, among those whose answer stands `first` to `last` positions back.
struct DistanceAccuracy {
  std::int64_t first = 0, last = 0, queries = 0;
  double accuracy = 0;
};
struct Evaluation {
  double loss = 0, perplexity = 0;
  /// Only when the targets are the whole text. So a masked model has none, and generated data has none.
  std::optional<double> bits_per_byte = std::nullopt;
  std::int64_t tokens = 0;  ///< number of targets
  double seconds = 0;
  /// only for recall: the share of targets that have the highest logit
  std::optional<double> accuracy = std::nullopt;
  /// sixteen equal ranges of model.length; ranges without a query are left out
  std::vector<DistanceAccuracy> accuracy_by_distance = {};
};
struct EvaluateOptions {
  std::int64_t batch = 16;
  at::ScalarType dtype = at::kFloat;  ///< bfloat16 computes matrix products under autocast
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};  ///< counted in batches
};

/// The mean loss over all validation targets (nats per token), with the perplexity and the bits per byte of text that
/// follow from it (loss / ln 2 / bytes per token). A bidirectional model is evaluated on masked tokens only, as it was
/// trained. A loss that is not finite is returned as it is. UserError when: a bidirectional model has no id for the
/// mask, the data has another vocabulary than the model, there are fewer than two tokens, or the batch is below 1.
Evaluation evaluate(const LanguageModel& model, const Dataset& data, const EvaluateOptions& options = {});
Evaluation evaluate(const LanguageModel& model, const TokenData& data, const EvaluateOptions& options = {});

/// The same for a whole text, read in windows of model.length that follow each other. Each token except the first is a
/// target exactly once. UserError for bidirectional models.
Evaluation evaluate(const LanguageModel& model, const Tokenizer& tokenizer, std::string_view text,
                    const EvaluateOptions& options = {});

/// "loss 1.2345, perplexity 3.44, 1.7810 bits per byte".
std::string description_of(const Evaluation& evaluation);

/// As metrics.jsonl and --json have it: "PREFIXloss" and "perplexity", and "bits_per_byte", "accuracy" and
/// "accuracy_by_distance" when `evaluation` has them.
json to_json(const Evaluation& evaluation, const std::string& prefix = "");

}  // namespace linformer
