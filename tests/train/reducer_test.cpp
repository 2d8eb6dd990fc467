// Several processes that train one model, played by threads: what a step of each of them gives, and when gradients are
// exchanged.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <barrier>
#include <cmath>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "linformer/core/format.hpp"
#include "train/support.hpp"

namespace linformer {
namespace {

using test::holds;
using test::message_of;
using test::tiny_model;
using test::tiny_train;

// What the processes lay on the table for each other.
class Exchange {
 public:
  explicit Exchange(std::int64_t processes)
      : all_here_(processes), numbers_(static_cast<std::size_t>(processes)), gradients_(numbers_.size()) {}
  std::int64_t processes() const { return static_cast<std::int64_t>(numbers_.size()); }

  double sum(std::int64_t rank, double number) {
    numbers_[static_cast<std::size_t>(rank)] = number;
    all_here_.arrive_and_wait();
    double sum = 0;
    for (const auto one : numbers_) sum += one;
    all_here_.arrive_and_wait();
    return sum;
  }
  void sum(std::int64_t rank, const NamedTensors& gradients) {
    auto& own = gradients_[static_cast<std::size_t>(rank)];
    for (const auto& [name, gradient] : gradients) own.emplace_back(name, gradient.clone());
    all_here_.arrive_and_wait();
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      gradients[i].second.zero_();
      for (const auto& of_process : gradients_) {
        EXPECT_EQ(of_process.at(i).first, gradients[i].first);
        gradients[i].second.add_(of_process.at(i).second);
      }
    }
    all_here_.arrive_and_wait();
    own.clear();
  }

 private:
  std::barrier<> all_here_;
  std::vector<double> numbers_;
  std::vector<NamedTensors> gradients_;
};

class ThreadReducer final : public GradientReducer {
 public:
  ThreadReducer(Exchange& exchange, std::int64_t rank, bool broken = false)
      : exchange_(exchange), rank_(rank), broken_(broken) {}
  std::int64_t rank() const override { return rank_; }
  std::int64_t processes() const override { return exchange_.processes(); }
  double sum_targets(double targets, std::int64_t) override { return exchange_.sum(rank_, targets); }
  double sum_gradients(const NamedTensors& gradients, double loss) override {
    const c10::NoGradGuard no_grad;
    exchange_.sum(rank_, gradients);
    return exchange_.sum(rank_, broken_ ? std::nan("") : loss);
  }

 private:
  Exchange& exchange_;
  std::int64_t rank_;
  bool broken_;  // its loss is not a number
};

struct Trained {
  at::Tensor parameters;
  std::vector<StepResult> steps;
};

Trained train_some(const Batches& batches, const TrainConfig& config, GradientReducer* reducer) {
  at::set_num_threads(1);
  TrainState state(LanguageModel(tiny_model(AttentionKind::linformer), 1));
  Trained trained;
  train_loop(state, batches, config, {.seed = 3, .reducer = reducer}, [&](const StepResult& result, double) {
    trained.steps.push_back(result);
    return true;
  });
  std::vector<at::Tensor> all;
  for (const auto& [name, parameter] : state.model.parameters()) all.push_back(parameter.detach().flatten());
  trained.parameters = at::cat(all);
  return trained;
}

std::vector<Trained> train_together(const Batches& batches, const TrainConfig& config, std::int64_t processes,
                                    std::int64_t broken_rank = -1) {
  Exchange exchange(processes);
  std::vector<Trained> results(static_cast<std::size_t>(processes));
  {
    std::vector<std::jthread> threads;
    for (std::int64_t rank = 0; rank < processes; ++rank) {
      threads.emplace_back([&, rank] {
        ThreadReducer reducer(exchange, rank, rank == broken_rank);
        results[static_cast<std::size_t>(rank)] = train_some(batches, config, &reducer);
      });
    }
  }
  return results;
}

// Micro-batch i has i·i % 5 + 1 rows of text whose targets count: parts of a step that weigh differently. Those of
// `empty` have none.
class UnevenBatches final : public Batches {
 public:
  explicit UnevenBatches(std::vector<std::int64_t> empty = {}) : empty_(std::move(empty)) {}
  Batch at(std::int64_t index) const override {
    Batch batch{at::arange(13 * 5, at::kLong).view({5, 13}).mul(index + 7).remainder(251), {}};
    batch.targets = batch.ids.mul(3).add(index).remainder(256);
    batch.targets.narrow(0, index * index % 5, 4 - index * index % 5).fill_(kIgnored);
    if (std::ranges::find(empty_, index) != empty_.end()) batch.targets.fill_(kIgnored);
    return batch;
  }

