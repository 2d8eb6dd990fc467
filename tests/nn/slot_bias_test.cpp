// The slot bias in bfloat16 training: neither it nor its gradient may be rounded to bfloat16.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "linformer/nn/device.hpp"
#include "nn/forms.hpp"

namespace linformer {
namespace {

using namespace linformer::test;  // NOLINT: the test's own helpers

struct BiasPass {
  at::Tensor hidden, bias_gradient;
};

BiasPass bfloat16_pass(const LanguageModel& model, double bias) {
  const AutocastGuard autocast(at::kBFloat16);
  at::Tensor first_bias;
  for (const auto& [name, parameter] : model.parameters()) {
    if (!name.ends_with(".slot_bias")) continue;
    if (!first_bias.defined()) first_bias = parameter;
    parameter.mutable_grad() = at::Tensor();
    const at::NoGradGuard no_grad;
    parameter.fill_(bias);
  }
  const auto hidden = model.hidden(random_ids({2, model.config().length}, model.config().vocabulary));
  hidden.square().sum().backward();
  return {hidden.detach(), first_bias.grad().clone()};
}

TEST(SlotBias, KeepsFloat32InBfloat16Training) {
  for (const auto summary : {Summary::running, Summary::block}) {
    auto form = linformer_form("window", 48, 6, 2, Sharing::headwise, summary);
    form.config.attention.slot_bias = -3;
    const auto model = lively_model(form.config, at::kFloat);
    // Bfloat16 has steps of 1/64 between −4 and −2.
    const auto at_three = bfloat16_pass(model, -3), near_three = bfloat16_pass(model, -3 + 1.0 / 256);
    EXPECT_FALSE(at::equal(at_three.hidden, near_three.hidden));
    const auto& gradient = at_three.bias_gradient;
    EXPECT_EQ(gradient.scalar_type(), at::kFloat);
    EXPECT_FALSE(at::equal(gradient, gradient.to(at::kBFloat16).to(at::kFloat)));
    EXPECT_TRUE(at::equal(bfloat16_pass(model, -3).hidden, at_three.hidden));
  }
}

}  // namespace
}  // namespace linformer
