// metrics.jsonl and the TensorBoard events of a run.
#pragma once

#include <filesystem>
#include <fstream>

#include "linformer/core/json.hpp"

namespace linformer {

/// One JSON object a line, flushed, and the same numbers as TensorBoard scalars. metrics.jsonl is what counts: the
/// event file is made anew from it when a run resumes.
class MetricsLog {
 public:
  /// Opens the run's files. Lines of later steps than `last_step`, and lines that a kill left half-written, are cut
  /// off.
  MetricsLog(const std::filesystem::path& run, std::int64_t last_step);
  /// `line` holds "step" and numbers; "time" (seconds since 1970) is added. UserError when the disk is full.
  void write(json line);

 private:
  void append(std::ofstream& file, const std::filesystem::path& path, const std::string& bytes);
  std::filesystem::path metrics_path_, events_path_;
  std::ofstream metrics_, events_;
};

}  // namespace linformer
