#include "linformer/train/train_loop.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

#include "linformer/core/error.hpp"
#include "linformer/train/schedule.hpp"
#include "train/chunked_backward.hpp"

namespace linformer {
namespace {

struct MicroBatch {
  std::int64_t number;  // among those of all steps
  Batch batch;          // ids alone, which are small
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
    found.push_back({index, std::move(batch), static_cast<double>(targets)});
  }
  return found;
}

// 0: the whole text at once.
std::int64_t chunk_of(const TrainConfig& config, const Batch& batch) {
  const auto chunk = config.chunk.value_or(0), length = batch.ids.size(1);
  if (chunk == 0 || chunk >= length) return config.carry_state ? length : 0;
  return chunk;
}

// Backward passes: chunks after the last target have none.
std::int64_t passes_of(const Batch& batch, const TrainConfig& config) {
  const auto chunk = chunk_of(config, batch);
  if (chunk == 0) return 1;
  const auto last = batch.targets.ne(kIgnored).nonzero().select(1, 1).max().item<std::int64_t>();
  return chunks_of(last + 1, chunk);
}

double targets_of_all(const std::vector<MicroBatch>& micro_batches, const TrainConfig& config,
                      GradientReducer* reducer) {
  double targets = 0;
  std::int64_t passes = 0;
  for (const auto& micro_batch : micro_batches) {
    targets += micro_batch.targets;
    if (micro_batch.targets > 0) passes += passes_of(micro_batch.batch, config);
  }
  return reducer != nullptr ? reducer->sum_targets(targets, passes) : targets;
}

// Each micro-batch has a seed of its own (splitmix64's finaliser), whichever process takes it, and a resumed step has
// those of the first one.
std::uint64_t dropout_seed(std::uint64_t seed, std::int64_t micro_batch) {
  std::uint64_t value = seed + static_cast<std::uint64_t>(micro_batch + 1) * 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

// Adds the gradients, and reads on from `text`. The loss is a mean over all targets of the step. Where each micro-batch
// has as many, its share is 1 / accumulate to the last bit.
at::Tensor backward_of(const LanguageModel& model, DecodeState& text, const MicroBatch& micro_batch, double all_targets,
                       const TrainConfig& config, const StepOptions& options,
                       const std::function<void(double)>& progress) {
  const auto& [number, batch, count] = micro_batch;
  const Targets targets{batch.targets, batch.sparse};
  const ForwardOptions forward{.training = true,
                               .dropout_seed = dropout_seed(options.seed, number),
                               .checkpoint = config.checkpoint_activations};
  if (const auto chunk = chunk_of(config, batch); chunk > 0) {
    auto result = backward_in_chunks(model, batch.ids, targets, text,
                                     {.chunk = chunk,
                                      .all_targets = all_targets,
                                      .dtype = options.dtype,
                                      .forward = forward,
                                      .folder = options.folder,
                                      .progress = options.progress ? progress : std::function<void(double)>()});
    if (config.carry_state) text = std::move(result.after);
    return result.loss;
  }
  const auto loss = model.loss(batch.ids, targets, forward, options.dtype) * (count / all_targets);
  loss.backward();
  return loss.detach().to(at::kDouble);
}

}  // namespace

StepResult train_step(TrainState& state, const Batches& batches, const TrainConfig& config,
                      const StepOptions& options) {
  const auto step = state.step + 1;
  require(!config.carry_state || options.reducer == nullptr,
          "train.carry_state is true, but several processes share the micro-batches, which follow each other in the "
          "text; train with one process, or set train.carry_state to false");
  state.optimizer.zero_gradients();
  const auto micro_batches = micro_batches_of(state.step, batches, config, options.reducer);
  const auto all_targets = targets_of_all(micro_batches, config, options.reducer);
  auto loss_sum = at::full({}, all_targets > 0 ? 0 : std::nan(""), at::kDouble);
  auto text = state.text.with(state.text.tensors());
  for (std::size_t i = 0; i < micro_batches.size(); ++i) {
    if (micro_batches[i].targets == 0) continue;  // the mean of none is NaN
    if (!batches.continues(micro_batches[i].number)) text = {};
    const auto progress = [&](double share) {
      options.progress((static_cast<double>(i) + share) / static_cast<double>(micro_batches.size()));
    };
    loss_sum = loss_sum + backward_of(state.model, text, micro_batches[i], all_targets, config, options, progress);
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
  state.text = std::move(text);
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
