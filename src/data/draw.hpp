// Generated batches: their rows, and random numbers that depend only on a seed and a position, so that no generator
// state must be stored.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "linformer/core/error.hpp"

namespace linformer {

/// The last step of splitmix64 (Steele, Lea and Flood 2014): every bit of `x` changes every bit of the result.
inline std::uint64_t scramble(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
  x = (x ^ x >> 27) * 0x94D049BB133111EB;
  return x ^ x >> 31;
}

/// Turns 64 random bits into a number in [0, bound), nearly uniform: the bias is below bound / 2^64.
inline std::int64_t below(std::uint64_t bits, std::int64_t bound) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::int64_t>(Wide{bits} * static_cast<std::uint64_t>(bound) >> 64);
}

/// 64 bits for each (seed, index, row).
inline std::uint64_t bits_at(std::uint64_t seed, std::int64_t index, std::int64_t row) {
  return scramble(scramble(scramble(seed) ^ static_cast<std::uint64_t>(index)) ^ static_cast<std::uint64_t>(row));
}

/// Of batches of `batch` rows, with `limit` rows in all; −1: without end. Batches are then −1.
inline std::int64_t batches_of(std::int64_t batch, std::int64_t limit) {
  return limit < 0 ? -1 : (limit + batch - 1) / batch;
}
/// Rows of the batch `index`. `kind` names the data in the UserError for a batch that there is not.
inline std::int64_t rows_of_batch(std::string_view kind, std::int64_t index, std::int64_t batch, std::int64_t limit) {
  if (limit < 0) return batch;
  require(index >= 0 && index < batches_of(batch, limit), "{} batch {} asked, there are {}", kind, index,
          batches_of(batch, limit));
  return std::min(batch, limit - index * batch);
}

/// A stream of numbers that starts from (seed, index, row).
class Draws {
 public:
  Draws(std::uint64_t seed, std::int64_t index, std::int64_t row) : state_(bits_at(seed, index, row)) {}
  std::uint64_t bits() { return scramble(state_ += 0x9E3779B97F4A7C15); }
  std::int64_t below(std::int64_t bound) { return linformer::below(bits(), bound); }
  /// In (0, 1].
  double unit() { return static_cast<double>((bits() >> 11) + 1) * 0x1p-53; }

 private:
  std::uint64_t state_;
};

}  // namespace linformer
