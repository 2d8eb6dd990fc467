// The slots of attention.projection = cluster against the sums that define them (maths 4). Shape letters: B batch,
// G heads, M positions, D head width, K slots, W window.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "linformer/nn/decoder.hpp"
#include "linformer/nn/device.hpp"
#include "nn/forms.hpp"
#include "nn/slots/mass.hpp"
#include "nn/slots/slot_rule.hpp"
#include "nn/state.hpp"
#include "support/closeness.hpp"

namespace linformer::nn {
namespace {

constexpr std::int64_t kClusterWindow = 7;

test::FormCase cluster_form(std::int64_t slots) {
  return test::linformer_form("running", 45, kClusterWindow, slots, Sharing::none, Summary::running,
                              Projection::cluster);
}

struct ClusterRule {
  std::unique_ptr<SlotRule> rule;
  at::Tensor codebook, sharpness;
};

ClusterRule cluster_rule(std::int64_t slots, at::ScalarType dtype = at::kDouble) {
  const auto config = cluster_form(slots).config;
  Parameters parameters(1, at::TensorOptions(dtype));
  SharedParts shared(config);
  ClusterRule made{make_cluster_slots({parameters, config, 0, "blocks.0.attention", shared}), {}, {}};
  for (const auto& [name, tensor] : parameters.list()) {
    if (name.ends_with(".codebook")) made.codebook = tensor;
    if (name.ends_with(".sharpness")) made.sharpness = tensor;
  }
  return made;
}

SlotText cluster_text(std::int64_t rows, at::ScalarType dtype = at::kDouble) {
  return {.key = at::randn({2, 2, rows, 6}, dtype), .value = at::randn({2, 2, rows, 6}, dtype)};
}

// Sums and mass after the first `count` positions, one after the other, from the definition.
ops::Slots clustered(const ClusterRule& rule, const SlotText& text, std::int64_t count, ops::Slots sums) {
  for (std::int64_t t = text.sinks; t < count; ++t) {
    const auto key = text.key.select(2, t).unsqueeze(2);  // (B,G,1,D)
    const auto cosines = at::cosine_similarity(key.expand({-1, -1, rule.codebook.size(1), -1}),
                                               rule.codebook.detach().unsqueeze(0).expand({2, -1, -1, -1}), -1);
    const auto p = at::softmax(cosines * rule.sharpness.detach().exp().view({1, 2, 1}) * std::sqrt(6.0), -1);
    sums.key = sums.key + p.unsqueeze(-1) * key;
    sums.value = sums.value + p.unsqueeze(-1) * text.value.select(2, t).unsqueeze(2);
    sums.mass = sums.mass + p.unsqueeze(-1);
  }
  return sums;
}

ops::Slots zero_sums(std::int64_t slots) {
  const auto none = at::zeros({2, 2, slots, 6}, at::kDouble);
  return {none, none, none.narrow(3, 0, 1)};
}

void expect_sums(const ops::Slots& got, const ops::Slots& want) {
  EXPECT_LT(test::relative_error(got.key, want.key), 1e-12);
  EXPECT_LT(test::relative_error(got.value, want.value), 1e-12);
  EXPECT_LT(test::relative_error(got.mass, want.mass), 1e-12);
}

ops::Slots of_block(const ops::Slots& sums, std::int64_t block) {
  return {sums.key.select(2, block), sums.value.select(2, block), sums.mass.select(2, block)};
}

TEST(ClusterSlots, StartAsTheFormatSays) {
  const auto rule = cluster_rule(500);
  EXPECT_EQ(rule.codebook.sizes(), (std::vector<std::int64_t>{2, 500, 6}));
  EXPECT_NEAR(rule.codebook.std().item<double>(), 1, 0.05);
  EXPECT_EQ(rule.sharpness.sizes(), (std::vector<std::int64_t>{2}));
  EXPECT_LT((rule.sharpness - std::log(2.0)).abs().max().item<double>(), 1e-7);
}

TEST(ClusterSlots, AreTheSumsOfTheDefinition) {
  const auto rule = cluster_rule(5);
  for (const std::int64_t sinks : {0, 3, 7}) {
    auto text = cluster_text(31);  // the last of 5 blocks is not finished
    text.sinks = sinks;
    for (auto* rows : {&text.key, &text.value}) rows->narrow(2, 0, sinks).zero_();
    const auto made = rule.rule->summarise(text, {.window = kClusterWindow});
    ASSERT_EQ(made.key.sizes(), (std::vector<std::int64_t>{2, 2, 5, 5, 6}));
    ASSERT_EQ(made.mass.sizes(), (std::vector<std::int64_t>{2, 2, 5, 5, 1}));
    for (std::int64_t block = 0; block < 5; ++block) {
      const auto seen = std::max<std::int64_t>(block - 1, 0) * kClusterWindow;
      expect_sums(of_block(made, block), clustered(rule, text, seen, zero_sums(5)));
      // Each position gives all of itself.
      EXPECT_NEAR(made.mass[0][0][block].sum().item<double>(),
                  static_cast<double>(std::max<std::int64_t>(seen - sinks, 0)), 1e-12);
    }
  }
}

TEST(ClusterSlots, OfAShortTextHaveNoMass) {
  const auto rule = cluster_rule(5);
  for (const std::int64_t rows : {1, 7, 8, 14}) {
    const auto made = rule.rule->summarise(cluster_text(rows), {.window = kClusterWindow});
    EXPECT_EQ(made.mass.sizes(), (std::vector<std::int64_t>{2, 2, rows > 7 ? 2 : 1, 5, 1}));
    EXPECT_EQ(made.mass.abs().max().item<double>(), 0);
    EXPECT_EQ(means_of(made).key.abs().max().item<double>(), 0);
    EXPECT_TRUE(log_mass(made.mass).eq(-std::numeric_limits<double>::infinity()).all().item<bool>());
  }
}

TEST(ClusterSlots, GoOnFromTheSumsOfATextBefore) {
  const auto rule = cluster_rule(4);
  const auto text = cluster_text(4 * kClusterWindow);
  const ops::Slots before{at::randn({2, 2, 4, 6}, at::kDouble), at::randn({2, 2, 4, 6}, at::kDouble),
                          at::rand({2, 2, 4, 1}, at::kDouble) * 30};
  const auto made = rule.rule->summarise(text, {.window = kClusterWindow, .before = before});
  ASSERT_EQ(made.key.size(2), 3);
  for (std::int64_t block = 0; block < 3; ++block)
    expect_sums(of_block(made, block), clustered(rule, text, block * kClusterWindow, before));
  expect_sums(rule.rule->sums_after(before, text), clustered(rule, text, 4 * kClusterWindow, before));
}

// A length has no say in where a key goes, however large or small it is.
TEST(ClusterSlots, TakeKeysOfAnyLength) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const auto rule = cluster_rule(5, dtype);
    auto text = cluster_text(3 * kClusterWindow, dtype);
    const auto mass = rule.rule->summarise(text, {.window = kClusterWindow}).mass.select(2, 2);
    for (const double length : {1e30, 1e-30}) {
      text.key = text.key * length;
      const auto other = rule.rule->summarise(text, {.window = kClusterWindow}).mass.select(2, 2);
      EXPECT_LT(test::relative_error(other, mass), 1e-5) << length;
      text.key = text.key / length;
    }
    text.key = at::zeros_like(text.key).requires_grad_();  // like none more than another
    const auto even = rule.rule->summarise(text, {.window = kClusterWindow}).mass.select(2, 2);
    EXPECT_LT((even - kClusterWindow / 5.0).abs().max().item<double>(), 1e-5);
    even.select(2, 0).sum().backward();
    EXPECT_LT(text.key.grad().abs().max().item<double>(), 100);
    text.key = at::full_like(text.key, std::numeric_limits<double>::quiet_NaN());
    EXPECT_TRUE(rule.rule->summarise(text, {.window = kClusterWindow}).mass.select(2, 2).isnan().all().item<bool>());
  }
}