 private:
  std::vector<std::int64_t> empty_;
};

TrainConfig shared_config(std::int64_t accumulate) {
  auto config = tiny_train(4);
  config.accumulate = accumulate;
  config.clip = 0.5;  // below the first norms, so that a norm of a part would show
  return config;
}

TEST(GradientReducer, TwoProcessesOfOneMicroBatchEachGiveTheBitsOfOneProcess) {
  const UnevenBatches batches;
  const auto config = shared_config(2);
  const auto alone = train_some(batches, config, nullptr);
  ASSERT_EQ(alone.steps.size(), 4u);
  EXPECT_GT(alone.steps[0].gradient_norm, config.clip);
  for (const auto& one : train_together(batches, config, 2)) {
    ASSERT_EQ(one.steps.size(), 4u);
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(one.steps[i].loss, alone.steps[i].loss);
      EXPECT_EQ(one.steps[i].gradient_norm, alone.steps[i].gradient_norm);
    }
    EXPECT_TRUE(at::equal(one.parameters, alone.parameters));
  }
}

// Sums of sums, so rounding differs; the second has nothing to learn in the first step of its part.
TEST(GradientReducer, PartsOfSeveralMicroBatchesGiveTheStepOfOneProcess) {
  for (const auto& batches : {UnevenBatches(), UnevenBatches({3, 4, 5, 13})}) {
    const auto config = shared_config(6);
    const auto alone = train_some(batches, config, nullptr);
    for (const std::int64_t processes : {2, 3}) {
      const auto together = train_together(batches, config, processes);
      for (const auto& one : together) {
        ASSERT_EQ(one.steps.size(), 4u);
        for (std::size_t i = 0; i < 4; ++i) {
          EXPECT_NEAR(one.steps[i].loss, alone.steps[i].loss, 1e-6);
          EXPECT_NEAR(one.steps[i].gradient_norm, alone.steps[i].gradient_norm, 1e-5);
        }
        EXPECT_TRUE(at::equal(one.parameters, together[0].parameters));
        // AdamW's first steps divide by the gradient's own size, which makes much of a last bit near 0.
        EXPECT_LT((one.parameters - alone.parameters).norm().item<double>(),
                  1e-5 * alone.parameters.norm().item<double>());
      }
    }
  }
}

TEST(GradientReducer, AllProcessesLeaveWhenOneHasNoFiniteLoss) {
  auto untrained = shared_config(2);
  untrained.steps = 0;
  const auto before = train_some(UnevenBatches(), untrained, nullptr).parameters;
  for (const auto& one : train_together(UnevenBatches(), shared_config(2), 2, 1)) {
    ASSERT_EQ(one.steps.size(), 1u);
    EXPECT_FALSE(one.steps[0].finite);
    EXPECT_TRUE(at::equal(one.parameters, before));
  }
}

// Notes what it finds, and puts gradients of its own in the place of those that it is given.
class Replacing final : public GradientReducer {
 public:
  explicit Replacing(const TrainState& state) : state_(state) { before = weights(); }
  std::int64_t rank() const override { return 0; }
  std::int64_t processes() const override { return 1; }
  double sum_targets(double targets, std::int64_t passes) override {
    calls += "targets ";
    targets_here = targets, passes_here = passes;
    for (const auto& [name, parameter] : state_.model.parameters()) EXPECT_FALSE(parameter.grad().defined()) << name;
    return targets;
  }
  double sum_gradients(const NamedTensors& gradients, double loss) override {
    const c10::NoGradGuard no_grad;
    calls += "gradients ";
    for (const auto& [name, gradient] : gradients) {
      found.push_back(gradient.clone());
      gradient.fill_(2);
      elements += gradient.numel();
    }
    EXPECT_TRUE(at::equal(weights(), before));
    return loss + 40;
  }
  at::Tensor weights() const {
    std::vector<at::Tensor> all;
    for (const auto& [name, parameter] : state_.model.parameters()) all.push_back(parameter.detach().flatten());
    return at::cat(all);
  }

  std::string calls;
  double targets_here = 0;
  std::int64_t passes_here = 0, elements = 0;
  std::vector<at::Tensor> found;
  at::Tensor before;  // the weights

 private:
  const TrainState& state_;
};

