// Generates text from a causal model, piece by piece.
#pragma once

#include <c10/core/ScalarType.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "linformer/config/sampling_config.hpp"
#include "linformer/data/tokenizer.hpp"
#include "linformer/infer/conversation.hpp"
#include "linformer/nn/decoder.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer {

/// What to do when a sequence reaches model.length. error: throw UserError, unless the model is free of positions and
/// goes on (ModelConfig::longest_text()). slide: read the last half of the window again as a new prompt, and continue.
enum class Overflow { error, slide };
template <>
struct EnumNames<Overflow> {
  static constexpr std::array names{"error", "slide"};
};

struct GenerateOptions {
  std::int64_t samples = 1;  ///< number of samples for each prompt
  /// a sequence's random numbers depend only on (seed, number of its prompt, number of its sample)
  std::uint64_t seed = 0;
  Overflow overflow = Overflow::error;
  at::ScalarType dtype = at::kFloat;  ///< number format for reading prompts; bfloat16 uses autocast
  /// Number format of the weights while tokens are generated. Formats other than float32 need a model that Decoder can
  /// run (nn/decoder.hpp).
  WeightFormat weights = WeightFormat::float32;
  /// A text that goes on: it has read what this state has, then its unread ids, then the prompt, which may be empty.
  /// The sampler goes on too, and `seed` is not used.
  const Conversation* from = nullptr;
  Conversation* to = nullptr;  ///< receives the state at the end, to go on later
  /// Whether the result holds texts and tokens. Without, and without slide, memory does not grow with the text.
  bool keep = true;
  /// Receives each piece of a sequence's text as soon as it is certain. Pieces hold whole UTF-8 characters, and never a
  /// part of a stop text.
  std::function<void(std::size_t sequence, std::string_view text)> on_text = {};
};

struct GeneratedSequence {
  std::string text;                  ///< what was generated, without prompt and stop text
  std::vector<std::int32_t> tokens;  ///< every id drawn, those of a stop text and the end of text included
  bool stopped = false;              ///< by a stop text or the end of text; otherwise max_tokens were made
};

struct Generation {
  std::vector<GeneratedSequence> sequences;  ///< sequence of prompt p and sample s: number p·samples + s
  std::int64_t prompt_tokens = 0;            ///< tokens read, over all prompts
  std::int64_t decoded_tokens = 0;           ///< tokens drawn, without the first one of each sequence
  double prompt_seconds = 0;                 ///< until every sequence has its first token
  double decode_seconds = 0;                 ///< for all later tokens; includes reading again with slide
  std::int64_t state_bytes = 0;              ///< memory of the decode state at the end
  std::string path;  ///< what generated the tokens, such as "decoder: int8 weights, avx2, 2 threads"
  double tokens_per_second() const {
    return decode_seconds > 0 ? static_cast<double>(decoded_tokens) / decode_seconds : 0;
  }
};

/// Continues each prompt `options.samples` times. All sequences run in one batch; a finished sequence leaves it.
/// UserError when: the model is bidirectional, the tokenizer has another vocabulary than the model, there is no prompt
/// or an empty one, or a sampling value is out of range. Also when a prompt and max_tokens together are longer than
/// model.length, unless `options.overflow` is slide. With `from` or `to` there is one prompt and one sample, and no
/// slide; `from` needs the weights' format with which it was made.
Generation generate(const LanguageModel& model, const Tokenizer& tokenizer, const std::vector<std::string>& prompts,
                    const SamplingConfig& sampling, const GenerateOptions& options = {});

/// Measures the state_bytes that generate() would report for one sequence after a prompt of `tokens` tokens.
std::int64_t decode_state_bytes(const LanguageModel& model, std::int64_t tokens);

}  // namespace linformer
