// The gradient of a text in chunks is that of the whole, for every causal form.
#include "train/chunked_backward.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "linformer/data/batches.hpp"
#include "nn/forms.hpp"
#include "train/state_stack.hpp"
#include "train/support.hpp"

namespace linformer {
namespace {

using test::FormCase;

struct Gradients {
  double loss;
  std::vector<at::Tensor> of_parameters;
};

Gradients take(const LanguageModel& model, const std::function<double()>& backward) {
  for (const auto& [name, parameter] : model.parameters()) parameter.mutable_grad() = at::Tensor();
  Gradients found{backward(), {}};
  for (const auto& [name, parameter] : model.parameters())
    found.of_parameters.push_back(parameter.grad().defined() ? parameter.grad().clone() : at::zeros_like(parameter));
  return found;
}

double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }

// The largest error of each parameter's gradient, relative to its largest number. Of a gradient that is almost nothing
// beside the others (that of a key's bias is zero, but for rounding), relative to a tenth of theirs.
void expect_close(const LanguageModel& model, const Gradients& got, const Gradients& want, double bound) {
  EXPECT_NEAR(got.loss, want.loss, bound * std::abs(want.loss));
  const auto parameters = model.parameters();
  double most = 0;
  for (const auto& gradient : want.of_parameters) most = std::max(most, largest(gradient));
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto error = largest(got.of_parameters[i] - want.of_parameters[i]);
    EXPECT_LE(error, bound * std::max(largest(want.of_parameters[i]), most / 10)) << parameters[i].first;
  }
}

class Text {
 public:
  /// Weights are rounded to `dtype`, and kept in float64 with `wide`.
  explicit Text(const ModelConfig& config, at::ScalarType dtype = at::kDouble, bool wide = true)
      : model_(test::lively_model(config, dtype)),
        length_(std::min<std::int64_t>(config.length, 45)),
        ids_(test::random_ids({2, length_}, config.vocabulary)),
        targets_(test::random_ids({2, length_}, config.vocabulary, 9)) {
    // Some positions, and two whole chunks, have none.
    targets_.narrow(1, 3, 1).fill_(kIgnored);
    targets_.narrow(1, length_ / 2, std::min<std::int64_t>(16, length_ / 3)).fill_(kIgnored);
    count_ = targets_.ne(kIgnored).sum().item<double>();
    if (wide) model_.to(at::kCPU, at::kDouble);
  }
  const LanguageModel& model() const { return model_; }

  Gradients whole(at::ScalarType dtype) const {
    return take(model_, [&] {
      const auto loss = model_.loss(ids_, {targets_}, forward_, dtype);
      loss.backward();
      return loss.item<double>();
    });
  }
  Gradients in_chunks(std::int64_t chunk, at::ScalarType dtype) const {
    return take(model_, [&] {
      return backward_in_chunks(model_, ids_, {targets_}, {},
                                {.chunk = chunk, .all_targets = count_, .dtype = dtype, .forward = forward_})
          .loss.item<double>();
    });
  }

 private:
  LanguageModel model_;
  std::int64_t length_;
  at::Tensor ids_, targets_;
  double count_ = 0;
  ForwardOptions forward_{.training = true, .dropout_seed = 77};
};

// One of each kind, projection and sharing; the others differ in norms and biases, which act on each position alone.
std::vector<FormCase> forms_to_cut() {
  auto chosen = test::causal_forms();
  std::erase_if(chosen, [](const FormCase& form) {
    const auto has = [&](std::string_view part) { return form.name.find(part) != std::string::npos; };
    return has("_none_biased") || has("_none_unbiased") || has("keys_unbiased") || has("both_unbiased");
  });
  return chosen;
}

class EveryChunk : public testing::TestWithParam<FormCase> {};

TEST_P(EveryChunk, GivesTheGradientOfTheWhole) {
  auto config = GetParam().config;
  config.dropout = 0.2;
  const Text text(config);
  const auto whole = text.whole(at::kDouble);
  const auto unit = std::max<std::int64_t>(resolved(config).window(), 1);
  for (const std::int64_t chunk : {unit, 2 * unit, std::int64_t{30} / unit * unit})
    expect_close(text.model(), text.in_chunks(chunk, at::kDouble), whole, 1e-12);
}

// In float32 both round, and chunks no more than the whole does.
TEST_P(EveryChunk, RoundsAsTheWholeDoes) {
  auto config = GetParam().config;
  config.dropout = 0.2;
  const Text exact(config, at::kFloat), text(config, at::kFloat, false);
  const auto unit = std::max<std::int64_t>(resolved(config).window(), 1);
  const auto want = exact.whole(at::kDouble), whole = text.whole(at::kFloat),
             cut = text.in_chunks(2 * unit, at::kFloat);
  EXPECT_NEAR(cut.loss, want.loss, 1e-6 * want.loss);
  const auto error = [&](const Gradients& got, std::size_t i) {
    return (got.of_parameters[i] - want.of_parameters[i]).norm().item<double>();
  };
  double error_whole = 0, error_cut = 0;
  for (std::size_t i = 0; i < want.of_parameters.size(); ++i) {
    error_whole += std::pow(error(whole, i), 2), error_cut += std::pow(error(cut, i), 2);
    EXPECT_LE(error(cut, i), 3 * error(whole, i) + 1e-6 * want.of_parameters[i].norm().item<double>() + 1e-8);
  }
  EXPECT_LE(std::sqrt(error_cut), 3 * std::sqrt(error_whole));
}

