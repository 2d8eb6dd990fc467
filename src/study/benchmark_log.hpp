// DIR/benchmark.jsonl. Lines are appended one by one, and read again by the next start.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "linformer/core/folder_lock.hpp"
#include "linformer/core/json.hpp"
#include "linformer/study/benchmark_point.hpp"

namespace linformer {

class BenchmarkLog {
 public:
  /// Holds the folder, reads the file, and mends a last line that a kill cut; `fresh` empties it. UserError when the
  /// folder or file can't be made, is in use or holds other things.
  BenchmarkLog(const std::filesystem::path& folder, bool fresh);
  ~BenchmarkLog();
  BenchmarkLog(const BenchmarkLog&) = delete;
  BenchmarkLog& operator=(const BenchmarkLog&) = delete;

  const std::vector<json>& lines() const { return lines_; }
  const std::vector<std::string>& remarks() const { return remarks_; }  ///< what was mended or passed over
  /// The newest line of this point.
  std::optional<json> find(const BenchmarkPoint& point) const;
  /// The line is on disk when this returns; it is written by one call.
  void append(const json& line);
  /// Adds lines that are computed from the points. A line that is already there isn't repeated, unless points were
  /// appended since, because then another line may be the newest.
  void append_result(const json& line);

 private:
  void read();
  std::filesystem::path path_;
  std::optional<FolderLock> lock_;
  int descriptor_ = -1;
  bool grown_ = false;  // by a point
  std::vector<json> lines_;
  std::vector<std::string> remarks_;
};

}  // namespace linformer
