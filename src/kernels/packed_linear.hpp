// The weights of a linear layer, arranged once for fast decoding.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/decode_kernels.hpp"

namespace linformer::kernels {

/// Weights (rows × columns) and biases in the layout that DecodeKernels::multiply reads.
class PackedLinear {
 public:
  PackedLinear() = default;
  PackedLinear(std::int64_t rows, std::int64_t columns, WeightFormat format, const DecodeKernels& kernels);
  /// Fills rows from `first`: weight (count × columns, contiguous), bias (count) or null. int8: symmetric, a scale a
  /// row (largest magnitude / 127; NaN where a weight is not finite); bfloat16: rounded to nearest even.
  void set_rows(std::int64_t first, std::int64_t count, const float* weight, const float* bias);

  std::int64_t rows() const { return rows_; }
  std::int64_t padded_rows() const { return (rows_ + 3) / 4 * 4; }  ///< floats that y needs for a product
  std::int64_t columns() const { return columns_; }
  WeightFormat format() const { return format_; }
  std::int64_t bytes() const;  ///< bytes that a product reads
  /// The largest 16-bit integer for which an int8 product over this many columns can't overflow 32 bits.
  float quantise_limit() const;
  PackedWeights weights() const;

 private:
  void pack_row(std::int64_t row, const float* weight);
  struct Free {
    void operator()(std::byte* pointer) const;
  };
  std::int64_t rows_ = 0, columns_ = 0, stride_ = 0, lanes_ = 0;
  WeightFormat format_ = WeightFormat::float32;
  std::unique_ptr<std::byte[], Free> data_;
  std::vector<float> scales_, bias_;
};

}  // namespace linformer::kernels
