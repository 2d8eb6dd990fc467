// Small matrix products in registers, on tiles that are in cache: C = factor·A·B, or C += A·B. B and C have rows
// of whole vectors. The numbers of A and B are float32, or pairs of bfloat16 (kernels/operand.hpp).
#pragma once

#include "kernels/operand.hpp"

namespace linformer::kernels {
namespace {

constexpr int micro_rows = LINFORMER_TILE_ROWS, micro_vectors = 2;
static_assert(micro_rows % 2 == 0, "bands begin and end between pairs");

/// What of a product is needed where a tile stands on the diagonal (rows and columns, or rows and depth,
/// number the same positions).
enum class Band { full, columns_from_row, depth_up_to_row, depth_from_row };

template <class Number>
struct Factor {
  const Number* data;
  Index stride;
};

struct Result {
  bool accumulate;
  float factor = 1;  ///< of a product that is not added to anything
};

/// kRows × kVectors of C stay in registers. A is (rows, depth), or with kTransposed (depth, rows).
template <int kRows, int kVectors, bool kTransposed, class Number>
inline void micro_product(Factor<Number> a, Factor<Number> b, float* c, Index c_stride, Index depth, Result result) {
  Vector sum[kRows][kVectors] = {};
  for (Index p = 0; p < depth; ++p) {
    VectorOf<Number> b_row[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) b_row[v] = load_numbers(b.data + p * b.stride + v * vector_width);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const Number number = kTransposed ? a.data[p * a.stride + i] : a.data[i * a.stride + p];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[i][v] = multiply_add(number, b_row[v], sum[i][v]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* at = c + i * c_stride + v * vector_width;
      store(at, result.accumulate ? load(at) + sum[i][v] : result.factor * sum[i][v]);
    }
  }
}

template <int kRows, int kVectors, bool kTransposed, class Number>
inline void micro_product_of(Index rows, Factor<Number> a, Factor<Number> b, float* c, Index c_stride, Index depth,
                             Result result) {
  if (rows == kRows) {
    micro_product<kRows, kVectors, kTransposed>(a, b, c, c_stride, depth, result);
  } else if constexpr (kRows > 1) {
    micro_product_of<kRows - 1, kVectors, kTransposed>(rows, a, b, c, c_stride, depth, result);
  }
}

struct ProductShape {
  Index rows, columns, depth;  // columns: a multiple of the vector width; depth: of float32 or bfloat16 numbers
};

template <bool kTransposed, Band kBand, class Number>
void product(ProductShape shape, Factor<Number> a, Factor<Number> b, float* c, Index c_stride, Result result) {
  constexpr Index wide = micro_vectors * vector_width;
  for (Index column = 0; column < shape.columns; column += wide) {
    const bool narrow = shape.columns - column < wide;
    for (Index row = 0; row < shape.rows; row += micro_rows) {
      const Index rows = shape.rows - row < micro_rows ? shape.rows - row : micro_rows;
      if (kBand == Band::columns_from_row && column + wide <= row) continue;
      const Index first = kBand == Band::depth_from_row ? row / in_number<Number> : 0;
      const bool cut = kBand == Band::depth_up_to_row && row + rows < shape.depth;
      const Index last = numbers_for<Number>(cut ? row + rows : shape.depth);
      const Factor<Number> a_part{kTransposed ? a.data + first * a.stride + row : a.data + row * a.stride + first,
                                  a.stride};
      const Factor<Number> b_part{b.data + first * b.stride + column, b.stride};
      float* c_part = c + row * c_stride + column;
      if (narrow) {
        micro_product_of<micro_rows, 1, kTransposed>(rows, a_part, b_part, c_part, c_stride, last - first, result);
      } else {
        micro_product_of<micro_rows, micro_vectors, kTransposed>(rows, a_part, b_part, c_part, c_stride, last - first,
                                                                 result);
      }
    }
  }
}

}  // namespace
}  // namespace linformer::kernels
