// Dot products of four rows with one vector or several, from which the decoder's products and logits are made.
#pragma once

#include "kernels/lane_sums.hpp"

namespace linformer::kernels {
namespace {

// How far ahead rows are fetched, in bytes. A step mostly waits for weights to arrive from memory.
constexpr Index fetched_ahead = 2048;

/// Rows of float32, or of bfloat16 in the order of PackedLinear, with float32 vectors.
template <int kCount, class Number>
inline __attribute__((always_inline)) void dot(const Number* const* w, const float* const* x, Index columns,
                                               float (*sums)[4]) {
  constexpr bool pairs = sizeof(Number) == 2;
  constexpr Index step = pairs ? 2 * vector_width : vector_width;
  Vector sum[kCount][4] = {};
  for (Index k = 0; k < columns; k += step) {
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      if constexpr (kCount == 1) __builtin_prefetch(reinterpret_cast<const char*>(w[r] + k) + fetched_ahead);
      if constexpr (pairs) {
        const Words both = load_words(w[r] + k);
        const Vector low = reinterpret_cast<Vector>(both << 16), high = reinterpret_cast<Vector>(both & 0xffff0000U);
#pragma GCC unroll 8
        for (int c = 0; c < kCount; ++c) {
          sum[c][r] += low * load(x[c] + k);
          sum[c][r] += high * load(x[c] + k + vector_width);
        }
      } else {
        const Vector weight = load(w[r] + k);
#pragma GCC unroll 8
        for (int c = 0; c < kCount; ++c) sum[c][r] += weight * load(x[c] + k);
      }
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < kCount; ++c) sums_of(sum[c], sums[c]);
}

/// Rows of 8-bit integers with vectors of 16-bit ones.
template <int kCount>
inline __attribute__((always_inline)) void dot(const std::int8_t* const* w, const std::int16_t* const* x, Index columns,
                                               float (*sums)[4]) {
  Integers sum[kCount][4] = {};
  for (Index k = 0; k < columns; k += shorts_width) {
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      if constexpr (kCount == 1) __builtin_prefetch(w[r] + k + fetched_ahead);
      const Shorts weight = widen_bytes(w[r] + k);
#pragma GCC unroll 8
      for (int c = 0; c < kCount; ++c) sum[c][r] = multiply_add(weight, load_shorts(x[c] + k), sum[c][r]);
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < kCount; ++c) sums_of(sum[c], sums[c]);
}

}  // namespace
}  // namespace linformer::kernels