TEST(GradientReducer, StandsBetweenTheLastBackwardPassAndTheNorm) {
  at::set_num_threads(1);
  const UnevenBatches batches({2});
  auto config = tiny_train(10);
  config.accumulate = 4, config.clip = 3;
  TrainState alone(LanguageModel(tiny_model(AttentionKind::linformer), 1));
  const auto expected = train_step(alone, batches, config, {});
  const auto gradients = alone.optimizer.gradients();

  TrainState state(LanguageModel(tiny_model(AttentionKind::linformer), 1));
  Replacing reducer(state);
  const auto result = train_step(state, batches, config, {.reducer = &reducer});
  EXPECT_EQ(reducer.calls, "targets gradients ");
  double targets = 0;
  for (std::int64_t i = 0; i < 4; ++i) targets += batches.at(i).targets.ne(kIgnored).sum().item<double>();
  EXPECT_EQ(reducer.targets_here, targets);
  EXPECT_EQ(reducer.passes_here, 3);
  // After the last backward pass: it was given the whole gradient, of every parameter.
  ASSERT_EQ(reducer.found.size(), gradients.size());
  ASSERT_EQ(gradients.size(), state.model.parameters().size());
  for (std::size_t i = 0; i < gradients.size(); ++i)
    EXPECT_TRUE(at::equal(reducer.found[i], gradients[i].second)) << gradients[i].first;
  // Before the norm, before clipping and before AdamW, which all see what it left.
  EXPECT_EQ(result.loss, expected.loss + 40);
  EXPECT_NEAR(result.gradient_norm, 2 * std::sqrt(static_cast<double>(reducer.elements)), 1e-3);
  for (const auto& [name, moment] : state.optimizer.moments()) {
    if (!name.ends_with(".mean")) continue;
    const auto clipped = 2 * config.clip / result.gradient_norm;
    EXPECT_TRUE(at::allclose(moment, at::full_like(moment, (1 - config.beta1) * clipped), 1e-5)) << name;
  }
  EXPECT_FALSE(at::equal(reducer.weights(), reducer.before));
  EXPECT_EQ(state.step, 1);
}

// Texts of 12 tokens, of which the targets end in the second chunk of 3.
class EarlyTargets final : public Batches {
 public:
  Batch at(std::int64_t index) const override {
    Batch batch{at::arange(24, at::kLong).view({2, 12}).add(index), at::full({2, 12}, kIgnored, at::kLong)};
    batch.targets.narrow(1, 1, 4).fill_(7);
    return batch;
  }
};

TEST(GradientReducer, HearsOfThePassesOfChunksThatHaveOne) {
  auto config = tiny_train(10);
  config.accumulate = 2;
  for (const std::int64_t chunk : {0, 3, 6, 12}) {
    config.chunk = chunk;
    TrainState state(LanguageModel(tiny_model(AttentionKind::linformer), 1));
    Replacing reducer(state);
    std::int64_t passes = 0;
    for (const auto& [name, parameter] : state.model.parameters()) {
      if (name == "token_embedding.weight") parameter.register_hook([&](const at::Tensor&) { ++passes; });
    }
    train_step(state, EarlyTargets(), config, {.reducer = &reducer});
    EXPECT_EQ(reducer.passes_here, chunk == 3 ? 4 : 2) << chunk;
    EXPECT_EQ(passes, reducer.passes_here) << chunk;
  }
}

TEST(GradientReducer, NeedsAnEvenShareForEachProcess) {
  TrainState state(LanguageModel(tiny_model(AttentionKind::linformer), 1));
  Exchange exchange(2);
  ThreadReducer reducer(exchange, 0);
  const auto message = message_of([&] { train_step(state, UnevenBatches(), shared_config(3), {.reducer = &reducer}); });
  EXPECT_TRUE(holds(message, {"train.accumulate is 3", "multiple of 2"})) << message;
}

TEST(TrainLoop, EndsAtTheLastStepOrWhenItIsTold) {
  const UnevenBatches batches;
  const auto config = tiny_train(5);
  for (const std::int64_t last : {2, 99}) {
    TrainState state(LanguageModel(tiny_model(AttentionKind::softmax), 1));
    state.step = 1;
    std::vector<std::int64_t> heard;
    train_loop(state, batches, config, {}, [&](const StepResult&, double seconds) {
      heard.push_back(state.step);
      EXPECT_GT(seconds, 0);
      return state.step < last;
    });
    EXPECT_EQ(heard, last == 2 ? std::vector<std::int64_t>{2} : (std::vector<std::int64_t>{2, 3, 4, 5}));
    train_loop(state, batches, tiny_train(state.step), {}, [](const StepResult&, double) -> bool {
      ADD_FAILURE() << "nothing is left to do";
      return false;
    });
  }
}

}  // namespace
}  // namespace linformer
