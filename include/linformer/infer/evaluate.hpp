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
/// Of the keys of a passkey test that are hidden behind a share `from` to `to` of the filler: which share of their
/// tokens has the highest logit, and which share of the keys was found whole. A model that writes the likeliest token
/// each time writes these.
struct DepthAccuracy {
  double from = 0, to = 0;
  std::int64_t keys = 0;
  double accuracy = 0, found = 0;
};
/// The mean loss of the targets behind positions `from` to `to` of their windows: 0 to 127, 128 to 255, 256 to 511, …
struct PositionLoss {
  std::int64_t from = 0, to = 0, tokens = 0;
  double loss = 0;  ///< nats a token
  /// Of the loss, from its spread over windows; only where there are two or more.
  std::optional<double> standard_error = std::nullopt;
};
struct Evaluation {
  double loss = 0, perplexity = 0;
  /// Only when the targets are the whole text. So a masked model has none, generated data has none, and a part of the
  /// windows has none.
  std::optional<double> bits_per_byte = std::nullopt;
  std::int64_t tokens = 0;  ///< number of targets
  double seconds = 0;
  /// only for recall and passkey: the share of targets that have the highest logit
  std::optional<double> accuracy = std::nullopt;
  std::optional<double> found = std::nullopt;  ///< only for passkey: the share of keys of which all tokens have it
  std::vector<DepthAccuracy> accuracy_by_depth = {};  ///< ten ranges; those without a key are left out
  /// sixteen equal ranges of the length; ranges without a query are left out
  std::vector<DistanceAccuracy> accuracy_by_distance = {};
  std::vector<PositionLoss> loss_by_position = {};  ///< only where it was asked for
};
struct EvaluateOptions {
  /// Sequences at once. Of those longer than model.length fewer, so that a batch has no more tokens, but at least one.
  std::int64_t batch = 16;
  std::int64_t sequences = 0;         ///< read at most so many windows; 0: all
  std::int64_t length = 0;            ///< tokens of a window; 0: model.length. Longer ones need a model that reads them
  bool by_position = false;           ///< asks for Evaluation::loss_by_position
  at::ScalarType dtype = at::kFloat;  ///< bfloat16 computes matrix products under autocast
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};  ///< counted in batches
};

/// The mean loss over all validation targets (nats per token), with the perplexity and the bits per byte of text that
/// follow from it (loss / ln 2 / bytes per token). A bidirectional model is evaluated on masked tokens only, as it was
/// trained. A loss that is not finite is returned as it is. UserError when: a bidirectional model has no id for the
/// mask, the data has another vocabulary than the model, there are fewer than two tokens, the batch is below 1, or the
/// model or the data ends before `length`. A causal text of more than LanguageModel::kPromptChunk tokens is read in
/// chunks, in the memory of a chunk.
Evaluation evaluate(const LanguageModel& model, const Dataset& data, const EvaluateOptions& options = {});
Evaluation evaluate(const LanguageModel& model, const TokenData& data, const EvaluateOptions& options = {});

/// The same for a whole text, read in windows of model.length that follow each other. Each token except the first is a
/// target exactly once. UserError for bidirectional models.
Evaluation evaluate(const LanguageModel& model, const Tokenizer& tokenizer, std::string_view text,
                    const EvaluateOptions& options = {});

/// "loss 1.2345, perplexity 3.44, 1.7810 bits per byte".
std::string description_of(const Evaluation& evaluation);

/// As metrics.jsonl and --json have it: "PREFIXloss" and "perplexity", and "bits_per_byte", "accuracy", "found",
/// "accuracy_by_depth", "accuracy_by_distance" and "loss_by_position" when `evaluation` has them.
json to_json(const Evaluation& evaluation, const std::string& prefix = "");

}  // namespace linformer
