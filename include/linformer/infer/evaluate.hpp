// Loss of a model over text.
#pragma once

#include <functional>
#include <vector>

#include "linformer/data/batches.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer {

struct Evaluation {
  double loss = 0, perplexity = 0, bits_per_byte = 0;
  std::int64_t tokens = 0;
  double seconds = 0;
};
struct EvaluateOptions {
  std::int64_t batch = 16;
  at::ScalarType dtype = at::kFloat;                                         ///< bfloat16: autocast
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};  ///< in batches
};

/// Mean over all validation targets (nats a token), as perplexity and as bits a byte of text (loss / ln 2 /
/// bytes a token). A loss that is not finite is returned as it is. UserError: a bidirectional model, which
/// would see its targets; another vocabulary than the model's; fewer than two tokens; a batch below 1.
Evaluation evaluate(const LanguageModel& model, const TokenData& data, const EvaluateOptions& options = {});

/// The same over a whole text: consecutive windows of model.length, each token but the first a target once.
Evaluation evaluate(const LanguageModel& model, const Tokenizer& tokenizer, std::string_view text,
                    const EvaluateOptions& options = {});

}  // namespace linformer
