// Reads what an ablation needs from the folder of a run.
#pragma once

#include <filesystem>
#include <vector>

#include "linformer/train/run.hpp"

namespace linformer {

/// An evaluation during training, and the seconds of training before it.
struct TimedLoss {
  double seconds = 0, loss = 0;
};
struct RunReading {
  json seed;  ///< an entry of "seeds" in table.jsonl
  std::int64_t parameters = 0;
  double seconds = 0;             ///< of training
  std::vector<TimedLoss> losses;  ///< in order
};

enum class RunState { absent, half, finished };
/// UserError when the folder holds something else than a run of `config` that begins with the weights of the run in
/// `from` (empty: with new ones), or a run of another format version.
RunState state_of(const std::filesystem::path& run, const RunConfig& config, const std::filesystem::path& from);
/// UserError when a file of the finished run is missing or can't be read.
RunReading read_run(const std::filesystem::path& run, const RunConfig& config);
/// The number of tokens that its training reads.
std::int64_t tokens_of(const RunConfig& config);
/// The loss after `seconds` of training, interpolated linearly between two evaluations; std::nullopt before the first
/// one.
std::optional<double> loss_at(const std::vector<TimedLoss>& losses, double seconds);

}  // namespace linformer
