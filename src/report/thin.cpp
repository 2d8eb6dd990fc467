#include "report/thin.hpp"

#include <algorithm>
#include <numeric>

namespace linformer::report {

std::vector<std::size_t> thin_keeping_extremes(std::span<const double> values, std::size_t points) {
  points = std::max<std::size_t>(points, 4);
  std::vector<std::size_t> kept;
  if (values.size() <= points) {
    kept.resize(values.size());
    std::iota(kept.begin(), kept.end(), std::size_t{0});
    return kept;
  }
  const auto stretches = (points - 2) / 2;
  kept.push_back(0);
  for (std::size_t i = 0; i < stretches; ++i) {
    const auto begin = values.size() * i / stretches, end = values.size() * (i + 1) / stretches;
    auto low = begin, high = begin;
    for (auto k = begin + 1; k < end; ++k) {
      // A comparison with NaN is false, so a NaN at `begin` must give way.
      if (values[k] < values[low] || values[low] != values[low]) low = k;
      if (values[k] > values[high] || values[high] != values[high]) high = k;
    }
    kept.push_back(std::min(low, high));
    kept.push_back(std::max(low, high));
  }
  kept.push_back(values.size() - 1);
  kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
  return kept;
}

}  // namespace linformer::report
