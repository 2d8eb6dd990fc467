// Rotates the heads of each position, for rotary positions. Shape letters: B batch, H heads, N length, D head width.
#pragma once

#include <cstdint>

#include "kernels/attend.hpp"

namespace linformer::kernels {

/// out = x with the pair (i, i + D/2) of each row turned by an angle of its position. D is even.
struct RotaryRows {
  std::int64_t batch, heads, length, width;
  Element element;               ///< of x and out
  ConstView x;                   ///< (B,H,N,D)
  const float* turns;            ///< (N,D): the cosines of a position's D/2 angles, then their sines
  std::int64_t turns_batch = 0;  ///< from one sequence's turns to the next; 0: all have the same
  bool back = false;             ///< by the negative angles, which undoes it and is its gradient
  void* out;                     ///< (B,N,H,D), contiguous
};

/// The positions are divided among LibTorch's threads.
void rotate(const RotaryRows& rows);

}  // namespace linformer::kernels
