// DecodeKernels::multiply: packed weights times a batch of vectors.
#pragma once

#include "kernels/decode_kernels.hpp"
#include "kernels/dot.hpp"

namespace linformer::kernels {
namespace {

/// Vectors of a batch that go together, as many as the registers hold.
constexpr int product_columns = LINFORMER_PRODUCT_COLUMNS;

template <class T>
const T* row_of(const PackedWeights& weights, Index row) {
  return reinterpret_cast<const T*>(static_cast<const char*>(weights.data) + row * weights.stride);
}

template <class T, int kCount>
void multiply_tile(const Product& p, Index row, Index column) {
  const T* w[4];
  for (int r = 0; r < 4; ++r) w[r] = row_of<T>(p.weights, row + r);
  float sums[kCount][4];
  if constexpr (sizeof(T) == 1) {
    const std::int16_t* x[kCount];
    for (int c = 0; c < kCount; ++c) x[c] = p.quantised.values + (column + c) * p.x_stride;
    dot<kCount>(w, x, p.weights.columns, sums);
    for (int c = 0; c < kCount; ++c) {
      for (int r = 0; r < 4; ++r) sums[c][r] *= p.weights.scales[row + r] * p.quantised.scales[column + c];
    }
  } else {
    const float* x[kCount];
    for (int c = 0; c < kCount; ++c) x[c] = p.x + (column + c) * p.x_stride;
    dot<kCount>(w, x, p.weights.columns, sums);
  }
  for (int c = 0; c < kCount; ++c) {
    float* y = p.y + (column + c) * p.y_stride + row;
    for (int r = 0; r < 4; ++r) {
      const float value = sums[c][r] + (p.weights.bias != nullptr ? p.weights.bias[row + r] : 0.0F);
      y[r] = p.add ? y[r] + value : value;
    }
  }
}

template <class T, int kCount>
void multiply_rest(const Product& p, Index row, Index column) {
  if constexpr (kCount > 0) {
    if (p.batch - column == kCount) return multiply_tile<T, kCount>(p, row, column);
    multiply_rest<T, kCount - 1>(p, row, column);
  }
}

template <class T>
void multiply_rows(const Product& p, Index first, Index last) {
  for (Index row = first; row < last; row += 4) {
    Index column = 0;
    for (; column + product_columns <= p.batch; column += product_columns)
      multiply_tile<T, product_columns>(p, row, column);
    multiply_rest<T, product_columns - 1>(p, row, column);
  }
}

void multiply(const Product& p, Index first, Index last) {
  switch (p.weights.format) {
    case WeightFormat::float32:
      return multiply_rows<float>(p, first, last);
    case WeightFormat::bfloat16:
      return multiply_rows<std::uint16_t>(p, first, last);
    case WeightFormat::int8:
      return multiply_rows<std::int8_t>(p, first, last);
  }
}

}  // namespace
}  // namespace linformer::kernels
