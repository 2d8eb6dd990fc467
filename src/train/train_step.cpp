// B batch, N length, d width, V vocabulary.
#include <ATen/ATen.h>

#include <cmath>

#include "linformer/nn/device.hpp"
#include "linformer/ops/cross_entropy.hpp"
#include "linformer/train/schedule.hpp"
#include "linformer/train/trainer.hpp"

namespace linformer {
namespace {

at::Tensor loss_of(const LanguageModel& model, const Batch& batch_BN, const ForwardOptions& options,
                   at::ScalarType dtype) {
  const auto weight_Vd = model.output_weight();
  const AutocastGuard autocast(dtype, weight_Vd.device().type());
  auto hidden = model.hidden(batch_BN.ids.to(weight_Vd.device()), options);
  auto targets = batch_BN.targets;
  if (batch_BN.sparse) {
    const auto places_Q = targets.flatten().ne(kIgnored).nonzero().squeeze(1);
    targets = targets.flatten().index_select(0, places_Q);
    hidden = hidden.flatten(0, 1).index_select(0, places_Q.to(hidden.device()));
  }
  return ops::linear_cross_entropy(hidden.to(dtype), weight_Vd.to(dtype), targets.to(weight_Vd.device()));
}

// Each step has its own stream of random numbers (the last step of splitmix64), so a resumed step draws the same
// numbers.
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
  at::Tensor loss_sum;
  const auto share = 1.0 / static_cast<double>(config.accumulate);
  for (std::int64_t micro = 0; micro < config.accumulate; ++micro) {
    const auto batch = batches.at(state.step * config.accumulate + micro);
    const auto loss = loss_of(state.model, batch, forward, options.dtype) * share;
    loss.backward();
    const auto detached = loss.detach().to(at::kDouble);
    loss_sum = loss_sum.defined() ? loss_sum + detached : detached;
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
