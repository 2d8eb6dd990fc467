#include "linformer/infer/generate.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "infer/token_steps.hpp"
#include "linformer/core/error.hpp"
#include "linformer/infer/sampling.hpp"
#include "linformer/infer/text_stream.hpp"
#include "linformer/nn/device.hpp"
#include "linformer/nn/state_file.hpp"

namespace linformer {
namespace {

using Ids = std::vector<std::int64_t>;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Sequence {
  std::size_t number;  ///< in the result
  Ids ids;             ///< prompt and drawn tokens, as far back as they may be read again
  std::size_t start;   ///< of the ids that the model sees
  Sampler sampler;
  TextStream text;
  std::int64_t made = 0;  ///< drawn tokens
  bool finished = false;
  std::int64_t visible() const { return static_cast<std::int64_t>(ids.size() - start); }
};

void check_request(const LanguageModel& model, const Tokenizer& tokenizer, const std::vector<std::string>& prompts,
                   const SamplingConfig& sampling, const GenerateOptions& options) {
  check(sampling);
  const auto& config = model.config();
  require(config.causal,
          "this model is bidirectional (model.causal = false): every position sees the whole text, so it "
          "can't continue one; "
          "generate with a model that was trained with model.causal = true");
  require(tokenizer.size() == config.vocabulary,
          "the tokenizer '{}' has {} ids, but the model's vocabulary has {}: use the tokenizer that the "
          "model was trained with",
          tokenizer.name(), tokenizer.size(), config.vocabulary);
  require(options.samples >= 1, "samples is {}, but must be at least 1", options.samples);
  require(!prompts.empty(), "there is no prompt: give at least one");
  if (options.from == nullptr && options.to == nullptr) return;
  require(prompts.size() == 1 && options.samples == 1,
          "a state is of one text, but prompts and samples make {}; give one prompt and one sample, or leave out "
          "--state-in and --state-out",
          static_cast<std::int64_t>(prompts.size()) * options.samples);
  require(options.overflow == Overflow::error,
          "--overflow slide reads text again that a state doesn't hold; leave it out, or --state-in and --state-out");
  require(options.from == nullptr || options.from->weights == options.weights,
          "the state was made with {} weights, but these are {}; use --dtype {}",
          options.from == nullptr ? "" : kernels::weight_format_name(options.from->weights),
          kernels::weight_format_name(options.weights),
          options.from == nullptr ? "" : kernels::weight_format_name(options.from->weights));
}

// Of a text that goes on, its unread ids come first.
std::vector<Ids> encode_prompts(const Tokenizer& tokenizer, const std::vector<std::string>& prompts,
                                const Conversation* from) {
  std::vector<Ids> result;
  if (from != nullptr) {
    auto& ids = result.emplace_back(from->unread);
    const auto more = tokenizer.encode(prompts.front());
    ids.insert(ids.end(), more.begin(), more.end());
    require(!ids.empty(), "the state has nothing left to read, and the prompt is empty: give a prompt");
    return result;
  }
  for (std::size_t prompt = 0; prompt < prompts.size(); ++prompt) {
    const auto ids = tokenizer.encode(prompts[prompt]);
    require(!ids.empty(), "prompt {} is empty: a model continues a text, so give it at least a character to start from",
            prompt + 1);
    result.emplace_back(ids.begin(), ids.end());
  }
  return result;
}

// The tokens that must be read are the prompt and all drawn tokens except the last. A text with a state can't slide.
void check_length(std::int64_t tokens, std::int64_t max_tokens, std::int64_t length, const GenerateOptions& options) {
  const bool from = options.from != nullptr, slides = !from && options.to == nullptr;
  const auto* text = from ? "the state and the prompt have" : "a prompt has";
  require(tokens <= length, "{} {} tokens, but the model sees {} at most (model.length): shorten it{}", text, tokens,
          length, slides ? ", or use --overflow slide, which keeps the last half of the window" : "");
  require(max_tokens <= length - tokens + 1,
          "{} {} tokens, and with {} new ones they pass the {} that the model sees at most (model.length): use "
          "--max-tokens {} or fewer{}{}",
          text, tokens, max_tokens, length, length - tokens + 1, slides ? ", a shorter prompt" : " or a shorter prompt",
          slides ? ", or --overflow slide, which reads the last half of the window again" : "");
}

class Generator {
 public:
  Generator(const LanguageModel& model, const Tokenizer& tokenizer, const SamplingConfig& sampling,
            const GenerateOptions& options)
      : tokenizer_(tokenizer),
        sampling_(sampling),
        options_(options),
        length_(options.overflow == Overflow::slide ? model.config().length : model.config().longest_text()),
        steps_(model, options.weights, options.to != nullptr) {}

  Generation run(const std::vector<Ids>& prompts) {
    const auto start = Clock::now();
    read_prompts(prompts);
    draw();
    result_.prompt_seconds = seconds_since(start);
    const auto decode_start = Clock::now();
    while (advance()) draw();
    result_.decode_seconds = result_.decoded_tokens > 0 ? seconds_since(decode_start) : 0;
    result_.state_bytes = steps_.state_bytes();
    result_.path = steps_.path();
    if (options_.to != nullptr) {
      const auto& text = sequences_.front();
      *options_.to = {.state = steps_.state(),
                      .unread = {text.ids.back()},
                      .sampler = text.sampler.state(),
                      .weights = options_.weights};
    }
    return std::move(result_);
  }

