// Loss of a model over text.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "linformer/data/dataset.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer {

/// Answers to queries whose answer stands from `first` to `last` positions before them.
struct DistanceAccuracy {
  std::int64_t first = 0, last = 0, queries = 0;
  double accuracy = 0;
};
struct Evaluation {
  double loss = 0, perplexity = 0;
  std::optional<double> bits_per_byte = std::nullopt;  ///< where the targets are the text, all of it
  std::int64_t tokens = 0;                             ///< targets
  double seconds = 0;
  std::optional<double> accuracy = std::nullopt;  ///< of recall: share of targets with the highest logit
  std::vector<DistanceAccuracy> accuracy_by_distance =
      {};  ///< sixteen equal ranges of model.length, without the empty ones
};
struct EvaluateOptions {
  std::int64_t batch = 16;
  at::ScalarType dtype = at::kFloat;                                         ///< bfloat16: autocast
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};  ///< in batches
};

/// Mean over all validation targets (nats a token), as perplexity and as bits a byte of text (loss / ln 2 /
/// bytes a token). A bidirectional model is evaluated as a masked one, on masked tokens alone. A loss that is not
/// finite is returned as it is. UserError: a bidirectional model without an id for the mask; another vocabulary than
/// the model's; fewer than two tokens; a batch below 1.
Evaluation evaluate(const LanguageModel& model, const Dataset& data, const EvaluateOptions& options = {});
Evaluation evaluate(const LanguageModel& model, const TokenData& data, const EvaluateOptions& options = {});

/// The same over a whole text: consecutive windows of model.length, each token but the first a target once. UserError
/// for bidirectional models.
Evaluation evaluate(const LanguageModel& model, const Tokenizer& tokenizer, std::string_view text,
                    const EvaluateOptions& options = {});

/// "loss 1.2345, perplexity 3.44, 1.7810 bits per byte".
std::string description_of(const Evaluation& evaluation);

/// The keys of metrics.jsonl and of --json: "PREFIXloss", "perplexity", and where there are such "bits_per_byte",
/// "accuracy", "accuracy_by_distance".
json to_json(const Evaluation& evaluation, const std::string& prefix = "");

}  // namespace linformer
