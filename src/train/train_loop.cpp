#include "linformer/train/train_loop.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

#include "linformer/core/error.hpp"
#include "linformer/train/schedule.hpp"

namespace linformer {
namespace {

struct MicroBatch {
  Batch batch;  // ids alone, which are small
  double targets;
};

// Those of this process: step s has the numbers s·accumulate to (s + 1)·accumulate, and each process takes a part of
// them that hangs together.
std::vector<MicroBatch> micro_batches_of(std::int64_t steps_before, const Batches& batches, const TrainConfig& config,
                                         const GradientReducer* reducer) {
  const auto processes = reducer != nullptr ? reducer->processes() : 1;
  require(config.accumulate % processes == 0,
          "train.accumulate is {}, which {} processes can't share evenly; choose a multiple of {}", config.accumulate,
          processes, processes);
  const auto count = config.accumulate / processes;
  const auto first = steps_before * config.accumulate + (reducer != nullptr ? reducer->rank() * count : 0);
  std::vector<MicroBatch> found;
  for (auto index = first; index < first + count; ++index) {
    auto batch = batches.at(index);
    const auto targets = batch.targets.ne(kIgnored).sum().item<std::int64_t>();
    found.push_back({std::move(batch), static_cast<double>(targets)});
  }
  return found;
}

double targets_of_all(const std::vector<MicroBatch>& micro_batches, GradientReducer* reducer) {
  double targets = 0;
  std::int64_t passes = 0;
  for (const auto& micro_batch : micro_batches) targets += micro_batch.targets, passes += micro_batch.targets > 0;
  return reducer != nullptr ? reducer->sum_targets(targets, passes) : targets;
}

// One stream of random numbers a step (splitmix64's finaliser), so that a resumed step draws what the first one drew.
std::uint64_t step_seed(std::uint64_t seed, std::int64_t step) {
  std::uint64_t value = seed + static_cast<std::uint64_t>(step) * 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

}  // namespace

StepResult train_step(TrainState& state, const Batches& batches, const TrainConfig& config,
                      const StepOptions& options) {
  const auto step = state.step + 1;
  at::manual_seed(step_seed(options.seed, step));
  state.optimizer.zero_gradients();
  const auto micro_batches = micro_batches_of(state.step, batches, config, options.reducer);
  const auto all_targets = targets_of_all(micro_batches, options.reducer);
  const ForwardOptions forward{.training = true, .checkpoint = config.checkpoint_activations};
  auto loss_sum = at::full({}, all_targets > 0 ? 0 : std::nan(""), at::kDouble);
  for (const auto& [batch, targets] : micro_batches) {
    if (targets == 0) continue;  // the mean of none is NaN
    // The loss is a mean over all targets of the step. Where each micro-batch has as many, its share is 1 / accumulate
    // to the last bit.
    const auto loss =
        state.model.loss(batch.ids, {batch.targets, batch.sparse}, forward, options.dtype) * (targets / all_targets);
    loss.backward();
    loss_sum = loss_sum + loss.detach().to(at::kDouble);
  }
  StepResult result{.loss = loss_sum.item<double>(), .learning_rate = learning_rate_at(config, step)};
  if (options.reducer != nullptr)
    result.loss = options.reducer->sum_gradients(state.optimizer.gradients(), result.loss);
  result.gradient_norm = state.optimizer.gradient_norm();
  result.finite = std::isfinite(result.loss) && std::isfinite(result.gradient_norm);
  if (!result.finite) return result;
  const double divisor = config.clip > 0 ? std::max(1.0, result.gradient_norm / config.clip) : 1.0;
  state.optimizer.step({.number = step, .learning_rate = result.learning_rate, .gradient_divisor = divisor}, config);
  state.step = step;
  state.loss = result.loss;
  return result;
}

void train_loop(TrainState& state, const Batches& batches, const TrainConfig& config, const StepOptions& options,
                const AfterStep& after_step) {
  while (state.step < config.steps) {
    const auto start = std::chrono::steady_clock::now();
    const auto result = train_step(state, batches, config, options);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    if (!after_step(result, taken.count()) || !result.finite) return;
  }
}

}  // namespace linformer
