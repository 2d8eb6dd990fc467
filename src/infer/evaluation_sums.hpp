// What an evaluation adds up over its batches, apart from the loss. Shape letters: B rows of a batch, N length, Q
// targets.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "linformer/infer/evaluate.hpp"

namespace linformer {

/// Counts correct answers by distance.
class Answers {
 public:
  explicit Answers(std::int64_t length) : range_((length + kRanges - 1) / kRanges) {}
  void add(const at::Tensor& right_Q, const at::Tensor& distances_Q);
  void report(Evaluation& result) const;

 private:
  static constexpr std::int64_t kRanges = 16;
  std::int64_t range_;
  std::array<std::pair<std::int64_t, std::int64_t>, kRanges> counts_{};  // queries, and those answered
};

/// Counts the keys of a passkey test that were found, by the depth at which they were hidden.
class Keys {
 public:
  /// The answers to the targets of a part of the batch. Those to one key may stand in two parts.
  void add(const at::Tensor& right_Q, const at::Tensor& targets_BN);
  void end_batch(const at::Tensor& depths_B);
  void report(Evaluation& result) const;

 private:
  static constexpr std::int64_t kRanges = 10;
  struct Sum {
    std::int64_t keys = 0, tokens = 0, right = 0, found = 0;
  };
  std::vector<Sum> asked_;  // of the batch
  std::array<Sum, kRanges> sums_{};
};

/// Adds up losses by octaves of positions: over all windows, and of each window for the error of the mean.
class Octaves {
 public:
  static constexpr std::int64_t kFirst = 128;  ///< positions in the first of them

  /// Calls `visit(from, count)` for the parts of the positions [first, first + count) of a window of the batch in
  /// different octaves, and adds the score that it returns.
  template <class Visit>
  void over(std::size_t row, std::int64_t first, std::int64_t count, const Visit& visit) {
    if (row >= windows_.size()) windows_.resize(row + 1);
    for (auto at = first; at < first + count;) {
      const auto octave = octave_of(at);
      const auto end = std::min(first + count, kFirst << octave);
      if (octave >= windows_[row].size()) windows_[row].resize(octave + 1);
      const Score score = visit(at - first, end - at);
      windows_[row][octave].loss += score.loss;
      windows_[row][octave].targets += score.targets;
      at = end;
    }
  }
  void end_batch();
  std::vector<PositionLoss> losses(std::int64_t length) const;

 private:
  struct Sum {
    double loss = 0, squares = 0, products = 0, counts = 0;  // Σ l, Σ l², Σ l·c, Σ c² of windows of loss l, c targets
    std::int64_t targets = 0, windows = 0;
    void add(const Score& window);
    std::optional<double> error(double mean) const;
  };
  static std::size_t octave_of(std::int64_t position) {
    std::size_t octave = 0;
    while (position >= kFirst << octave) ++octave;
    return octave;
  }
  std::vector<std::vector<Score>> windows_;  // of the batch
  std::vector<Sum> sums_;
};

}  // namespace linformer
