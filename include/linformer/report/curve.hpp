// A curve in the terminal.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace linformer {

/// Values from left to right as `height` lines of at most `width` columns: braille dots behind an axis that names the
/// largest and the smallest value. Values that are not finite are left out; fewer than two finite ones give "".
std::string draw_curve(std::span<const double> values, std::size_t width = 72, std::size_t height = 8);

}  // namespace linformer
