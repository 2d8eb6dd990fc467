#include "linformer/infer/generate.hpp"

#include <gtest/gtest.h>

#include <map>

#include "infer/tiny_models.hpp"
#include "linformer/core/json.hpp"
#include "support/errors.hpp"

namespace linformer {
namespace {

using linformer::test::kForms;
using linformer::test::message_of;
using linformer::test::tiny_config;
using linformer::test::tiny_model;
using Tokens = std::vector<std::int32_t>;

const Tokenizer& bytes_tokenizer() {
  static const auto tokenizer = load_tokenizer("bytes");
  return *tokenizer;
}

Generation run(const LanguageModel& model, const std::vector<std::string>& prompts, const SamplingConfig& sampling,
               const GenerateOptions& options = {}) {
  return generate(model, bytes_tokenizer(), prompts, sampling, options);
}

// What greedy generation must give, from whole forward passes over the window that the rule of `slide` names.
Tokens greedy_by_logits(const LanguageModel& model, const std::string& prompt, std::int64_t count) {
  const c10::NoGradGuard no_grad;
  std::vector<std::int64_t> ids;
  for (const char byte : prompt) ids.push_back(static_cast<unsigned char>(byte));
  std::size_t start = 0;
  const auto length = static_cast<std::size_t>(model.config().length);
  Tokens result;
  while (static_cast<std::int64_t>(result.size()) < count) {
    if (ids.size() - start > length) start = ids.size() - length / 2;
    const std::vector<std::int64_t> window(ids.begin() + static_cast<std::ptrdiff_t>(start), ids.end());
    const auto logits_1NV = model.logits(at::tensor(window, at::kLong).unsqueeze(0));
    ids.push_back(logits_1NV[0][-1].argmax().item<std::int64_t>());
    result.push_back(static_cast<std::int32_t>(ids.back()));
  }
  return result;
}

// Bytes of the character that `text` starts with, by decoding its code point; 1 where it is not valid UTF-8.
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t index) { return static_cast<unsigned>(static_cast<unsigned char>(text[index])); };
  const std::size_t length = byte(0) < 0xC0 ? 1 : byte(0) < 0xE0 ? 2 : byte(0) < 0xF0 ? 3 : byte(0) < 0xF8 ? 4 : 1;
  if (length == 1 || text.size() < length) return 1;
  unsigned point = byte(0) & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (byte(i) >> 6 != 2) return 1;
    point = point << 6 | (byte(i) & 0x3F);
  }
  const unsigned smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = point >= 0xD800 && point < 0xE000;
  return point < smallest[length] || point > 0x10FFFF || surrogate ? 1 : length;
}

class EachForm : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Forms, EachForm, ::testing::ValuesIn(kForms));

TEST_P(EachForm, GreedyFollowsTheLogits) {
  const auto model = tiny_model(tiny_config(GetParam()));
  const auto result = run(model, {"abcde"}, {.max_tokens = 20, .temperature = 0});
  EXPECT_EQ(result.sequences[0].tokens, greedy_by_logits(model, "abcde", 20));
  EXPECT_FALSE(result.sequences[0].stopped);
  EXPECT_EQ(result.prompt_tokens, 5);
  EXPECT_EQ(result.decoded_tokens, 19);
  EXPECT_GT(result.state_bytes, 0);
}

TEST_P(EachForm, SlideReadsTheLastHalfAgain) {
  const auto model = tiny_model(tiny_config(GetParam()));
  for (const std::string prompt :
       {"abcde", "exactly twenty-four bytes", "a prompt that is longer than the window of the model"}) {
    const auto result = run(model, {prompt}, {.max_tokens = 50, .temperature = 0}, {.overflow = Overflow::slide});
    EXPECT_EQ(result.sequences[0].tokens, greedy_by_logits(model, prompt, 50)) << prompt;
  }
}

TEST_P(EachForm, ASequenceDoesNotDependOnItsBatch) {
  const auto model = tiny_model(tiny_config(GetParam()));
  const std::vector<std::string> prompts{"The first", "b", "the third one", "and"};
  for (const double temperature : {0.0, 1.0}) {
    const SamplingConfig sampling{.max_tokens = 30, .temperature = temperature, .top_k = 9, .stop = {"e", "\x7f"}};
    const GenerateOptions one{.seed = 5, .overflow = Overflow::slide},
        three{.samples = 3, .seed = 5, .overflow = Overflow::slide};
    const auto together = run(model, prompts, sampling, three);
    ASSERT_EQ(together.sequences.size(), 12u);
    const auto single = run(model, prompts, sampling, one);
    for (std::size_t prompt = 0; prompt < prompts.size(); ++prompt) {
      EXPECT_EQ(single.sequences[prompt].tokens, together.sequences[3 * prompt].tokens) << prompt;
      if (temperature == 0) {
        EXPECT_EQ(run(model, {prompts[prompt]}, sampling, one).sequences[0].tokens, single.sequences[prompt].tokens)
            << prompt;
      } else {
        EXPECT_NE(together.sequences[3 * prompt + 1].tokens, together.sequences[3 * prompt + 2].tokens) << prompt;
      }
    }
    EXPECT_EQ(run(model, {prompts[0]}, sampling, one).sequences[0].tokens, single.sequences[0].tokens);
  }
}

