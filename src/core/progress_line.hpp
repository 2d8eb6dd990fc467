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

/// "train  43% [======        ] 430/1000  1:02 left  loss 3.21" in at most `columns`: the bar shrinks, then goes,
/// before anything is cut. 0 columns: no bar and nothing cut. No total: "read 430  0:12  …".
std::string progress_line(const ProgressState& state, std::size_t columns);

/// Characters of UTF-8 text, and the first `columns` of them.
std::size_t columns_of(std::string_view text);
std::string_view clip_to_columns(std::string_view text, std::size_t columns);

}  // namespace linformer
