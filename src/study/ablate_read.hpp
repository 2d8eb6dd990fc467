// What an ablation reads out of a run's folder.
#pragma once

#include <filesystem>
#include <vector>

#include "linformer/train/trainer.hpp"

namespace linformer {

/// An evaluation on the way, and when: seconds of training before it.
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
/// UserError when the folder holds anything but a run of `config`, or one of another version of the program.
RunState state_of(const std::filesystem::path& run, const RunConfig& config);
/// UserError when a file of the finished run is missing or can't be read.
RunReading read_run(const std::filesystem::path& run, const RunConfig& config);
/// How many tokens its training reads.
std::int64_t tokens_of(const RunConfig& config);
/// The loss after `seconds` of training, between two evaluations by a straight line; std::nullopt before the first one.
std::optional<double> loss_at(const std::vector<TimedLoss>& losses, double seconds);

}  // namespace linformer
