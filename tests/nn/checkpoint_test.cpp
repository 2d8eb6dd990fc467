// Activation checkpointing: gradients of recomputed blocks.
#include "nn/checkpoint.hpp"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <stdexcept>

#include "linformer/nn/device.hpp"
#include "nn/forms.hpp"

namespace linformer {
namespace {

using namespace linformer::test;  // NOLINT: the test's own helpers

at::Generator generator() { return at::globalContext().defaultGenerator(at::kCPU); }

struct Pass {
  at::Tensor loss;
  std::vector<at::Tensor> gradients;
  at::Tensor random_state;  // afterwards
};

Pass pass(const LanguageModel& model, const at::Tensor& ids_BN, bool checkpoint, at::ScalarType dtype,
          bool training = true) {
  generator().set_current_seed(11);
  std::vector<at::Tensor> wanted;
  for (const auto& [name, parameter] : model.parameters()) wanted.push_back(parameter);
  at::Tensor loss;
  {
    const AutocastGuard autocast(dtype);
    loss = model.logits(ids_BN, {.training = training, .checkpoint = checkpoint}).to(at::kDouble).square().mean();
  }
  auto gradients = torch::autograd::grad({loss}, wanted, {}, std::nullopt, false, true);
  return {loss.detach(), std::move(gradients), generator().get_state()};
}

void expect_equal_passes(const FormCase& form, at::ScalarType dtype) {
  auto config = form.config;
  config.dropout = 0.3;
  config.layers = std::max<std::int64_t>(config.layers, 3);
  const auto model = lively_model(config, at::kFloat);
  const auto ids_BN = random_ids({2, std::min<std::int64_t>(config.length, 31)}, config.vocabulary);
  const auto plain = pass(model, ids_BN, false, dtype), recomputed = pass(model, ids_BN, true, dtype);
  EXPECT_TRUE(plain.loss.equal(recomputed.loss)) << form.name;
  EXPECT_TRUE(plain.random_state.equal(recomputed.random_state)) << form.name;
  const auto parameters = model.parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto &expected = plain.gradients[i], &got = recomputed.gradients[i];
    ASSERT_EQ(expected.defined(), got.defined()) << form.name << " " << parameters[i].first;
    if (!expected.defined()) continue;
    EXPECT_TRUE(expected.equal(got)) << form.name << " " << parameters[i].first;
  }
  // Dropout was on, or equal gradients would say little.
  EXPECT_FALSE(plain.loss.equal(pass(model, ids_BN, false, dtype, false).loss));
}

TEST(ActivationCheckpoint, GradientsAreEqualBitForBitWithDropout) {
  expect_equal_passes(softmax_form(), at::kFloat);
  std::vector<FormCase> mixed;
  add_hybrids(mixed);
  for (const auto& form : mixed) {
    if (form.config.attention.slots_by_layer.empty()) expect_equal_passes(form, at::kFloat);
  }
  for (const auto sharing : kSharings) {
    expect_equal_passes(linformer_form("prefix", 45, 0, 5, sharing), at::kFloat);
    expect_equal_passes(linformer_form("running", 45, 7, 5, sharing), at::kFloat);
    if (sharing == Sharing::key_value) continue;
    expect_equal_passes(linformer_form("block", 48, 6, 2, sharing, Summary::block, Projection::dynamic), at::kFloat);
  }
}

TEST(ActivationCheckpoint, GradientsAreEqualUnderAutocast) {
  expect_equal_passes(linformer_form("running", 45, 7, 5, Sharing::layerwise), at::kBFloat16);
}

// A body that throws while it is run again leaves random state and autocast as they were.
TEST(ActivationCheckpoint, ABodyThatThrowsLeavesNothingChanged) {
  const auto x = at::ones({3}).requires_grad_();
  int runs = 0;
  at::Tensor y;
  {
    const AutocastGuard autocast(at::kBFloat16);
    y = nn::checkpointed(
        [&runs](const at::Tensor& input) {
          if (++runs == 2) {
            EXPECT_TRUE(at::autocast::is_autocast_enabled(at::kCPU));
            at::rand({5});
            throw std::runtime_error("out of memory");
          }
          return input * 2;
        },
        x, {});
  }
  at::rand({2});
  const auto before = generator().get_state();
  EXPECT_THROW(torch::autograd::grad({y.sum()}, {x}), std::exception);
  EXPECT_EQ(runs, 2);
  EXPECT_TRUE(generator().get_state().equal(before));
  EXPECT_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
  EXPECT_TRUE(at::autocast::is_autocast_cache_enabled());
}

}  // namespace
}  // namespace linformer
