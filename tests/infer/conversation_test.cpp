// A text that goes on later is, bit for bit, the text without a pause.
#include "linformer/infer/conversation.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/support.hpp"
#include "linformer/infer/generate.hpp"
#include "linformer/nn/model_file.hpp"
#include "linformer/nn/state_file.hpp"
#include "nn/forms.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;
using test::FormCase;
using test::holds;
using test::message_of;

const Tokenizer& tokenizer_of_bytes() {
  static const auto tokenizer = load_tokenizer("bytes");
  return *tokenizer;
}

std::vector<FormCase> forms_to_pause() {
  auto chosen = test::causal_forms();
  std::erase_if(chosen, [](const FormCase& form) {
    return form.name.find("key_value") != std::string::npos || form.name.find("unbiased") != std::string::npos ||
           form.name.find("_both_") != std::string::npos || form.name.find("layerwise") != std::string::npos ||
           form.config.longest_text() < 45;
  });
  return chosen;
}

LanguageModel model_to_pause(ModelConfig config) {
  config.vocabulary = tokenizer_of_bytes().size();
  return test::lively_model(config, at::kFloat);
}

class EveryConversation : public testing::TestWithParam<FormCase> {};
INSTANTIATE_TEST_SUITE_P(Forms, EveryConversation, testing::ValuesIn(forms_to_pause()),
                         [](const auto& form) { return form.param.name; });

TEST_P(EveryConversation, GoesOnBitForBit) {
  const auto model = model_to_pause(GetParam().config);
  const test::TemporaryFolder folder;
  const auto file = folder / "state";
  SamplingConfig sampling;
  sampling.repetition_penalty = 1.2;
  sampling.top_k = 20;
  for (const auto weights : {WeightFormat::float32, WeightFormat::bfloat16, WeightFormat::int8}) {
    for (const std::string prompt : {"The cat", "a longer prompt than W"}) {
      if (weights != WeightFormat::float32 && prompt.size() < 10) continue;
      const GenerateOptions options{.seed = 7, .weights = weights};
      const auto made = [&](std::int64_t tokens, const Conversation* from, Conversation* to) {
        sampling.max_tokens = tokens;
        auto own = options;
        own.from = from, own.to = to;
        return generate(model, tokenizer_of_bytes(), {from != nullptr ? "" : prompt}, sampling, own)
            .sequences[0]
            .tokens;
      };
      const auto whole = made(20, nullptr, nullptr);
      // Paused within a block, at its end, and twice.
      for (const std::vector<std::int64_t>& parts : {std::vector<std::int64_t>{1, 19}, {7, 13}, {5, 6, 9}}) {
        std::vector<std::int32_t> all;
        for (std::size_t i = 0; i < parts.size(); ++i) {
          std::optional<Conversation> from;
          if (i > 0) from = load_conversation(file, model);
          Conversation to;
          const auto some = made(parts[i], from ? &*from : nullptr, &to);
          save_conversation(file, model, to);
          all.insert(all.end(), some.begin(), some.end());
        }
        EXPECT_EQ(all, whole) << prompt;
      }
    }
  }
}

TEST_P(EveryConversation, ReadsAPromptBehindItsText) {
  const auto model = model_to_pause(GetParam().config);
  SamplingConfig greedy;
  greedy.temperature = 0, greedy.max_tokens = 3;
  Conversation state;
  const auto first = generate(model, tokenizer_of_bytes(), {"Some text"}, greedy, {.to = &state}).sequences[0].tokens;
  const auto later = generate(model, tokenizer_of_bytes(), {" and more"}, greedy, {.from = &state}).sequences[0].tokens;
  std::string text = "Some text";
  for (const auto id : first) text += tokenizer_of_bytes().bytes_of(id);
  text += " and more";
  // The random bytes of this model are no UTF-8, but bytes they are.
  EXPECT_EQ(later, generate(model, tokenizer_of_bytes(), {text}, greedy).sequences[0].tokens);
}

