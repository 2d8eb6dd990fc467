// Checkpoints: everything that training changes, stored on disk.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "linformer/core/error.hpp"
#include "linformer/train/run_folder.hpp"
#include "linformer/train/train_loop.hpp"

namespace linformer {

/// A run was trained, but nothing is left to continue from: all its checkpoints are damaged or missing.
class LostCheckpoints : public UserError {
 public:
  using UserError::UserError;
};

/// Writes checkpoints/step-NNNNNN (model, optimizer.safetensors, state.json), then the weights in the run folder
/// itself, then removes all checkpoints but the `keep` latest. UserError when something can't be written; older
/// checkpoints are then unchanged.
void save_checkpoint(const std::filesystem::path& run, const TrainState& state, const RunConfig& config,
                     const json& tokenizer);
/// Writes checkpoints/best: a model folder whose state.json holds the step, the loss and hashes.
void save_best(const std::filesystem::path& run, const TrainState& state, const RunConfig& config,
               const json& tokenizer);

/// Loads the newest good checkpoint. It is good when its files have the hashes that its state.json names. Damaged ones
/// are skipped, and `note` is told why. Returns std::nullopt when there is no checkpoint. UserError when all are
/// damaged, and when a good one can't be used: it can't be read, a newer program wrote it, or it belongs to another run
/// than `config` (check_resumable).
std::optional<TrainState> load_newest_checkpoint(const std::filesystem::path& run, const RunConfig& config,
                                                 at::Device device,
                                                 const std::function<void(const std::string&)>& note);

}  // namespace linformer
