// Rows in shares of a fixed size, spread over the engine's threads.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace linformer::kernels {

constexpr std::int64_t share_rows = 64;

/// Calls `visit(first row, last row)` for each share.
template <class Visit>
void for_row_shares(std::int64_t rows, const Visit& visit) {
  at::parallel_for(0, (rows + share_rows - 1) / share_rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto share = begin; share < end; ++share) visit(share * share_rows, std::min(rows, (share + 1) * share_rows));
  });
}

/// The same with sums of `count` numbers over all rows: `visit(first, last, sums)` adds to those of its share, and those are then added in
/// the order of the shares, so that the result does not depend on the number of threads.
template <class Visit>
std::vector<float> sum_over_rows(std::int64_t rows, std::int64_t count, const Visit& visit) {
  std::vector<float> of_shares(static_cast<std::size_t>((rows + share_rows - 1) / share_rows * count));
  for_row_shares(rows, [&](std::int64_t first, std::int64_t last) { visit(first, last, of_shares.data() + first / share_rows * count); });
  std::vector<float> sums(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < of_shares.size(); ++i) sums[i % sums.size()] += of_shares[i];
  return sums;
}

}  // namespace linformer::kernels
