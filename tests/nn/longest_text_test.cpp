// Models without positions and without a table of them read and write past model.length.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "linformer/core/error.hpp"
#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/decoder.hpp"
#include "nn/forms.hpp"

namespace linformer {
namespace {

std::vector<test::FormCase> free_of_positions() {
  auto periodic = test::linformer_form("running", 18, 3, 4, Sharing::none, Summary::running, Projection::periodic);
  periodic.config.attention.period = 6;
  auto block = test::linformer_form("block", 18, 3, 2, Sharing::headwise, Summary::block);
  auto window = test::linformer_form("window_alone", 18, 3, 0, Sharing::headwise);
  std::vector<test::FormCase> forms{test::softmax_form(18), periodic, block, window};
  forms.push_back(test::hybrid(periodic, {1}));
  for (auto form : {periodic, block, window}) {
    form.config.attention.sinks = 2;
    form.name += "_sinks";
    forms.push_back(form);
  }
  for (auto& form : forms) form.config.position = Position::none;
  for (std::size_t i = 0, count = forms.size(); i < count; ++i) {
    auto form = forms[i];
    form.name += "_rotary";
    form.config.position = Position::rotary;
    forms.push_back(form);
  }
  return forms;
}

class PastTheLength : public testing::TestWithParam<test::FormCase> {};

TEST_P(PastTheLength, StepsAndDecoderGiveWhatTheWholeTextGives) {
  const auto& config = GetParam().config;
  ASSERT_EQ(resolved(config).longest_text(), ModelConfig::kUnlimited);
  constexpr std::int64_t kTokens = 75, kRead = 20;  // four times the length, and a prompt past it
  const auto model = test::lively_model(config, at::kFloat);
  const auto ids_1N = test::random_ids({1, kTokens}, config.vocabulary);
  const at::NoGradGuard no_grad;
  const auto whole_NV = model.logits(ids_1N)[0];
  const auto prompt = test::to_vector(ids_1N[0].narrow(0, 0, kRead));
  auto [first, state] = model.prefill({prompt}, 7);
  EXPECT_LT(test::largest_difference(first[0], whole_NV[kRead - 1]), 1e-4);
  Decoder decoder(model);
  decoder.load(model.prefill({prompt}).second);
  for (std::int64_t place = kRead; place < kTokens; ++place) {
    const auto id = ids_1N.select(1, place);
    EXPECT_LT(test::largest_difference(model.step(id, state)[0], whole_NV[place]), 1e-4) << place;
    decoder.step(test::to_vector(id));
    const auto logits = decoder.logits(0);
    const auto got = at::tensor(std::vector<float>(logits.begin(), logits.end()));
    EXPECT_LT(test::largest_difference(got, whole_NV[place]), 1e-4) << place;
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, PastTheLength, testing::ValuesIn(free_of_positions()),
                         [](const auto& value) { return value.param.name; });

TEST(LongestText, IsTheLengthWhereAPartHasATableOfPositions) {
  const auto longest = [](ModelConfig config, Position position) {
    config.position = position;
    return resolved(config).longest_text();
  };
  for (const auto& form : free_of_positions()) EXPECT_EQ(longest(form.config, Position::learned), 18) << form.name;
  EXPECT_EQ(longest(test::softmax_form(18).config, Position::sinusoidal), 18);
  for (const std::int64_t window : {0, 3})
    EXPECT_EQ(longest(test::linformer_form("", 18, window, 4, Sharing::none).config, Position::none), 18);
  auto mixed = test::linformer_form("", 18, 3, 4, Sharing::none).config;
  mixed.attention.slots_by_layer = {0, 4};
  EXPECT_EQ(longest(mixed, Position::none), 18);
  // In a hybrid only layers with slots count.
  EXPECT_EQ(longest(test::hybrid(test::linformer_form("", 18, 3, 4, Sharing::none), {0}).config, Position::none), 18);
  mixed.attention.slots_by_layer = {0, 0};
  mixed.attention.softmax_layers = {1};
  EXPECT_EQ(longest(mixed, Position::none), ModelConfig::kUnlimited);
  mixed.attention.slots_by_layer = {4, 0};
  // Slots that nothing reads in training bound the text.
  EXPECT_EQ(longest(test::linformer_form("", 6, 3, 2, Sharing::none, Summary::block).config, Position::none), 6);
  const auto model = test::lively_model(mixed);
  EXPECT_THROW(model.logits(test::random_ids({1, 19}, 19)), UserError);
}

}  // namespace
}  // namespace linformer
