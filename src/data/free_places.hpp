// Places in a row that are taken one after the other.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace linformer {

/// Which of `size` places are free, as a binary indexed tree (Fenwick 1994): each call takes log2(size) steps.
class FreePlaces {
 public:
  explicit FreePlaces(std::int64_t size) : size_(size), counts_(static_cast<std::size_t>(size) + 1) {
    for (std::int64_t i = 1; i <= size; ++i) counts_[static_cast<std::size_t>(i)] = i & -i;
  }
  std::int64_t size() const { return size_; }  ///< how many are free

  /// Takes the free place before which `rank` others are free; 0 ≤ rank < size().
  std::int64_t take(std::int64_t rank) {
    const auto count = static_cast<std::int64_t>(counts_.size()) - 1;
    std::int64_t place = 0;
    for (auto step = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(count))); step > 0;
         step /= 2) {
      if (place + step > count || counts_[static_cast<std::size_t>(place + step)] > rank) continue;
      place += step;
      rank -= counts_[static_cast<std::size_t>(place)];
    }
    for (auto i = place + 1; i <= count; i += i & -i) --counts_[static_cast<std::size_t>(i)];
    --size_;
    return place;
  }

 private:
  std::int64_t size_;
  std::vector<std::int64_t> counts_;
};

}  // namespace linformer
