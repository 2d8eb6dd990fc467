// Sums over rows on several threads. The rows are divided into parts of a fixed size, so the result doesn't depend on
// the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/parallel.hpp"

namespace linformer::kernels {

constexpr std::int64_t share_rows = 64;

/// Sums of `count` numbers over all rows. `visit(first row, last row, sums)` adds its part; the parts are then added in
/// order.
template <class Visit>
std::vector<float> sum_over_rows(std::int64_t rows, std::int64_t count, const Visit& visit) {
  const auto shares = (rows + share_rows - 1) / share_rows;
  std::vector<float> of_shares(static_cast<std::size_t>(shares * count)), sums(static_cast<std::size_t>(count));
  parallel_for(0, shares, 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto share = begin; share < end; ++share) {
      visit(share * share_rows, std::min(rows, (share + 1) * share_rows), of_shares.data() + share * count);
    }
  });
  for (std::int64_t share = 0; share < shares; ++share) {
    const float* of_share = of_shares.data() + share * count;
    for (std::int64_t i = 0; i < count; ++i) sums[static_cast<std::size_t>(i)] += of_share[i];
  }
  return sums;
}

}  // namespace linformer::kernels
