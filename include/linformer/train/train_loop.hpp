// The training loop alone. It knows nothing of folders, files and messages: run.hpp adds them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "linformer/config/train_config.hpp"
#include "linformer/data/batches.hpp"
#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/language_model.hpp"
#include "linformer/train/optimizer.hpp"

namespace linformer {

/// Everything that training changes. A resumed run starts from this.
struct TrainState {
  TrainState(LanguageModel trained) : model(std::move(trained)), optimizer(model.parameters()) {}

  LanguageModel model;
  AdamW optimizer;
  std::int64_t step = 0;  ///< steps taken; also gives the data position and the dropout seed
  double best_loss = std::numeric_limits<double>::infinity();  ///< lowest validation loss
  std::optional<double> loss;                                  ///< of the last step
  DecodeState text = {};     ///< with `carry_state`: at the end of the rows of the last micro-batch
  double train_seconds = 0;  ///< in steps alone, over all sessions
  double seconds = 0;        ///< wall time over all sessions
};

/// Joins the processes that train one model together, each with its own part of the micro-batches of a step. A step
/// calls the two functions in this order, whatever its micro-batches hold. So they may be collective operations.
///
/// A reducer may also send gradients while the backward pass goes on. Then it sets hooks on the parameters
/// (set_post_acc_grad_hooks). Of the `passes` backward passes that sum_targets() announces, the last one completes the
/// gradients. With `train.chunk` a chunk is a pass, and one without targets gives the head no gradient: a parameter
/// may get fewer than `passes`. sum_gradients() has only to wait for what is still on its way.
class GradientReducer {
 public:
  virtual ~GradientReducer() = default;
  /// This process takes the micro-batches of part `rank` of `processes`. `processes` must divide train.accumulate.
  virtual std::int64_t rank() const = 0;
  virtual std::int64_t processes() const = 0;
  /// The step's targets in this process → in all processes. `passes`: the backward passes of this process.
  virtual double sum_targets(double targets, std::int64_t passes) = 0;
  /// After the last backward pass. Replaces each gradient by its sum over all processes, and returns the sum of the
  /// losses. Each process comes with its part of the mean over all targets, so nothing is left to divide. The list is
  /// the same in each process; a parameter that the step didn't use has a gradient of zeros.
  virtual double sum_gradients(const NamedTensors& gradients, double loss) = 0;
};

struct StepOptions {
  at::ScalarType dtype = at::kFloat;   ///< of products; parameters, moments and gradients stay float32
  std::uint64_t seed = 0;              ///< with the number of a micro-batch it seeds dropout
  GradientReducer* reducer = nullptr;  ///< none: this process trains alone
  /// With `train.chunk`: where the states at the borders of chunks go when they don't fit into memory.
  std::filesystem::path folder = std::filesystem::temp_directory_path();
  /// With `train.chunk`: hears which share of a step is done.
  std::function<void(double share)> progress = {};
};
struct StepResult {
  double loss = 0;           ///< mean over the targets of all micro-batches, nats a token
  double gradient_norm = 0;  ///< before clipping
  double learning_rate = 0;
  bool finite = true;  ///< false: loss or gradient are not finite, and nothing was changed
};
/// One optimiser step: the gradient of the mean loss over all targets of `accumulate` micro-batches, clipped to global
/// norm `clip`, then AdamW. `chunk` = auto is taken as 0. UserError when `accumulate` can't be shared among the
/// reducer's processes, or when they would have to carry a state.
StepResult train_step(TrainState& state, const Batches& batches, const TrainConfig& config, const StepOptions& options);

/// Hears of each step, one that is not finite included, and of its wall time. False ends the loop.
using AfterStep = std::function<bool(const StepResult& result, double seconds)>;
/// Takes steps until `config.steps` are done, or until a step is not finite.
void train_loop(TrainState& state, const Batches& batches, const TrainConfig& config, const StepOptions& options,
                const AfterStep& after_step);

}  // namespace linformer
