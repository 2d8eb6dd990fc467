// Progress of long work on standard error.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace linformer {

/// A bar that redraws itself on a terminal; elsewhere a line every so often, so that logs stay short.
class Progress {
 public:
  /// `total` steps of `label`; 0 = unknown. `first` is the step that a resumed job starts from. `quiet` prints nothing.
  Progress(std::string label, std::int64_t total, std::int64_t first = 0, bool quiet = false);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Step `done` is reached; `detail` ("loss 3.21  9500 tokens/s") stands behind the time left.
  void update(std::int64_t done, std::string_view detail);
  /// Prints a line of its own above the bar.
  void note(std::string_view line);
  /// Draws the last state and ends the line.
  void finish();

 private:
  void draw(bool last);
  std::string label_, detail_;
  std::int64_t total_, first_, done_;
  bool quiet_, terminal_, drawn_ = false, finished_ = false;
  std::chrono::steady_clock::time_point start_, drawn_at_;
};

/// "1:02:03", "2:03" or "0:03".
std::string format_duration(double seconds);

}  // namespace linformer
