// Streamed logits equal teacher-forced ones. Shape letters: B batch, N length, V vocabulary, W window, r slots a block.
#include <gtest/gtest.h>

#include <algorithm>

#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/device.hpp"
#include "nn/forms.hpp"

namespace linformer {
namespace {

using namespace linformer::test;  // NOLINT: the test's own helpers

// The longest distance between what `state` says of tokens from each prompt's length on, and the logits of whole
// passes; logits_BV and state as prefill gave them.
double distance_of_steps(const LanguageModel& model, const at::Tensor& ids_BN, const at::Tensor& forced_BNV,
                         at::Tensor logits_BV, DecodeState& state) {
  double largest = 0;
  const auto length = ids_BN.size(1);
  while (true) {
    const auto read = at::tensor(state.positions(), at::kLong);
    const auto rows = at::arange(state.batch(), at::kLong);
    largest = std::max(largest, largest_difference(logits_BV, forced_BNV.index({rows, read - 1})));
    if (read.max().item<std::int64_t>() == length) return largest;
    logits_BV = model.step(ids_BN.index({rows, read}), state);
  }
}

class EveryForm : public ::testing::TestWithParam<FormCase> {};
INSTANTIATE_TEST_SUITE_P(Decode, EveryForm, ::testing::ValuesIn(causal_forms()),
                         [](const auto& form) { return form.param.name; });

TEST_P(EveryForm, StreamedEqualsTeacherForced) {
  const at::NoGradGuard no_grad;
  const auto& config = GetParam().config;
  for (const auto& [dtype, tolerance] : {std::pair{at::kDouble, 1e-9}, std::pair{at::kFloat, 2e-4}}) {
    const auto model = lively_model(config, dtype);
    const auto length = config.length, window = std::max<std::int64_t>(config.window(), 1);
    const auto ids_BN = random_ids({2, length}, config.vocabulary);
    const auto forced_BNV = model.logits(ids_BN);
    // A passing test must not owe its pass to logits that hardly differ.
    ASSERT_GT(forced_BNV.std(1).min().item<double>(), 0.05);
    std::vector<std::int64_t> prompts{1, window + 1, 3 * window, length};
    if (config.length > 128) prompts = {1, 64, 65, 128, 129};
    if (dtype == at::kFloat) prompts = {length / 2};
    for (const auto count : prompts) {
      auto [logits_BV, state] =
          model.prefill({to_vector(ids_BN[0].narrow(0, 0, count)), to_vector(ids_BN[1].narrow(0, 0, count))});
      EXPECT_LT(distance_of_steps(model, ids_BN, forced_BNV, logits_BV, state), tolerance) << "prompt of " << count;
    }
  }
}

// Rows that cross borders at different times, of which some leave.
TEST_P(EveryForm, PromptsOfDifferentLengthsAndRowsThatLeave) {
  const at::NoGradGuard no_grad;
  const auto& config = GetParam().config;
  const auto model = lively_model(config);
  const std::vector<std::int64_t> counts{1, config.length / 2, config.length / 3, config.length / 2};
  const auto ids_BN = random_ids({4, config.length}, config.vocabulary);
  const auto forced_BNV = model.logits(ids_BN);
  std::vector<std::vector<std::int64_t>> prompts;
  for (std::size_t row = 0; row < counts.size(); ++row) {
    prompts.push_back(to_vector(ids_BN[static_cast<std::int64_t>(row)].narrow(0, 0, counts[row])));
  }
  auto [logits_BV, state] = model.prefill(prompts);
  auto kept = state.select({2, 0, 2});
  EXPECT_EQ(kept.positions(), (std::vector{counts[2], counts[0], counts[2]}));
  const auto order = at::tensor({2, 0, 2}, at::kLong);
  EXPECT_LT(distance_of_steps(model, ids_BN.index_select(0, order), forced_BNV.index_select(0, order),
                              logits_BV.index_select(0, order), kept),
            1e-9);
  // The state that rows were taken from is untouched.
  EXPECT_LT(distance_of_steps(model, ids_BN, forced_BNV, logits_BV, state), 1e-9);
}

std::vector<std::int64_t> bytes_by_position(const FormCase& form) {
  const auto model = lively_model(form.config, at::kFloat);
  auto [logits_BV, state] = model.prefill({{1}});
  std::vector<std::int64_t> bytes{state.bytes()};
  for (std::int64_t position = 1; position < form.config.length; ++position) {
    model.step(at::tensor({position % 7}, at::kLong), state);
    bytes.push_back(state.bytes());
  }
  return bytes;
}

TEST(DecodeMemory, IsConstantOfPrefixAndRunning) {
  auto sinks = linformer_form("sinks", 45, 7, 5, Sharing::headwise);
  sinks.config.attention.sinks = 4;
  for (const auto& form : {linformer_form("prefix", 137, 0, 5, Sharing::headwise),
                           linformer_form("running", 45, 7, 5, Sharing::headwise), sinks}) {
    const auto bytes = bytes_by_position(form);
    EXPECT_EQ(std::count(bytes.begin(), bytes.end(), bytes.front()), form.config.length) << form.name;
  }
  // Two layers of keys and values: 5 slots of 12 numbers of 4 bytes, and one position of 8 bytes.
  EXPECT_EQ(bytes_by_position(linformer_form("prefix", 137, 0, 5, Sharing::headwise)).front(), 2 * 2 * 5 * 12 * 4 + 8);
}

TEST(DecodeMemory, OfBlocksGrowsBySlotsOfABlock) {
  for (const auto projection : {Projection::linear, Projection::dynamic}) {
    const auto form = linformer_form("block", 48, 6, 2, Sharing::headwise, Summary::block, projection);
    const auto bytes = bytes_by_position(form);
    for (std::size_t position = 1; position < bytes.size(); ++position) {
      // At 12, 18, …: 2 slots of 12 numbers of 4 bytes, keys and values, in two layers.
      const std::int64_t grown = position >= 12 && position % 6 == 0 ? 2 * 12 * 4 * 2 * 2 : 0;
      EXPECT_EQ(bytes[position] - bytes[position - 1], grown) << form.name << " at " << position;
    }
  }
}

TEST(Decode, StateRefusesRowsThatAreNotThere) {
  const auto model = lively_model(softmax_form().config);
  auto [logits_BV, state] = model.prefill({{1, 2}, {3}});
  EXPECT_NE(message_of([&] { state.select({2}); }).find("row 2"), std::string::npos);
  EXPECT_NE(message_of([&] { state.select({-1}); }).find("row -1"), std::string::npos);
  EXPECT_NE(message_of([&] { state.select({}); }).find("at least one"), std::string::npos);
  EXPECT_EQ(state.repeat(2).positions(), (std::vector<std::int64_t>{2, 2, 1, 1}));
}

TEST(Decode, RefusesWhatItCannotRead) {
  auto form = softmax_form(5);
  const auto model = lively_model(form.config);
  const auto says = [](const std::string& message, const char* part) {
    return message.find(part) != std::string::npos;
  };
  EXPECT_TRUE(says(message_of([&] { model.prefill({}); }), "at least one"));
  EXPECT_TRUE(says(message_of([&] { model.prefill({{1}, {}}); }), "at least one token"));
  EXPECT_TRUE(says(message_of([&] { model.prefill({{1, 2, 3, 4, 5, 6}}); }), "model.length 5"));
  EXPECT_TRUE(says(message_of([&] { model.prefill({{19}}); }), "token id 19"));
  EXPECT_TRUE(says(message_of([&] { model.prefill({{-1}}); }), "token id -1"));
  auto [logits_BV, state] = model.prefill({{1, 2, 3, 4, 5}});
  EXPECT_TRUE(says(message_of([&] { model.step(at::tensor({1}, at::kLong), state); }), "past model.length 5"));
  EXPECT_TRUE(says(message_of([&] { model.step(at::tensor({1, 2}, at::kLong), state); }), "one for each"));
  EXPECT_TRUE(says(message_of([&] { model.logits(random_ids({1, 6}, 19)); }), "6 tokens"));
  EXPECT_TRUE(says(message_of([&] { model.logits(at::zeros({1, 3})); }), "int64"));
  EXPECT_TRUE(says(message_of([&] { model.logits(at::zeros({3}, at::kLong)); }), "dimensions"));
  form.config.causal = false;
  EXPECT_TRUE(says(message_of([&] { lively_model(form.config).prefill({{1}}); }), "bidirectional"));
}

// Sums over hundreds of positions must not be rounded to bfloat16's three digits at each token.
TEST(DecodeInBfloat16, AutocastKeepsSumsInFloat32) {
  const at::NoGradGuard no_grad;
  for (const auto& form :
       {linformer_form("prefix", 48, 0, 3, Sharing::headwise), linformer_form("running", 48, 5, 3, Sharing::none),
        linformer_form("block", 48, 6, 1, Sharing::headwise, Summary::block),
        linformer_form("dynamic", 48, 6, 1, Sharing::headwise, Summary::block, Projection::dynamic),
        softmax_form(48)}) {
    const auto model = lively_model(form.config, at::kFloat);
    const auto ids_1N = random_ids({1, 48}, form.config.vocabulary);
    const auto exact_NV = model.logits(ids_1N)[0];
    const AutocastGuard autocast(at::kBFloat16);
    auto [logits_BV, state] = model.prefill({to_vector(ids_1N[0].narrow(0, 0, 20))});
    for (std::int64_t position = 20; position < 48; ++position)
      logits_BV = model.step(ids_1N.select(1, position), state);
    EXPECT_LT(largest_difference(logits_BV[0].to(at::kFloat), exact_NV[47]), 0.1 * exact_NV.abs().max().item<double>())
        << form.name;
    if (form.config.attention.kind == AttentionKind::softmax) continue;
    // Half of the memory would mean that something was kept in bfloat16.
    const auto in_float32 =
        lively_model(form.config, at::kFloat).prefill({to_vector(ids_1N[0].narrow(0, 0, 48))}).second.bytes();
    EXPECT_EQ(state.bytes(), in_float32) << form.name;
  }
}

}  // namespace
}  // namespace linformer