TEST(ClusterSlots, HaveGradients) {
  const auto rule = cluster_rule(3);
  const auto text = cluster_text(20);
  const auto code = rule.codebook.detach().clone(), sharpness = rule.sharpness.detach().clone();
  const auto error = test::gradient_check(
      [&](const test::Tensors& x) {
        const auto sums = rule.rule->summarise({.key = x[0], .value = x[1], .sinks = 2}, {.window = kClusterWindow});
        const auto means = means_of(sums);
        return at::cat({means.key, means.value, sums.mass}, -1).narrow(2, 2, 1);
      },
      {text.key, text.value});
  EXPECT_LT(error, 1e-6);
  // Of the codebook and its sharpness, by differences.
  const auto loss = [&] {
    const auto sums = rule.rule->summarise(text, {.window = kClusterWindow});
    return (means_of(sums).key.narrow(2, 2, 1).sin().sum() + sums.mass.cos().sum());
  };
  for (const auto& leaf : {rule.codebook, rule.sharpness}) {
    leaf.mutable_grad() = at::Tensor();
    loss().backward();
    const auto gradient = leaf.grad().clone(), direction = at::randn_like(leaf.detach());
    const auto at_step = [&](double step) {
      const at::NoGradGuard no_grad;
      leaf.add_(direction, step);
      const auto value = loss().item<double>();
      leaf.sub_(direction, step);
      return value;
    };
    const auto slope = (at_step(1e-5) - at_step(-1e-5)) / 2e-5;
    EXPECT_NEAR((gradient * direction).sum().item<double>(), slope, 1e-6 * (1 + std::abs(slope)));
  }
}

