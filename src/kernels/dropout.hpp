// Dropout with a mask from a counter. Shape letters: B sequences, N positions, h width.
#pragma once

#include <cstdint>

#include "kernels/attend.hpp"

namespace linformer::kernels {

/// out = x where its number is at least `threshold`, times `scale`; else x · 0. Arrays (B,N,h) are contiguous. Channel
/// 64·j + 16·i + l of position p in sequence b has number i of Philox4x32-10 at the counter (16·j + l, p, b, site).
struct DropoutRows {
  std::int64_t sequences, length, width;
  Element element;  ///< of x and out
  const void* x;
  void* out;
  std::uint64_t seed;
  std::int64_t site, position;  ///< `position`: of the first row of each sequence
  std::uint32_t threshold;      ///< of 2³²
  float scale;
};

/// The rows are divided among LibTorch's threads; their number doesn't change the result.
void dropout(const DropoutRows& rows);

}  // namespace linformer::kernels
