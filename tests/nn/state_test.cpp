// A text that is read in chunks, each with the state of those before, gives what the whole gives: outputs, gradients,
// and the state at the end.
#include "nn/state.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/device.hpp"
#include "nn/attention.hpp"
#include "nn/forms.hpp"

namespace linformer {
namespace {

class EveryState : public testing::TestWithParam<test::FormCase> {};

TEST_P(EveryState, OfAPromptInChunksIsThatOfTheWhole) {
  const auto model = test::lively_model(GetParam().config);
  const auto& config = model.config();
  const auto first = test::to_vector(test::random_ids({config.length - 3}, config.vocabulary, 7)),
             second = test::to_vector(test::random_ids({9}, config.vocabulary, 8));
  const auto next = test::random_ids({3, 2}, config.vocabulary, 9);
  const auto read = [&](std::int64_t chunk) {
    auto [logits, state] = model.prefill({first, second}, chunk);
    std::vector<at::Tensor> all{logits};
    for (std::int64_t i = 0; i < next.size(0); ++i) all.push_back(model.step(next[i], state));
    return at::cat(all);
  };
  const auto whole = read(LanguageModel::kPromptChunk);
  for (const std::int64_t chunk : {1, 5, 7, 12, 30}) {
    EXPECT_LT(test::largest_difference(read(chunk), whole), 1e-10) << "chunks of " << chunk;
  }
}

// Through the state, the loss of a later chunk reaches what an earlier one read.
TEST_P(EveryState, CarriesGradients) {
  auto config = resolved(GetParam().config);
  const auto length = std::min<std::int64_t>(config.length, 48);
  nn::Parameters parameters(3, at::kDouble);
  nn::SharedParts shared(config);
  const auto attention = nn::make_attention({parameters, config, 0, "attention", shared});
  const auto grad_out = at::randn({2, length, config.width}, at::kDouble);
  const auto gradients = [&](const std::vector<std::int64_t>& cuts) {
    const auto x = at::ones({2, length, config.width}, at::kDouble)
                       .mul_(at::arange(2 * length * config.width, at::kDouble).view({2, length, -1}).sin())
                       .requires_grad_();
    nn::StatePointer state;
    std::vector<at::Tensor> parts;
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      auto [branch, after] = attention->read(x.narrow(1, cuts[i], cuts[i + 1] - cuts[i]), cuts[i], state.get());
      parts.push_back(branch.product);
      state = std::move(after);
    }
    std::vector<at::Tensor> leaves{x};
    for (const auto& [name, parameter] : parameters.list()) leaves.push_back(parameter);
    // The state at the end counts too.
    auto loss = (at::cat(parts, 1) * grad_out).sum();
    for (const auto& [name, tensor] : state->named()) loss = loss + tensor.sin().sum();
    return std::pair{loss.detach(), torch::autograd::grad({loss}, leaves, {}, std::nullopt, false, true)};
  };
  const auto [loss, whole] = gradients({0, length});
  for (const auto& cuts : {std::vector<std::int64_t>{0, 1, length}, std::vector<std::int64_t>{0, 7, 14, 21, length},
                           std::vector<std::int64_t>{0, 3, 18, 19, 20, 40, length}}) {
    std::vector<std::int64_t> fitting;
    for (const auto cut : cuts) {
      if (fitting.empty() || (cut <= length && cut > fitting.back())) fitting.push_back(cut);
    }
    const auto [chunk_loss, got] = gradients(fitting);
    EXPECT_LT(std::abs((chunk_loss - loss).item<double>()), 1e-9);
    for (std::size_t i = 0; i < whole.size(); ++i) {
      const auto name = i == 0 ? "x" : parameters.list()[i - 1].first;
      ASSERT_EQ(got[i].defined(), whole[i].defined()) << name;
      if (!whole[i].defined()) continue;
      // Some are sums that cancel to zero, such as that of a bias that all keys have.
      const auto error = (got[i] - whole[i]).norm().item<double>();
      EXPECT_LT(error, 1e-9 * (1 + whole[i].norm().item<double>())) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, EveryState, testing::ValuesIn(test::causal_forms()),
                         [](const auto& value) { return value.param.name; });

// In bfloat16 chunks round in other places than the whole does.
TEST(State, OfShortProductsIsCloseToThatOfTheWhole) {
  for (const auto& form :
       {test::softmax_form(), test::linformer_form("", 45, 0, 5, Sharing::none),
        test::linformer_form("", 45, 7, 5, Sharing::none),
        test::linformer_form("", 48, 6, 2, Sharing::headwise, Summary::block, Projection::dynamic)}) {
    const auto model = test::lively_model(form.config, at::kFloat);
    const auto ids = test::to_vector(test::random_ids({40}, model.config().vocabulary));
    const auto exact = model.prefill({ids}).first;
    const AutocastGuard autocast(at::kBFloat16, at::kCPU);
    const auto whole = model.prefill({ids}).first, chunks = model.prefill({ids}, 11).first;
    const auto rounding = (whole - exact).norm().item<double>();
    EXPECT_GT(rounding, 0);
    EXPECT_LT((chunks - exact).norm().item<double>(), 3 * rounding) << enum_name(form_of(form.config));
  }
}

TEST(State, SaysWhatItHolds) {
  const auto tokens = std::vector<std::int64_t>{1, 2, 3};
  const auto names = [&](const test::FormCase& form) {
    auto state = test::lively_model(form.config).prefill({tokens}).second;
    std::vector<std::string> found;
    for (const auto& [name, tensor] : static_cast<const nn::LayerState&>(state.layer(0)).named())
      found.emplace_back(name);
    return found;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names(test::softmax_form()), (Names{"key", "value"}));
  EXPECT_EQ(names(test::linformer_form("", 45, 0, 5, Sharing::headwise)), (Names{"slot_key", "slot_value"}));
  EXPECT_EQ(names(test::linformer_form("", 45, 7, 5, Sharing::headwise)),
            (Names{"key", "value", "slot_key", "slot_value"}));
  EXPECT_EQ(names(test::linformer_form("", 48, 6, 2, Sharing::headwise, Summary::block, Projection::dynamic)),
            (Names{"key", "value", "slot_key", "slot_value", "scores"}));
  EXPECT_EQ(names(test::linformer_form("", 45, 7, 5, Sharing::headwise, Summary::running, Projection::gated)),
            (Names{"key", "value", "slot_key", "slot_value", "scores"}));
  EXPECT_EQ(names(test::linformer_form("", 45, 7, 5, Sharing::headwise, Summary::running, Projection::cluster)),
            (Names{"key", "value", "slot_key", "slot_value", "slot_mass"}));
  auto sinks = test::linformer_form("", 45, 7, 0, Sharing::headwise);
  sinks.config.attention.sinks = 5;
  EXPECT_EQ(names(sinks), (Names{"key", "value", "sink_key", "sink_value"}));
  // Three of five stand; the rest is zero until it is read.
  auto state = test::lively_model(sinks.config).prefill({tokens}).second;
  const auto& layer = static_cast<const nn::LayerState&>(state.layer(0));
  EXPECT_EQ(layer.sinks.key.sizes(), (std::vector<std::int64_t>{1, 2, 5, 6}));
  EXPECT_EQ(layer.sinks.key.narrow(2, 3, 2).abs().max().item<double>(), 0);
  EXPECT_TRUE(at::equal(layer.sinks.key.narrow(2, 0, 3), layer.key.narrow(2, 7, 3)));
}

}  // namespace
}  // namespace linformer
