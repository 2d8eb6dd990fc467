// The slots of attention.projection = gated against the recurrence that defines them (maths 4). Shape letters: B batch,
// G heads, M positions, D head width, K slots, W window.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "nn/forms.hpp"
#include "nn/slots/slot_rule.hpp"
#include "support/closeness.hpp"

namespace linformer::nn {
namespace {

constexpr std::int64_t kGatedWindow = 7;

std::unique_ptr<SlotRule> gated_rule(std::int64_t slots) {
  const auto config =
      test::linformer_form("running", 45, kGatedWindow, slots, Sharing::none, Summary::running, Projection::gated)
          .config;
  Parameters parameters(1, at::TensorOptions(at::kDouble));
  SharedParts shared(config);
  return make_gated_slots({parameters, config, 0, "blocks.0.attention", shared});
}

SlotText gated_text(std::int64_t rows, std::int64_t slots) {
  const auto draw = [&](std::int64_t width) { return at::randn({2, 2, rows, width}, at::kDouble); };
  return {.key = draw(3), .value = draw(3), .scores = draw(slots).transpose(2, 3)};
}

// S_t of (B,G,K,D) after the first `count` positions, one after the other.
at::Tensor state_after(const at::Tensor& x, const SlotText& text, std::int64_t count, at::Tensor state) {
  for (std::int64_t t = text.sinks; t < count; ++t) {
    const auto kept = text.scores.select(3, t).sigmoid().pow(1.0 / 8).unsqueeze(-1);
    state = kept * state + (1 - kept) * x.select(2, t).unsqueeze(2);
  }
  return state;
}

TEST(GatedSlots, AreTheRecurrenceForScoresOfAnySize) {
  const auto rule = gated_rule(5);
  for (const std::int64_t sinks : {0, 3, 7}) {
    auto text = gated_text(31, 5);  // the last of 5 blocks is not finished
    text.scores = text.scores * at::tensor({1.0, 30.0, 1e4, 1e300, 1e300}, at::kDouble).view({5, 1});
    text.scores.select(2, 3).abs_(), text.scores.select(2, 4).abs_().neg_();
    text.sinks = sinks;
    const auto made = rule->summarise(text, {.window = kGatedWindow});
    ASSERT_EQ(made.key.sizes(), (std::vector<std::int64_t>{2, 2, 5, 5, 3}));
    const auto none = at::zeros({2, 2, 5, 3}, at::kDouble);
    for (std::int64_t block = 0; block < 5; ++block) {
      const auto seen = std::max<std::int64_t>(block - 1, 0) * kGatedWindow;
      EXPECT_LT(test::largest_difference(made.key.select(2, block), state_after(text.key, text, seen, none)), 1e-12);
      EXPECT_LT(test::largest_difference(made.value.select(2, block), state_after(text.value, text, seen, none)),
                1e-12);
    }
  }
}

TEST(GatedSlots, OfAShortTextAreZeros) {
  const auto rule = gated_rule(5);
  for (const std::int64_t rows : {1, 7, 8, 14}) {
    const auto text = gated_text(rows, 5);
    EXPECT_EQ(rule->writes(text)->key_weights.sizes(), (std::vector<std::int64_t>{2, 2, 5, 0}));
    EXPECT_EQ(rule->writes(text)->decay.sizes(), (std::vector<std::int64_t>{2, 2, 5, 0}));
    const auto made = rule->summarise(text, {.window = kGatedWindow});
    EXPECT_EQ(made.key.sizes(), (std::vector<std::int64_t>{2, 2, rows > 7 ? 2 : 1, 5, 3}));
    EXPECT_EQ(made.key.abs().max().item<double>(), 0);
    EXPECT_EQ(made.value.abs().max().item<double>(), 0);
  }
  EXPECT_EQ(rule->writes(gated_text(15, 5))->decay.size(3), 1);
}

TEST(GatedSlots, GoOnFromTheSumsOfATextBefore) {
  const auto rule = gated_rule(4);
  const auto text = gated_text(4 * kGatedWindow, 4);
  const ops::Slots before{at::randn({2, 2, 4, 3}, at::kDouble), at::randn({2, 2, 4, 3}, at::kDouble)};
  const auto made = rule->summarise(text, {.window = kGatedWindow, .before = before});
  const auto after = rule->sums_after(before, text);
  ASSERT_EQ(made.key.size(2), 3);
  for (std::int64_t block = 0; block < 3; ++block) {
    const auto want = state_after(text.key, text, block * kGatedWindow, before.key);
    EXPECT_LT(test::largest_difference(made.key.select(2, block), want), 1e-12);
  }
  EXPECT_LT(test::largest_difference(after.key, state_after(text.key, text, 4 * kGatedWindow, before.key)), 1e-12);
  EXPECT_LT(test::largest_difference(after.value, state_after(text.value, text, 4 * kGatedWindow, before.value)),
            1e-12);
}

// In float32 the sigmoid of 40 is 1, and 1 minus it nothing.
TEST(GatedSlots, TakeInWhatAnAlmostOpenGateLeaves) {
  const auto rule = gated_rule(1);
  auto text = gated_text(3 * kGatedWindow, 1);
  text.scores = at::full({2, 2, 1, 3 * kGatedWindow}, 40.0F);
  const auto weights = rule->writes(text)->key_weights;
  ASSERT_EQ(weights.scalar_type(), at::kFloat);
  ASSERT_EQ(weights.sizes(), (std::vector<std::int64_t>{2, 2, 1, kGatedWindow}));
  const auto want = std::exp(-40.0) / 8;
  EXPECT_LT((weights.to(at::kDouble) / want - 1).abs().max().item<double>(), 1e-6);
}

TEST(GatedSlots, HaveGradients) {
  const auto rule = gated_rule(3);
  const auto text = gated_text(26, 3);
  const auto error = test::gradient_check(
      [&](const test::Tensors& x) {
        const auto made =
            rule->summarise({.key = x[0], .value = x[1], .scores = x[2], .sinks = 2}, {.window = kGatedWindow});
        return at::cat({made.key, made.value}, -1);
      },
      {text.key, text.value, text.scores});
  EXPECT_LT(error, 1e-6);
}

}  // namespace
}  // namespace linformer::nn
