// No output of a causal model depends on a later token (maths 2). Shape letters: N length, V vocabulary, d width.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "nn/forms.hpp"

namespace linformer {
namespace {

using namespace linformer::test;  // NOLINT: the test's own helpers

// The largest change of a logit before `position` when the token there changes; and of one from there on.
std::pair<double, double> changes(const LanguageModel& model, const at::Tensor& ids_1N, const at::Tensor& logits_NV,
                                  std::int64_t position) {
  const at::NoGradGuard no_grad;
  auto changed = ids_1N.clone();
  auto token = changed.select(1, position);
  token.add_(1).remainder_(model.config().vocabulary);
  const auto change_N = (model.logits(changed)[0] - logits_NV).abs().amax(1);
  const auto early = position > 0 ? change_N.narrow(0, 0, position).max().item<double>() : 0.0;
  return {early, change_N.narrow(0, position, change_N.size(0) - position).max().item<double>()};
}

// The largest gradient of logits before `position` with respect to position embeddings from there on; and of the
// earlier embeddings.
std::pair<double, double> gradients(const LanguageModel& model, const at::Tensor& ids_1N, std::int64_t position) {
  const auto embedding_Pd = model.parameters()[1].second;
  const auto early_NV = model.logits(ids_1N)[0].narrow(0, 0, position);
  const auto gradient_Pd = torch::autograd::grad({early_NV.square().sum()}, {embedding_Pd})[0];
  return {gradient_Pd.narrow(0, position, gradient_Pd.size(0) - position).abs().max().item<double>(),
          gradient_Pd.narrow(0, 0, position).abs().max().item<double>()};
}

class EveryCausalForm : public ::testing::TestWithParam<FormCase> {};
INSTANTIATE_TEST_SUITE_P(Causality, EveryCausalForm, ::testing::ValuesIn(causal_forms()),
                         [](const auto& form) { return form.param.name; });

TEST_P(EveryCausalForm, LaterTokensChangeNoEarlierLogit) {
  const auto& config = GetParam().config;
  const auto model = lively_model(config);
  const auto ids_1N = random_ids({1, config.length}, config.vocabulary);
  const auto logits_NV = model.logits(ids_1N).detach()[0];
  const auto window = std::max<std::int64_t>(config.window(), 1);
  for (const auto position :
       {std::int64_t{1}, window, 2 * window - 1, 2 * window, 2 * window + 1, config.length - 2, config.length - 1}) {
    const auto [early, late] = changes(model, ids_1N, logits_NV, position);
    EXPECT_LE(early, 1e-12) << "token " << position;
    EXPECT_GT(late, 1e-4) << "token " << position;
  }
}

TEST_P(EveryCausalForm, EarlierLogitsHaveNoGradientOfLaterTokens) {
  const auto& config = GetParam().config;
  if (config.position != Position::learned) GTEST_SKIP() << "told by learned position embeddings only";
  const auto model = lively_model(config);
  const auto ids_1N = random_ids({1, config.length}, config.vocabulary);
  for (const auto position : {config.length / 3, 2 * config.length / 3}) {
    const auto [later, earlier] = gradients(model, ids_1N, position);
    EXPECT_EQ(later, 0.0) << "position " << position;
    EXPECT_GT(earlier, 1e-4);
  }
}

// The checks above are worth something only if they catch a leak.
TEST(Causality, ChecksCatchBidirectionalModels) {
  auto leaky = small_config(21);
  leaky.causal = false;
  leaky.attention.slots = 5;
  auto softmax = softmax_form(21).config;
  softmax.causal = false;
  for (const auto& config : {leaky, softmax}) {
    const auto model = lively_model(config);
    const auto ids_1N = random_ids({1, 21}, config.vocabulary);
    EXPECT_GT(changes(model, ids_1N, model.logits(ids_1N).detach()[0], 11).first, 1e-4);
    EXPECT_GT(gradients(model, ids_1N, 11).first, 1e-4);
  }
}

// `from` holds at least the parameters of `to`.
void copy_weights(const LanguageModel& from, const LanguageModel& to) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : to.parameters()) {
    bool found = false;
    for (const auto& [other, value] : from.parameters()) {
      if (other != name) continue;
      parameter.copy_(value);
      found = true;
    }
    ASSERT_TRUE(found) << name;
  }
}

// While N ≤ 2W nothing is compressed (maths 4).
TEST(Window, OfHalfTheLengthIsTheTransformer) {
  const at::NoGradGuard no_grad;
  for (const std::int64_t length : {std::int64_t{14}, std::int64_t{13}, std::int64_t{9}}) {
    std::vector<FormCase> forms{linformer_form("running", length, 7, 3, Sharing::headwise),
                                linformer_form("running", length, 7, 3, Sharing::none)};
    if (length == 14) {
      for (const auto projection : {Projection::linear, Projection::dynamic, Projection::max}) {
        forms.push_back(linformer_form("block", length, 7, 1, Sharing::headwise, Summary::block, projection));
      }
    }
    for (auto& form : forms) {
      form.config.attention.normalise = Normalise::none;
      const auto windowed = lively_model(form.config);
      const LanguageModel transformer(softmax_form(length).config, 0, at::kDouble);
      copy_weights(windowed, transformer);
      const auto ids_BN = random_ids({2, length}, form.config.vocabulary);
      const auto expected = transformer.logits(ids_BN);
      EXPECT_LT(largest_difference(windowed.logits(ids_BN), expected), 1e-11) << form.name << " " << length;
      // One token more than the window holds, and the two differ.
      form.config.length = 3 * 7;
      form.config.attention.slots = 3;
      const auto longer = lively_model(form.config);
      const LanguageModel exact(softmax_form(21).config, 0, at::kDouble);
      copy_weights(longer, exact);
      const auto more = random_ids({1, 15}, form.config.vocabulary);
      const auto distance_N = (longer.logits(more) - exact.logits(more))[0].abs().amax(1);
      EXPECT_LT(distance_N.narrow(0, 0, 14).max().item<double>(), 1e-11) << form.name;
      EXPECT_GT(distance_N[14].item<double>(), 1e-4) << form.name;
    }
  }
}

}  // namespace
}  // namespace linformer
