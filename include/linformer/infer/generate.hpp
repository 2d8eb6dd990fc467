// Text from a causal model, as a stream.
#pragma once

#include <c10/core/ScalarType.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "linformer/config/sampling_config.hpp"
#include "linformer/data/tokenizer.hpp"
#include "linformer/nn/decoder.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer {

/// What happens when a sequence reaches model.length: an error, or the last half of the window is read again
/// and generation goes on.
enum class Overflow { error, slide };
template <>
struct EnumNames<Overflow> {
  static constexpr std::array names{"error", "slide"};
};

struct GenerateOptions {
  std::int64_t samples = 1;  ///< of each prompt
  std::uint64_t seed = 0;    ///< a sequence draws from (seed, its prompt's number, its sample's number) alone
  Overflow overflow = Overflow::error;
  at::ScalarType dtype = at::kFloat;  ///< of reading prompts; bfloat16: autocast
  /// Of the weights while tokens are made; other than float32 needs a model that a Decoder serves (nn/decoder.hpp).
  WeightFormat weights = WeightFormat::float32;
  /// Gets each piece of a sequence's text as it is certain: whole UTF-8 characters, never any of a stop text.
  std::function<void(std::size_t sequence, std::string_view text)> on_text = {};
};

struct GeneratedSequence {
  std::string text;                  ///< what was generated, without prompt and stop text
  std::vector<std::int32_t> tokens;  ///< every id drawn, those of a stop text and the end of text included
  bool stopped = false;              ///< by a stop text or the end of text; otherwise max_tokens were made
};

struct Generation {
  std::vector<GeneratedSequence> sequences;  ///< number prompt·samples + sample
  std::int64_t prompt_tokens = 0;            ///< read, all prompts together
  std::int64_t decoded_tokens = 0;           ///< drawn after each sequence's first
  double prompt_seconds = 0;                 ///< until each sequence has its first token
  double decode_seconds = 0;                 ///< for the rest, reading again included
  std::int64_t state_bytes = 0;              ///< what the decode state held at the end
  std::string path;                          ///< what made the tokens, such as "decoder: int8 weights, avx2, 2 threads"
  double tokens_per_second() const {
    return decode_seconds > 0 ? static_cast<double>(decoded_tokens) / decode_seconds : 0;
  }
};

/// Continues each prompt `options.samples` times; all sequences run in one batch, and finished ones leave it.
/// UserError: a bidirectional model, another vocabulary than the model's, no prompt or an empty one, sampling
/// values out of range, and, unless `options.overflow` is slide, a prompt and max_tokens that together pass
/// model.length.
Generation generate(const LanguageModel& model, const Tokenizer& tokenizer, const std::vector<std::string>& prompts,
                    const SamplingConfig& sampling, const GenerateOptions& options = {});

/// What generate() would report as state_bytes of one sequence once it has read a prompt of `tokens` tokens, measured.
std::int64_t decode_state_bytes(const LanguageModel& model, std::int64_t tokens);

}  // namespace linformer
