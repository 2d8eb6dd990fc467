// A whole run: the training loop with a folder, checkpoints, metrics, evaluations and messages around it.
#pragma once

#include <memory>
#include <optional>

#include "linformer/core/folder_lock.hpp"
#include "linformer/infer/evaluate.hpp"
#include "linformer/train/checkpoint.hpp"
#include "linformer/train/train_loop.hpp"

namespace linformer {

struct RunOptions {
  std::filesystem::path out;
  ExistingRun existing = ExistingRun::refuse;
  std::filesystem::path from = {};  ///< for a new run: start with the weights of this model folder
  at::Device device = at::kCPU;
  bool quiet = false;  ///< no progress on standard error
};
struct TrainSummary {
  std::int64_t steps = 0;
  double loss = 0;  ///< of the last step
  /// Of the final model; empty when the run was stopped, or when its data has no validation part.
  std::optional<Evaluation> validation;
  double tokens_per_second = 0;  ///< of steps alone: evaluation and saving don't count
  std::int64_t parameters = 0, peak_memory_bytes = 0;
  double seconds = 0;
  int stop_signal = 0;  ///< SIGINT or SIGTERM: saved and left before the end
};

/// Fills in the values that depend on the data, and checks that `config` can be trained on it. A Run does this before
/// it touches its folder. A UserError names what to change.
RunConfig completed(RunConfig config, const Dataset& data);

/// A model, its data and its folder. It holds the folder while it lives (core/folder_lock.hpp). docs/formats.md
/// describes the files.
class Run {
 public:
  /// Checks config, data, folder and memory before it writes anything. `config.data.folder` names the data; a
  /// vocabulary of 0 is replaced by the data's vocabulary. When resuming, it loads the newest checkpoint. A UserError
  /// names what to change.
  Run(RunConfig config, RunOptions options);
  /// Trains to the last step, evaluates and saves. UserError when the loss or a gradient is not finite, or when files
  /// can't be written.
  TrainSummary train();
  const TrainState& state() const { return *state_; }
  const RunConfig& config() const { return config_; }

 private:
  class Session;
  void hold_folder();
  void keep_choices();
  void resume();
  LanguageModel first_model(std::optional<LoadedModel> given) const;
  void check_nothing_lost() const;
  void prepare_folder();
  at::ScalarType dtype() const;
  bool due(std::int64_t every) const;
  bool validates() const { return config_.identity.validation_tokens > 0; }
  void say_when_nothing_validates() const;
  std::optional<Evaluation> evaluate_and_keep_best();
  void check_finite(const StepResult& result) const;
  std::string last_checkpoint() const;

  RunConfig config_;
  RunOptions options_;
  std::optional<FolderLock> lock_;
  std::unique_ptr<Dataset> data_;
  json tokenizer_;
  std::optional<TrainState> state_;
};

}  // namespace linformer
