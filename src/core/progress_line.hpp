// The text of a progress line, apart from when and where it is drawn.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace linformer {

struct ProgressState {
  std::string_view label, detail;
  std::int64_t total = 0, first = 0, done = 0;
  double seconds = 0;  ///< since `first`
  bool finished = false;
};

/// "train  43% [======>       ] 430/1000  1:02 left  loss 3.21", or without `bar` the same without the bar; no total: "read 430  0:12  …".
std::string progress_line(const ProgressState& state, bool bar);

/// The first `columns` characters of UTF-8 text.
std::string_view clip_to_columns(std::string_view text, std::size_t columns);

}  // namespace linformer