// The weights above are wide apart, so that float32 errs more than in a model as it begins.
TEST(Chunks, OfAFreshModelDifferByAMillionth) {
  for (const auto projection : {Projection::linear, Projection::periodic}) {
    auto config = test::small_config(512);
    config.width = 64, config.heads = 4, config.feed_forward = 0;
    config.attention.projection = projection;
    config.attention.slots = 16, config.attention.window = 16;
    const LanguageModel model(config, 3);
    const auto ids = test::random_ids({2, 512}, config.vocabulary), targets = test::random_ids({2, 512}, 19, 9);
    const auto whole = take(model, [&] {
      const auto loss = model.loss(ids, {targets});
      loss.backward();
      return loss.item<double>();
    });
    const auto cut = take(model, [&] {
      return backward_in_chunks(model, ids, {targets}, {}, {.chunk = 64, .all_targets = 1024}).loss.item<double>();
    });
    expect_close(model, cut, whole, 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, EveryChunk, testing::ValuesIn(forms_to_cut()),
                         [](const auto& form) { return form.param.name; });

// A state that is not what the chunk before left must show in the gradient: else the tests above could not fail.
TEST(Chunks, AShiftedStateIsCaught) {
  const auto config = test::linformer_form("running", 45, 7, 5, Sharing::none).config;
  const auto model = test::lively_model(config);
  const auto ids = test::random_ids({2, 42}, config.vocabulary);
  const auto first = model.read(ids.narrow(1, 0, 21), {}).second, early = model.read(ids.narrow(1, 0, 14), {}).second;
  const DecodeState shifted = first.with(early.tensors());
  const auto right = model.read(ids.narrow(1, 21, 21), first).first,
             wrong = model.read(ids.narrow(1, 21, 21), shifted).first;
  EXPECT_LT(test::largest_difference(right, model.hidden(ids).narrow(1, 21, 21)), 1e-12);
  EXPECT_GT(test::largest_difference(wrong, right), 1e-3);
}

TEST(Chunks, OfBfloat16ErrAsTheWholeDoes) {
  const auto config = test::linformer_form("running", 45, 7, 5, Sharing::headwise).config;
  const Text exact(config, at::kFloat), text(config, at::kFloat, false);
  const auto want = exact.whole(at::kDouble), whole = text.whole(at::kBFloat16),
             cut = text.in_chunks(14, at::kBFloat16);
  double error_whole = 0, error_cut = 0;
  for (std::size_t i = 0; i < want.of_parameters.size(); ++i) {
    error_whole += (whole.of_parameters[i] - want.of_parameters[i]).square().sum().item<double>();
    error_cut += (cut.of_parameters[i] - want.of_parameters[i]).square().sum().item<double>();
  }
  EXPECT_GT(error_cut, 0);
  EXPECT_LT(error_cut, 4 * error_whole);
}

class Stack : public testing::Test {
 protected:
  // States of a text that is read further and further.
  static std::vector<DecodeState> states_of(const ModelConfig& config, std::int64_t count) {
    const at::NoGradGuard no_grad;
    const auto model = test::lively_model(config, at::kFloat);
    const auto ids = test::random_ids({2, 7 * count}, config.vocabulary);
    std::vector<DecodeState> states;
    DecodeState state;
    for (std::int64_t i = 0; i < count; ++i) {
      state = model.read(ids.narrow(1, 7 * i, 7), state).second;
      states.push_back(state.with(state.tensors()));
    }
    return states;
  }

  static void expect_equal(const DecodeState& a, const DecodeState& b) {
    EXPECT_EQ(a.positions(), b.positions());
    const auto first = a.tensors(), second = b.tensors();
    ASSERT_EQ(first.size(), second.size());
    for (std::size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(first[i].equal(second[i]));
  }
};

TEST_F(Stack, GivesBackWhatItGot) {
  for (const auto& config :
       {test::softmax_form().config, test::linformer_form("running", 45, 7, 5, Sharing::none).config,
        test::linformer_form("block", 48, 6, 2, Sharing::headwise, Summary::block, Projection::dynamic).config}) {
    for (const std::int64_t most : {std::int64_t{0}, std::int64_t{20000}, StateStack::kMostBytes}) {
      const auto states = states_of(config, 6);
      const bool softmax = config.attention.kind == AttentionKind::softmax;
      const test::TemporaryFolder folder;
      StateStack stack(folder.path(), most);
      for (const auto& state : states) stack.push(state);
      EXPECT_TRUE(stack.bytes_in_file() == 0 || (!softmax && most != StateStack::kMostBytes));
      EXPECT_TRUE(stack.bytes_in_file() > 0 || softmax || most > 0);
      EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
      // It may grow again after it has shrunk.
      expect_equal(stack.pop(), states[5]);
      expect_equal(stack.pop(), states[4]);
      stack.push(states[4]);
      for (std::size_t i = 5; i-- > 0;) expect_equal(stack.pop(), states[i]);
      EXPECT_TRUE(stack.empty());
      EXPECT_EQ(stack.bytes_in_memory(), 0);
    }
  }
}

// Softmax keeps every key; its states at six borders take the memory of the last.
TEST_F(Stack, HoldsWhatGrowsOnce) {
  const auto states = states_of(test::softmax_form().config, 6);
  StateStack stack("/");
  for (const auto& state : states) stack.push(state);
  EXPECT_EQ(stack.bytes_in_memory(), states.back().bytes() - 2 * std::int64_t{sizeof(std::int64_t)});
}

TEST_F(Stack, SaysWhereThereIsNoRoom) {
  const auto states = states_of(test::linformer_form("running", 45, 7, 5, Sharing::none).config, 3);
  StateStack stack("/nowhere", 0);
  EXPECT_TRUE(test::holds(test::message_of([&] {
                            for (const auto& state : states) stack.push(state);
                          }),
                          {"/nowhere", "train.chunk"}));
}

}  // namespace
}  // namespace linformer
