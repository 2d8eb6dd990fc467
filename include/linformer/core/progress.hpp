// Shows the progress of long work on standard error.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace linformer {

/// On a terminal: a bar that redraws itself. Elsewhere: one line now and then, so that log files stay short.
class Progress {
 public:
  /// `total` is the number of steps; 0 = not known. `first` is the step at which a resumed job starts. `quiet` prints
  /// nothing.
  Progress(std::string label, std::int64_t total, std::int64_t first = 0, bool quiet = false);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Tells that step `done` is reached. `detail` ("loss 3.21  9500 tokens/s") is shown after the time left.
  void update(std::int64_t done, std::string_view detail);
  /// Prints `line` on its own line above the bar.
  void note(std::string_view line);
  /// Draws the bar for the last time and ends its line.
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
