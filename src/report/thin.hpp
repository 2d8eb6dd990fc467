// Long curves with fewer points.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace linformer::report {

/// Indices of at most `points` values (at least 4), in order. They keep the first value, the last value, and the
/// extremes of each stretch between. Returns all indices if there are no more than that. NaN is not an extreme.
std::vector<std::size_t> thin_keeping_extremes(std::span<const double> values, std::size_t points);

}  // namespace linformer::report
