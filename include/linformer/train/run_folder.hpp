// The folder of a run: the config it was started with, what may be replaced, and its checkpoints.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "linformer/config/io.hpp"
#include "linformer/config/model_config.hpp"
#include "linformer/core/json_fwd.hpp"
#include "linformer/data/dataset.hpp"

namespace linformer {

/// What identifies the data of a run, so that a resumed run can check that it reads the same data.
struct DataIdentity {
  std::string vocabulary_hash;
  std::int64_t train_tokens = 0, validation_tokens = 0;  ///< train_tokens 0: generated without end
};

/// The weights that a run starts with, if they were taken from another model (`train --from`).
struct StartWeights {
  std::string folder;  ///< of that model
  std::string sha256;  ///< of its model.safetensors
  bool operator==(const StartWeights&) const = default;
};

/// All that a run is started with; config.json of the run folder and of its checkpoints holds it.
struct RunConfig {
  ModelConfig model;
  TrainConfig train;
  std::uint64_t seed = 0;
  DataConfig data;
  DataIdentity identity;  ///< of the data
  std::optional<StartWeights> from = std::nullopt;
};

/// The sections of a run's config.json that a model's config.json doesn't have: "train", "data", "seed", and "from"
/// when the run started with given weights.
json run_sections(RunConfig config);
/// The fields of model, training and data. The handles point into `config`.
std::vector<FieldHandle> fields_of(RunConfig& config);
/// Writes config.json alone. From then on the folder is a run. `tokenizer` is what Tokenizer::to_json() gives.
void write_run_config(const std::filesystem::path& run, const RunConfig& config, const json& tokenizer);
/// True when a folder holds more than a start that was killed leaves in it: a lock, and the temporary of its first
/// file.
bool holds_files(const std::filesystem::path& folder);
bool is_run(const std::filesystem::path& folder);
/// Reads the config.json of a run or of one of its checkpoints.
RunConfig read_config_file(const std::filesystem::path& path);
/// UserError when the folder holds no run.
RunConfig read_run_config(const std::filesystem::path& run);

/// The first field with different values in the two lists. Fields named in `free` may differ.
struct FieldDifference {
  std::string name, first, second;
};
std::optional<FieldDifference> first_difference(const std::vector<FieldHandle>& first,
                                                const std::vector<FieldHandle>& second,
                                                const std::set<std::string>& free);
/// UserError that names the first field in which a resumed run may not differ from what it was started with.
/// evaluate_every, save_every, keep, checkpoint_activations and products may differ.
void check_resumable(RunConfig stored, RunConfig given);

enum class ExistingRun { refuse, resume, overwrite };
/// Checks that `run` may be written: it is new or empty, or holds a run and `existing` says what to do with it. Else
/// UserError.
void check_run_folder(const std::filesystem::path& run, ExistingRun existing);
/// Removes the files of an older run, and no other files.
void remove_run_files(const std::filesystem::path& run);
/// Removes the incomplete files and checkpoints that killed processes left in the run.
void remove_leftovers(const std::filesystem::path& run);
/// Renames every checkpoint of a later step than `step` to checkpoints/damaged-step-NNNNNN. These are the ones that
/// load_newest_checkpoint() skipped. Under their old names they would be overwritten, or counted among the latest.
void set_damaged_aside(const std::filesystem::path& run, std::int64_t step);

/// checkpoints/step-000100
std::filesystem::path checkpoint_path(const std::filesystem::path& run, std::int64_t step);
std::filesystem::path best_path(const std::filesystem::path& run);
/// The steps and paths of all checkpoints, newest first.
std::vector<std::pair<std::int64_t, std::filesystem::path>> checkpoints_of(const std::filesystem::path& run);

}  // namespace linformer
