// Draws a curve in the terminal.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace linformer {

/// Draws `values` from left to right, in `height` lines of at most `width` columns. The curve is made of braille dots;
/// the axis shows the largest and the smallest value. Values that are not finite are left out. Returns "" when fewer
/// than two are finite.
std::string draw_curve(std::span<const double> values, std::size_t width = 72, std::size_t height = 8);

}  // namespace linformer
