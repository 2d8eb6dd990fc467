// Loss of a model over the fixed validation pass.
#pragma once

#include <functional>

#include "linformer/data/batches.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer {

struct Evaluation { double loss = 0, perplexity = 0, bits_per_byte = 0; std::int64_t tokens = 0; double seconds = 0; };
struct EvaluateOptions { std::int64_t batch = 16; at::ScalarType dtype = at::kFloat; std::function<void(std::int64_t done, std::int64_t total)> progress = {}; };
/// Mean over all validation targets (nats a token), in nats, perplexity and bits a byte of text.
Evaluation evaluate(const LanguageModel& model, const TokenData& data, const EvaluateOptions& options = {});

}  // namespace linformer