TEST_P(EachForm, FinishedSequencesNeverPassThePositionTable) {
  const auto model = tiny_model(tiny_config(GetParam()));
  // Both may make 5 tokens; the long prompt would stand at 24 if it went on with the short one after a stop
  // at once.
  const auto free = run(model, {"twenty bytes of text", "a"}, {.max_tokens = 5, .temperature = 0});
  const std::string stop(1, static_cast<char>(free.sequences[0].tokens[0]));
  const auto result = run(model, {"twenty bytes of text", "a"}, {.max_tokens = 5, .temperature = 0, .stop = {stop}});
  EXPECT_TRUE(result.sequences[0].stopped);
  EXPECT_EQ(result.sequences[0].text, "");
  const auto alone = run(model, {"a"}, {.max_tokens = 5, .temperature = 0, .stop = {stop}});
  EXPECT_EQ(result.sequences[1].tokens, alone.sequences[0].tokens);
}

TEST(Generate, SeedsRepeatAndDiffer) {
  const auto model = tiny_model(tiny_config("running"));
  const SamplingConfig sampling{.max_tokens = 16, .temperature = 1};
  const auto tokens = [&](std::uint64_t seed) {
    return run(model, {"seed"}, sampling, {.seed = seed}).sequences[0].tokens;
  };
  EXPECT_EQ(tokens(1), tokens(1));
  EXPECT_NE(tokens(1), tokens(2));
}

TEST(Generate, WhatIsShownNeedNotBeKept) {
  const auto model = tiny_model(tiny_config("running"));
  const SamplingConfig sampling{.max_tokens = 9, .temperature = 1};
  for (const auto overflow : {Overflow::error, Overflow::slide}) {
    std::string shown;
    GenerateOptions options{.seed = 3, .overflow = overflow};
    const auto kept = run(model, {"ab"}, sampling, options);
    options.keep = false;
    options.on_text = [&](std::size_t, std::string_view text) { shown += text; };
    const auto result = run(model, {"ab"}, sampling, options);
    EXPECT_EQ(shown, kept.sequences[0].text);
    EXPECT_TRUE(result.sequences[0].text.empty() && result.sequences[0].tokens.empty());
    EXPECT_EQ(result.decoded_tokens, kept.decoded_tokens);
    EXPECT_EQ(result.sequences[0].stopped, kept.sequences[0].stopped);
  }
}

TEST(Generate, StopTextsSpanTokensAndAreNotPrinted) {
  const auto model = tiny_model(tiny_config("running", 64));
  SamplingConfig sampling{.max_tokens = 40, .temperature = 1};
  const auto bytes = bytes_tokenizer().decode(run(model, {"stop"}, sampling).sequences[0].tokens);
  sampling.stop = {bytes.substr(11, 3), "never in it, as it is too long by far"};
  const auto end = bytes.find(sampling.stop[0]);
  std::string streamed;
  const GenerateOptions options{.on_text = [&](std::size_t, std::string_view text) { streamed += text; }};
  const auto stopped = run(model, {"stop"}, sampling, options).sequences[0];
  EXPECT_TRUE(stopped.stopped);
  EXPECT_EQ(stopped.text, bytes.substr(0, end));
  EXPECT_EQ(streamed, stopped.text);
  EXPECT_EQ(stopped.tokens.size(), end + 3);
}

// Bytes, of which one stands for the end of the text.
class EndingTokenizer : public Tokenizer {
 public:
  explicit EndingTokenizer(std::int32_t end) : end_(end) {}
  std::int64_t size() const override { return 256; }
  std::vector<std::int32_t> encode(std::string_view text) const override { return bytes_tokenizer().encode(text); }
  std::size_t safe_cut(std::string_view text, std::size_t from) const override {
    return bytes_tokenizer().safe_cut(text, from);
  }
  std::string_view bytes_of(std::int32_t id) const override {
    return id == end_ ? "<|endoftext|>" : bytes_tokenizer().bytes_of(id);
  }
  std::string name() const override { return "ending"; }
  std::string hash() const override { return ""; }
  json to_json() const override { return {}; }
  std::optional<std::int32_t> end_of_text() const override { return end_; }

 private:
  std::int32_t end_;
};

