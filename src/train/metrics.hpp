// Writes metrics.jsonl and the TensorBoard events of a run.
#pragma once

#include <filesystem>
#include <fstream>

#include "linformer/core/json_fwd.hpp"

namespace linformer {

/// Writes one JSON object per line, at once, and the same numbers as TensorBoard scalars. metrics.jsonl is the
/// original: when a run resumes, the event file is made again from it.
class MetricsLog {
 public:
  /// Opens the run's files. It removes lines of steps after `last_step`, and an incomplete last line, which a killed
  /// process can leave.
  MetricsLog(const std::filesystem::path& run, std::int64_t last_step);
  /// `line` holds "step" and numbers. "time" (seconds since 1970) is added. UserError when the disk is full.
  void write(json line);

 private:
  void append(std::ofstream& file, const std::filesystem::path& path, const std::string& bytes);
  std::filesystem::path metrics_path_, events_path_;
  std::ofstream metrics_, events_;
};

}  // namespace linformer
