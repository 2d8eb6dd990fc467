// B batch, N length, d width, V vocabulary.
#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "linformer/train/schedule.hpp"
#include "linformer/train/trainer.hpp"

namespace linformer {
namespace {

double targets_of(const Batch& batch) {
  return static_cast<double>(batch.targets.ne(kIgnored).sum().item<std::int64_t>());
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
  StepResult result{.loss = 0, .gradient_norm = 0, .learning_rate = learning_rate_at(config, step), .finite = true};
  const ForwardOptions forward{.training = true, .checkpoint = config.checkpoint_activations};
  const auto first = state.step * config.accumulate, last = first + config.accumulate;
  std::vector<Batch> micro_batches;  // ids alone, which are small
  double all_targets = 0;
  for (auto index = first; index < last; ++index)
    all_targets += targets_of(micro_batches.emplace_back(batches.at(index)));
  auto loss_sum = at::full({}, all_targets > 0 ? 0 : std::nan(""), at::kDouble);
  for (const auto& batch : micro_batches) {
    // The loss is a mean over all targets of the step. Where each micro-batch has as many, its share is 1 / accumulate
    // to the last bit.
    const auto share = targets_of(batch) / all_targets;
    if (!(share > 0)) continue;  // the mean of none is NaN
    const auto loss = state.model.loss(batch.ids, {batch.targets, batch.sparse}, forward, options.dtype) * share;
    loss.backward();
    loss_sum = loss_sum + loss.detach().to(at::kDouble);
  }
  result.loss = loss_sum.item<double>();  // the first wait for a device
  result.gradient_norm = state.optimizer.gradient_norm();
  result.finite = std::isfinite(result.loss) && std::isfinite(result.gradient_norm);
  if (!result.finite) return result;
  const double divisor = config.clip > 0 ? std::max(1.0, result.gradient_norm / config.clip) : 1.0;
  state.optimizer.step({.number = step, .learning_rate = result.learning_rate, .gradient_divisor = divisor}, config);
  state.step = step;
  state.loss = result.loss;
  return result;
}

}  // namespace linformer
