// What a model is trained and evaluated by, against the engine's cross-entropy. Shape letters: B sequences, N tokens.
#include "linformer/nn/head.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "nn/forms.hpp"

namespace linformer {
namespace {

constexpr std::int64_t kNone = -100;

ModelConfig masked_config() {
  auto config = test::softmax_form(11).config;
  config.causal = false;
  return config;
}

// Few targets, at places that differ from row to row.
at::Tensor few_targets(std::int64_t vocabulary) {
  auto targets_BN = at::full({2, 11}, kNone, at::kLong);
  targets_BN[0][3] = vocabulary - 1;
  targets_BN[1][0] = 0;
  targets_BN[1][10] = 4;
  return targets_BN;
}

TEST(Head, FollowsFromWhatTheModelSees) {
  const LanguageModel causal(test::softmax_form(11).config), masked(masked_config());
  EXPECT_EQ(causal.head().name(), "language");
  EXPECT_TRUE(causal.head().gives_code_length());
  EXPECT_EQ(masked.head().name(), "masked");
  EXPECT_FALSE(masked.head().gives_code_length());
}

TEST(Head, LossAndItsGradientsAreThoseOfTheEngine) {
  for (const auto& config : {test::softmax_form(11).config, masked_config()}) {
    const auto model = test::lively_model(config);
    const auto ids_BN = test::random_ids({2, 11}, config.vocabulary);
    const auto targets_BN = few_targets(config.vocabulary);
    const auto plain = at::cross_entropy_loss(model.logits(ids_BN).flatten(0, 1), targets_BN.flatten());
    plain.backward();
    std::vector<at::Tensor> expected;
    for (const auto& [name, tensor] : model.parameters()) {
      expected.push_back(tensor.grad().clone());
      tensor.mutable_grad() = at::Tensor();
    }
    for (const bool sparse : {false, true}) {
      const auto loss = model.loss(ids_BN, {targets_BN, sparse}, {}, at::kDouble);
      EXPECT_NEAR(loss.item<double>(), plain.item<double>(), 1e-12);
      loss.backward();
      std::size_t i = 0;
      for (const auto& [name, tensor] : model.parameters()) {
        EXPECT_LT(test::largest_difference(tensor.grad(), expected[i++]), 1e-12) << name << " " << sparse;
        tensor.mutable_grad() = at::Tensor();
      }
    }
  }
}

TEST(Head, ScoreAddsUpAndSaysWhatWasRight) {
  const auto config = test::softmax_form(11).config;
  const auto model = test::lively_model(config);
  const auto ids_BN = test::random_ids({2, 11}, config.vocabulary);
  const auto best_BN = model.logits(ids_BN).argmax(-1);
  auto targets_BN = few_targets(config.vocabulary);
  targets_BN[1][0] = best_BN[1][0];
  targets_BN[1][10] = (best_BN[1][10] + 1) % config.vocabulary;
  targets_BN[0][3] = best_BN[0][3];
  for (const bool sparse : {false, true}) {
    const auto hidden = model.hidden(ids_BN);
    const auto score = model.head().score(hidden, {targets_BN, sparse}, at::kDouble, true);
    EXPECT_EQ(score.targets, 3);
    EXPECT_NEAR(score.loss, 3 * model.loss(ids_BN, {targets_BN}, {}, at::kDouble).item<double>(), 1e-11);
    EXPECT_TRUE(at::equal(score.right.to(at::kLong), at::tensor({1, 1, 0}, at::kLong)));
    EXPECT_FALSE(model.head().score(hidden, {targets_BN, sparse}, at::kDouble, false).right.defined());
  }
}

TEST(Head, WithoutTargetsThereIsNothingToAdd) {
  const auto config = test::softmax_form(11).config;
  const auto model = test::lively_model(config);
  const auto ids_BN = test::random_ids({2, 11}, config.vocabulary), none = at::full({2, 11}, kNone, at::kLong);
  EXPECT_TRUE(std::isnan(model.loss(ids_BN, {none}, {}, at::kDouble).item<double>()));
  const auto score = model.head().score(model.hidden(ids_BN), {none, true}, at::kDouble, true);
  EXPECT_EQ(score.targets, 0);
  EXPECT_EQ(score.loss, 0);
}

}  // namespace
}  // namespace linformer
