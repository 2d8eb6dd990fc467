#include "linformer/train/optimizer.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "train/support.hpp"

namespace linformer {
namespace {

using test::holds;
using test::message_of;

at::Tensor parameter(at::IntArrayRef sizes, std::uint64_t seed) {
  at::manual_seed(seed);
  return at::randn(sizes, at::kFloat).requires_grad_(true);
}

// Decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2) in float64.
struct Reference {
  at::Tensor value, mean, square;
  void step(const at::Tensor& gradient, double rate, double decay, std::int64_t number, const TrainConfig& config) {
    value = value * (1 - rate * decay);
    mean = config.beta1 * mean + (1 - config.beta1) * gradient;
    square = config.beta2 * square + (1 - config.beta2) * gradient * gradient;
    const auto n = static_cast<double>(number);
    const auto mean_hat = mean / (1 - std::pow(config.beta1, n)), square_hat = square / (1 - std::pow(config.beta2, n));
    value = value - rate * mean_hat / (square_hat.sqrt() + 1e-8);
  }
};

TEST(AdamW, AgreesWithTheFormulaInFloat64) {
  TrainConfig config;
  config.weight_decay = 0.3;  // large enough to be seen
  config.slot_bias_rate = 7;
  const NamedTensors parameters{{"matrix", parameter({5, 7}, 1)},
                                {"vector", parameter({11}, 2)},
                                {"cube", parameter({2, 3, 5}, 3)},
                                {"blocks.0.attention.slot_bias", parameter({4}, 4)},
                                {"blocks.0.attention.decay", parameter({2, 3}, 5)}};
  AdamW optimizer(parameters);
  std::vector<Reference> references;
  for (const auto& [name, p] : parameters) {
    const auto value = p.detach().to(at::kDouble).clone();
    references.push_back({value, at::zeros_like(value), at::zeros_like(value)});
  }
  for (std::int64_t number = 1; number <= 20; ++number) {
    const double rate = 0.01 * static_cast<double>(number), divisor = number % 3 == 0 ? 2.5 : 1.0;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const auto& p = parameters[i].second;
      at::manual_seed(static_cast<std::uint64_t>(100 * number) + i);
      const auto gradient = at::randn(p.sizes(), at::kFloat);
      p.mutable_grad() = gradient.clone();
      const double own_rate = parameters[i].first.ends_with("slot_bias") ? 7 * rate : rate;
      const bool weights = p.dim() >= 2 && !parameters[i].first.ends_with("decay");
      references[i].step(gradient.to(at::kDouble) / divisor, own_rate, weights ? 0.3 : 0, number, config);
    }
    optimizer.step({.number = number, .learning_rate = rate, .gradient_divisor = divisor}, config);
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto error = (parameters[i].second.detach().to(at::kDouble) - references[i].value).abs().max().item<double>();
    EXPECT_LT(error, 3e-6) << parameters[i].first;  // float32: 20 steps of rounding, values of a few units
  }
}

TEST(AdamW, WeightDecayActsOnMatricesOnly) {
  for (const auto kind : {AttentionKind::softmax, AttentionKind::linformer}) {
    const LanguageModel model(test::tiny_model(kind));
    const auto decayed = AdamW(model.parameters()).decayed();
    for (const auto& [name, p] : model.parameters()) {
      const bool decays = std::find(decayed.begin(), decayed.end(), name) != decayed.end();
      EXPECT_EQ(decays, p.dim() >= 2) << name;
      const bool vector = name.ends_with(".bias") || name.find("norm") != std::string::npos;
      EXPECT_FALSE(vector && decays) << name;
    }
    EXPECT_FALSE(decayed.empty());
  }
}

// What says how long slots hold, or where a key goes, must not be drawn to 0.
TEST(AdamW, WeightDecayLeavesGatesAndClustersAlone) {
  for (const auto projection : {Projection::periodic, Projection::gated, Projection::cluster}) {
    auto config = test::tiny_model(AttentionKind::linformer);
    config.attention.projection = projection;
    const LanguageModel model(config);
    const auto decayed = AdamW(model.parameters()).decayed();
    std::int64_t left = 0;
    for (const auto& [name, p] : model.parameters()) {
      const bool decays = std::find(decayed.begin(), decayed.end(), name) != decayed.end();
      for (const auto* own : {"attention.decay", "attention.gate.bias", "attention.codebook", "attention.sharpness"}) {
        if (!name.ends_with(own)) continue;
        EXPECT_FALSE(decays) << name;
        ++left;
      }
      if (name.ends_with("attention.gate.weight")) {
        EXPECT_TRUE(decays) << name;
      }
    }
    EXPECT_GT(left, 0) << enum_name(projection);
  }
}

TEST(AdamW, GradientNormIsOfAllGradients) {
  const NamedTensors parameters{{"a", parameter({2, 3}, 1)}, {"b", parameter({5}, 2)}};
  AdamW optimizer(parameters);
  EXPECT_EQ(optimizer.gradient_norm(), 0);
  parameters[0].second.mutable_grad() = at::full({2, 3}, 2.0);
  parameters[1].second.mutable_grad() = at::full({5}, -3.0);
  EXPECT_NEAR(optimizer.gradient_norm(), std::sqrt(6 * 4 + 5 * 9), 1e-5);
  parameters[1].second.mutable_grad()[3] = std::nan("");
  EXPECT_TRUE(std::isnan(optimizer.gradient_norm()));
  optimizer.zero_gradients();
  EXPECT_EQ(optimizer.gradient_norm(), 0);
}

TEST(AdamW, MomentsRoundTripAndMistakesChangeNothing) {
  const NamedTensors parameters{{"a", parameter({2, 3}, 1)}, {"b", parameter({5}, 2)}};
  AdamW optimizer(parameters);
  for (const auto& [name, p] : parameters) p.mutable_grad() = at::full_like(p, 2).detach();
  optimizer.step({.number = 1, .learning_rate = 0.1}, TrainConfig());
  const TensorFile saved{.tensors = optimizer.moments(), .metadata = {}};
  AdamW other(parameters);
  other.load_moments(saved);
  for (std::size_t i = 0; i < saved.tensors.size(); ++i)
    EXPECT_TRUE(at::equal(other.moments()[i].second, saved.tensors[i].second));

  AdamW fresh(parameters);
  auto missing = saved, reshaped = saved, retyped = saved;
  missing.tensors.pop_back();
  reshaped.tensors.back().second = at::zeros({6});
  retyped.tensors.back().second = at::zeros({5}, at::kDouble);
  EXPECT_TRUE(holds(message_of([&] { fresh.load_moments(missing); }), {"b.square"}));
  EXPECT_TRUE(holds(message_of([&] { fresh.load_moments(reshaped); }), {"b.square", "shape or dtype"}));
  EXPECT_TRUE(holds(message_of([&] { fresh.load_moments(retyped); }), {"b.square", "shape or dtype"}));
  for (const auto& [name, moment] : fresh.moments()) EXPECT_EQ(moment.abs().max().item<double>(), 0) << name;
}

}  // namespace
}  // namespace linformer