 private:
  void read_prompts(const std::vector<Ids>& prompts) {
    const auto samples = static_cast<std::size_t>(options_.samples);
    result_.sequences.resize(prompts.size() * samples);
    std::vector<Ids> windows;
    for (std::size_t prompt = 0; prompt < prompts.size(); ++prompt) {
      const auto& ids = prompts[prompt];
      for (std::size_t sample = 0; sample < samples; ++sample) {
        sequences_.push_back({.number = prompt * samples + sample,
                              .ids = ids,
                              .start = 0,
                              .sampler = options_.from != nullptr
                                             ? Sampler::resumed(sampling_, options_.from->sampler)
                                             : Sampler(sampling_, Sampler::Stream{options_.seed, prompt, sample}),
                              .text = TextStream(sampling_.stop)});
        for (const auto id : ids) sequences_.back().sampler.observe(id);
        if (sequences_.back().visible() > length_) slide(sequences_.back());
      }
      windows.push_back(window(sequences_.back()));
      result_.prompt_tokens += static_cast<std::int64_t>(windows.back().size());
    }
    if (options_.from != nullptr) {
      steps_.resume(options_.from->state, windows.front());
    } else {
      steps_.prefill(windows, options_.samples);
    }
  }

  static Ids window(const Sequence& sequence) {
    return {sequence.ids.begin() + static_cast<std::ptrdiff_t>(sequence.start), sequence.ids.end()};
  }

  void slide(Sequence& sequence) const {
    sequence.start = sequence.ids.size() - static_cast<std::size_t>(std::max<std::int64_t>(1, length_ / 2));
  }

  // Draws one id for each unfinished sequence, from its row of the logits.
  void draw() {
    for (std::size_t row = 0; row < sequences_.size(); ++row) {
      auto& sequence = sequences_[row];
      if (sequence.finished) continue;
      add(sequence, static_cast<std::int32_t>(steps_.draw(row, sequence.sampler)));
    }
  }

  void add(Sequence& sequence, std::int32_t id) {
    auto& made = result_.sequences[sequence.number];
    if (sequence.made++ > 0) ++result_.decoded_tokens;
    if (options_.keep) made.tokens.push_back(id);
    if (options_.overflow == Overflow::error) sequence.ids.clear();
    sequence.ids.push_back(id);
    const bool ended = id == tokenizer_.end_of_text();
    auto shown = ended ? std::string() : sequence.text.push(tokenizer_.bytes_of(id));
    made.stopped = ended || sequence.text.stopped();
    sequence.finished = made.stopped || sequence.made == sampling_.max_tokens;
    if (sequence.finished) shown += sequence.text.finish();
    if (options_.keep) made.text += shown;
    if (options_.on_text && !shown.empty()) options_.on_text(sequence.number, shown);
  }

  // Reads the ids that were drawn last. Returns false when every sequence is finished.
  bool advance() {
    if (!drop_finished()) return false;
    const bool at_end = std::any_of(steps_.positions().begin(), steps_.positions().end(),
                                    [&](std::int64_t position) { return position >= length_; });
    if (at_end) {
      reread();
    } else {
      step();
    }
    return true;
  }

  // Returns false when no sequence is left.
  bool drop_finished() {
    Ids rows;
    for (std::size_t row = 0; row < sequences_.size(); ++row) {
      if (!sequences_[row].finished) rows.push_back(static_cast<std::int64_t>(row));
    }
    if (rows.size() == sequences_.size() || rows.empty()) return !rows.empty();
    std::erase_if(sequences_, [](const auto& sequence) { return sequence.finished; });
    steps_.keep(rows);
    return true;
  }

  void step() {
    Ids ids;
    for (const auto& sequence : sequences_) ids.push_back(sequence.ids.back());
    steps_.step(ids);
  }

  // Moves the windows that are full, and reads all windows again, in one parallel pass.
  void reread() {
    std::vector<Ids> windows;
    for (auto& sequence : sequences_) {
      if (sequence.visible() > length_) slide(sequence);
      windows.push_back(window(sequence));
    }
    steps_.prefill(windows, 1);
  }

  const Tokenizer& tokenizer_;
  const SamplingConfig& sampling_;
  const GenerateOptions& options_;
  const std::int64_t length_;
  std::vector<Sequence> sequences_;
  TokenSteps steps_;
  Generation result_;
};

}  // namespace

Generation generate(const LanguageModel& model, const Tokenizer& tokenizer, const std::vector<std::string>& prompts,
                    const SamplingConfig& sampling, const GenerateOptions& options) {
  check_request(model, tokenizer, prompts, sampling, options);
  const auto ids = encode_prompts(tokenizer, prompts, options.from);
  if (options.overflow == Overflow::error) {
    const auto before = options.from != nullptr ? options.from->state.positions().front() : 0;
    for (const auto& prompt : ids)
      check_length(before + static_cast<std::int64_t>(prompt.size()), sampling.max_tokens,
                   model.config().longest_text(), options);
  }
  const c10::NoGradGuard no_grad;
  const AutocastGuard autocast(options.dtype, model.output_weight().device().type());
  return Generator(model, tokenizer, sampling, options).run(ids);
}

std::int64_t decode_state_bytes(const LanguageModel& model, std::int64_t tokens) {
  const c10::NoGradGuard no_grad;
  TokenSteps steps(model, WeightFormat::float32);
  steps.load(blank_state(model, 1, tokens));
  return steps.state_bytes();
}

}  // namespace linformer