TEST(Generate, TheEndOfTextEndsASample) {
  const auto model = tiny_model(tiny_config("running", 64));
  const SamplingConfig sampling{.max_tokens = 40, .temperature = 1};
  const auto free = run(model, {"stop"}, sampling).sequences[0];
  const auto end = free.tokens[11];
  std::string streamed;
  const GenerateOptions options{.on_text = [&](std::size_t, std::string_view text) { streamed += text; }};
  const auto made = generate(model, EndingTokenizer(end), {"stop"}, sampling, options).sequences[0];
  const auto first = std::find(free.tokens.begin(), free.tokens.end(), end);
  EXPECT_TRUE(made.stopped);
  EXPECT_EQ(made.tokens, Tokens(free.tokens.begin(), first + 1));
  EXPECT_EQ(made.text, bytes_tokenizer().decode({free.tokens.begin(), first}));
  EXPECT_EQ(streamed, made.text);
}

TEST(Generate, StreamsWholeCharactersOnly) {
  const auto model = tiny_model(tiny_config("softmax", 260));
  std::map<std::size_t, std::string> streamed;
  std::map<std::size_t, std::vector<std::string>> pieces;
  const GenerateOptions options{.samples = 3, .seed = 2, .on_text = [&](std::size_t sequence, std::string_view text) {
                                  streamed[sequence] += text;
                                  pieces[sequence].emplace_back(text);
                                }};
  const auto result = run(model, {"é"}, {.max_tokens = 250, .temperature = 1.5}, options);
  ASSERT_EQ(streamed.size(), 3u);
  int characters = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(streamed[i], bytes_tokenizer().decode(result.sequences[i].tokens));
    EXPECT_EQ(streamed[i], result.sequences[i].text);
    EXPECT_GT(pieces[i].size(), 100u);
    std::vector<bool> cut(streamed[i].size() + 1, false);
    std::size_t at = 0;
    for (const auto& piece : pieces[i]) cut[at += piece.size()] = true;
    for (at = 0; at < streamed[i].size();) {
      const auto length = character_length(std::string_view(streamed[i]).substr(at));
      for (std::size_t inside = 1; inside < length; ++inside) EXPECT_FALSE(cut[at + inside]) << at;
      characters += length > 1;
      at += length;
    }
  }
  EXPECT_GT(characters, 20);
}

TEST(Generate, PassingTheLengthIsAnErrorThatSaysWhatToDo) {
  const auto model = tiny_model(tiny_config("running"));
  const auto exact = run(model, {"0123456789"}, {.max_tokens = 15, .temperature = 0});
  EXPECT_EQ(exact.sequences[0].tokens.size(), 15u);
  const auto message = message_of([&] { run(model, {"a", "0123456789"}, {.max_tokens = 16}); });
  EXPECT_NE(message.find("--max-tokens 15"), std::string::npos) << message;
  EXPECT_NE(message.find("--overflow slide"), std::string::npos) << message;
  EXPECT_NE(message_of([&] { run(model, {std::string(25, 'x')}, {.max_tokens = 1}); }).find("25 tokens"),
            std::string::npos);
}

TEST(Generate, RefusesWhatItCannotDo) {
  auto config = tiny_config("softmax");
  const auto model = tiny_model(config);
  EXPECT_NE(message_of([&] { run(model, {}, {}); }).find("no prompt"), std::string::npos);
  EXPECT_NE(message_of([&] { run(model, {"a", ""}, {}); }).find("prompt 2 is empty"), std::string::npos);
  EXPECT_NE(message_of([&] { run(model, {"a"}, {}, {.samples = 0}); }).find("samples is 0"), std::string::npos);
  EXPECT_NE(message_of([&] { run(model, {"a"}, {.top_p = 2}); }).find("generate.top_p is 2"), std::string::npos);
  config.causal = false;
  EXPECT_NE(message_of([&] { run(tiny_model(config), {"a"}, {}); }).find("bidirectional"), std::string::npos);
  config.causal = true;
  config.vocabulary = 300;
  EXPECT_NE(message_of([&] { run(tiny_model(config), {"a"}, {}); }).find("256 ids"), std::string::npos);
}

TEST(Generate, ReportsDamagedWeights) {
  const auto model = tiny_model(tiny_config("softmax"));
  const c10::NoGradGuard no_grad;
  model.output_weight().fill_(std::nan(""));
  EXPECT_NE(message_of([&] { run(model, {"a"}, {.max_tokens = 3}); }).find("not finite"), std::string::npos);
}

TEST(Generate, StateBytesAreThoseOfAPromptRead) {
  for (const auto& form : kForms) {
    auto model = tiny_model(tiny_config(form));
    for (const auto type : {at::kFloat, at::kDouble}) {  // the decoder's state, and the general step's
      model.to(at::kCPU, type);
      for (const std::int64_t tokens : {1, 11, 24}) {
        const auto made = run(model, {std::string(static_cast<std::size_t>(tokens), 'a')}, {.max_tokens = 1});
        EXPECT_EQ(decode_state_bytes(model, tokens), made.state_bytes) << form << ' ' << tokens;
      }
    }
  }
}

}  // namespace
}  // namespace linformer