// Seen from its threshold on; a slot below it has no gradient, and none is NaN.
TEST(Mass, HidesASlotThatHasTakenInNothing) {
  auto mass = at::tensor({0.0, 0.9e-6, 1.1e-6, 4.0}, at::kDouble).view({1, 1, 4, 1}).requires_grad_();
  auto sum = at::ones({1, 1, 4, 3}, at::kDouble).requires_grad_();
  const auto offset = log_mass(mass);
  EXPECT_EQ(offset.sizes(), (std::vector<std::int64_t>{1, 1, 4}));
  EXPECT_TRUE(offset.narrow(2, 0, 2).eq(-std::numeric_limits<double>::infinity()).all().item<bool>());
  EXPECT_NEAR(offset[0][0][2].item<double>(), std::log(1.1e-6), 1e-12);
  EXPECT_NEAR(offset[0][0][3].item<double>(), std::log(4.0), 1e-12);
  EXPECT_NEAR(means_of({sum, sum, mass}).value[0][0][3][1].item<double>(), 0.25, 1e-15);
  offset.narrow(2, 2, 2).sum().backward();
  EXPECT_EQ(mass.grad().flatten().narrow(0, 0, 2).abs().max().item<double>(), 0);
  EXPECT_NEAR(mass.grad().flatten()[3].item<double>(), 0.25, 1e-15);
  const auto lost = at::full({1, 1, 1, 1}, std::nan(""), at::kDouble);
  EXPECT_TRUE(log_mass(lost).isnan().all().item<bool>());
}

// Clusters so sharp that some take nothing in: whole texts, texts that go on, and the fast decoder agree about them.
TEST(ClusterSlots, ThatAreEmptyAreNotSeenByAnyReader) {
  auto form = cluster_form(40);
  auto model = test::lively_model(form.config, at::kFloat);
  for (const auto& [name, parameter] : model.parameters()) {
    const at::NoGradGuard no_grad;
    if (name.ends_with(".sharpness")) parameter.fill_(5);
  }
  const auto ids = test::random_ids({1, 40}, form.config.vocabulary);
  const at::NoGradGuard no_grad;
  auto [logits, state] = model.prefill({test::to_vector(ids[0].narrow(0, 0, 30))});
  const auto& mass = static_cast<const LayerState&>(state.layer(0)).slots.mass;
  ASSERT_EQ(mass.sizes(), (std::vector<std::int64_t>{1, 2, 40, 1}));
  ASSERT_GT(mass.lt(kLeastMass).sum().item<std::int64_t>(), 5);
  const auto whole = model.logits(ids);
  Decoder decoder(model);
  decoder.load(model.prefill({test::to_vector(ids[0].narrow(0, 0, 30))}).second);
  for (std::int64_t t = 30; t < 40; ++t) {
    const auto id = ids.select(1, t).contiguous();
    const auto stepped = model.step(id, state);
    EXPECT_LT(test::relative_error(stepped[0], whole[0][t]), 1e-4);
    decoder.step(std::vector<std::int64_t>{id.item<std::int64_t>()});
    const auto fast = decoder.logits(0);
    const auto row = at::from_blob(const_cast<float*>(fast.data()), {form.config.vocabulary}, at::kFloat);
    EXPECT_LT(test::relative_error(row, whole[0][t]), 1e-4);
  }
}

// Under autocast keys come in bfloat16, whose sums of many shares would stop growing at 256.
TEST(ClusterSlots, SumInFloat32InBfloat16Training) {
  const auto rule = cluster_rule(1, at::kFloat);
  SlotText text{.key = at::ones({2, 2, 300 * kClusterWindow, 6}, at::kBFloat16),
                .value = at::ones({2, 2, 300 * kClusterWindow, 6}, at::kBFloat16)};
  const AutocastGuard autocast(at::kBFloat16);
  const auto sums = rule.rule->summarise(text, {.window = kClusterWindow});
  EXPECT_EQ(sums.mass.scalar_type(), at::kFloat);
  EXPECT_EQ(sums.mass.max().item<double>(), 298 * kClusterWindow);
  EXPECT_EQ(sums.value.max().item<double>(), 298 * kClusterWindow);
}

}  // namespace
}  // namespace linformer::nn
