// Long curves with fewer points.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace linformer::report {

/// Indices of at most `points` values (at least 4) that keep the first, the last and the extremes of every stretch, in
/// order. All indices when there are no more than that. NaN counts as no extreme.
std::vector<std::size_t> thin_keeping_extremes(std::span<const double> values, std::size_t points);

}  // namespace linformer::report
