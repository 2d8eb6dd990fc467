// Rows of floats for the decoder's kernels. Shape letters: docs/maths.md; S sequences and L rows for which there is
// memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace linformer::nn {

/// Float32 rows (S,H,L,D). Each row is padded for the kernels.
class HeadRows {
 public:
  HeadRows() = default;
  HeadRows(std::int64_t sequences, std::int64_t heads, std::int64_t length, std::int64_t width);
  std::int64_t length() const { return length_; }
  std::int64_t stride() const { return stride_; }  ///< from one row to the next
  std::int64_t bytes_a_sequence() const {
    return heads_ * length_ * stride_ * static_cast<std::int64_t>(sizeof(float));
  }
  float* row(std::int64_t sequence, std::int64_t head, std::int64_t index) {
    return data_.data() + offset(sequence, head, index);
  }
  const float* row(std::int64_t sequence, std::int64_t head, std::int64_t index) const {
    return data_.data() + offset(sequence, head, index);
  }
  /// Fills rows[first, first + its length) of one sequence from (H,·,D).
  void copy(std::int64_t sequence, std::int64_t first, const at::Tensor& rows_HLD);
  /// The other way: (1,H,count,D), as a copy.
  at::Tensor read(std::int64_t sequence, std::int64_t first, std::int64_t count) const;
  void grow(std::int64_t length);

 private:
  std::int64_t offset(std::int64_t sequence, std::int64_t head, std::int64_t index) const {
    return ((sequence * heads_ + head) * length_ + index) * stride_;
  }
  std::int64_t sequences_ = 0, heads_ = 0, length_ = 0, width_ = 0, stride_ = 0;
  std::vector<float> data_;
};

}  // namespace linformer::nn