class StateFile : public testing::Test {
 protected:
  StateFile() : model_(model_to_pause(test::linformer_form("running", 45, 7, 5, Sharing::none).config)) {
    SamplingConfig sampling;
    sampling.max_tokens = 3;
    Conversation to;
    generate(model_, tokenizer_of_bytes(), {"The cat sat on the mat"}, sampling, {.to = &to});
    save_conversation(file(), model_, to);
  }
  fs::path file() const { return folder_ / "state"; }
  std::string refusal(const LanguageModel& model) const {
    return message_of([&] { load_conversation(file(), model); });
  }
  std::string content() const {
    std::ifstream stream(file(), std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  test::TemporaryFolder folder_;
  LanguageModel model_;
};

TEST_F(StateFile, OfAnotherModelIsRefused) {
  EXPECT_NO_THROW(load_conversation(file(), model_));
  auto config = test::linformer_form("running", 45, 7, 6, Sharing::none).config;
  EXPECT_TRUE(holds(refusal(model_to_pause(config)), {"attention.slots = 5", "has 6"}));
  config = test::linformer_form("running", 45, 7, 5, Sharing::none, Summary::running, Projection::periodic).config;
  config.attention.period = 14;
  EXPECT_TRUE(holds(refusal(model_to_pause(config)), {"attention.p"}));
  config = test::linformer_form("running", 45, 7, 5, Sharing::none).config;
  config.vocabulary = 256;
  EXPECT_TRUE(holds(refusal(test::lively_model(config, at::kFloat, 4)), {"other weights"}));
}

TEST_F(StateFile, CutOrEditedIsRefused) {
  const auto whole = content();
  for (const std::size_t place : {std::size_t{3}, whole.size() / 3, whole.size() - 9}) {
    auto edited = whole;
    edited[place] = static_cast<char>(edited[place] ^ 1);
    folder_.write("state", edited);
    EXPECT_NE(refusal(model_), "") << place;
  }
  auto number = whole;
  number[whole.size() - 9] = static_cast<char>(number[whole.size() - 9] ^ 1);
  folder_.write("state", number);
  EXPECT_TRUE(holds(refusal(model_), {"changed after it was written"}));
  for (const auto size : {std::size_t{0}, std::size_t{5}, whole.size() / 2, whole.size() - 1}) {
    folder_.write("state", whole.substr(0, size));
    EXPECT_NE(refusal(model_), "") << size;
  }
  save_weights(folder_ / "state", model_);
  EXPECT_TRUE(holds(refusal(model_), {"no saved state", "--state-out"}));
}

TEST_F(StateFile, NeedsOneTextAndTheSameWeights) {
  const auto from = load_conversation(file(), model_);
  SamplingConfig sampling;
  sampling.max_tokens = 2;
  const auto refused = [&](const std::vector<std::string>& prompts, const GenerateOptions& options) {
    return message_of([&] { generate(model_, tokenizer_of_bytes(), prompts, sampling, options); });
  };
  EXPECT_TRUE(holds(refused({"a", "b"}, {.from = &from}), {"make 2", "--state-in"}));
  EXPECT_TRUE(holds(refused({"a"}, {.samples = 2, .from = &from}), {"samples make 2"}));
  EXPECT_TRUE(holds(refused({"a"}, {.overflow = Overflow::slide, .from = &from}), {"slide"}));
  EXPECT_TRUE(holds(refused({"a"}, {.weights = WeightFormat::int8, .from = &from}), {"float32", "--dtype"}));
  // What was read counts: 22 + 3 − 1 tokens, and 1 unread.
  sampling.max_tokens = 22;
  EXPECT_TRUE(holds(refused({""}, {.from = &from}), {"25 tokens", "model.length"}));
}

// What `info` says of a state's size is that of a text of that length.
TEST(BlankState, HasTheSizeOfAState) {
  for (const auto& form : forms_to_pause()) {
    const auto model = model_to_pause(form.config);
    for (const std::int64_t tokens : {1, 6, 13, 30}) {
      if (tokens > model.config().longest_text()) continue;
      const auto read = model.prefill({std::vector<std::int64_t>(static_cast<std::size_t>(tokens), 3)}).second;
      const auto blank = blank_state(model, 1, tokens).tensors(), real = read.tensors();
      ASSERT_EQ(blank.size(), real.size()) << form.name;
      for (std::size_t i = 0; i < real.size(); ++i) EXPECT_EQ(blank[i].sizes(), real[i].sizes()) << form.name;
    }
  }
}

}  // namespace
}  // namespace linformer
