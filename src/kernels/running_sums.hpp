// The sums of running slots: a block of rows that comes to them, and the way back. Sums are float32 (K,D) in rows of
// whole vectors.
#pragma once

#include "kernels/tile.hpp"

namespace linformer::kernels {
namespace {

/// Hands out parts of a piece of memory; without one it only counts.
struct Arena {
  float* base;
  Index used = 0;

  template <class Number>
  Number* take(Index floats) {
    float* at = base == nullptr ? nullptr : base + used;
    used += (floats + 15) / 16 * 16;
    return reinterpret_cast<Number*>(at);
  }
};

template <class Number>
struct SumScratch {
  Number *weights, *rows, *transposed, *by_row, *by_depth;
  float* between;
};

template <class Number>
SumScratch<Number> sum_scratch(Arena& arena, Index slots, Index width) {
  const Index stride = whole_vectors(width);
  return {arena.take<Number>(tile_floats),          arena.take<Number>(tile_rows * stride),
          arena.take<Number>(tile_rows * stride),   arena.take<Number>(slots * stride),
          arena.take<Number>((slots + 1) * stride), arena.take<float>(tile_floats)};
}

/// One block of one side of a head: what it is, and what each slot takes of it.
template <class Element>
struct BlockWrite {
  Rows<Element> weights;  // (K,W)
  Rows<Element> rows;     // (W,D)
  Index slots, window, width;
};

/// sums += weights · rows.
template <class Element, class Number>
void add_block(const BlockWrite<Element>& block, float* sums, const SumScratch<Number>& scratch) {
  const Index width = block.width, stride = whole_vectors(width);
  for (Index w = 0; w < block.window; w += tile_rows) {
    const Index depth = smaller(tile_rows, block.window - w);
    const auto rows = block.rows.from(w);
    if (in_number<Number> == 1) load_tile(rows, depth, depth, width, scratch.rows);
    depth_of(rows, depth, width, scratch.rows, scratch.rows);
    for (Index k = 0; k < block.slots; k += tile_rows) {
      const Index count = smaller(tile_rows, block.slots - k);
      load_tile(Rows<Element>{block.weights.from(k).data + w, block.weights.stride}, count, count, depth,
                scratch.weights);
      product<false, Band::full>({count, stride, depth}, Factor<Number>{scratch.weights, row_stride<Number>(depth)},
                                 Factor<Number>{scratch.rows, stride}, sums + k * stride, stride, {.accumulate = true});
    }
  }
}

/// A gradient of sums as a factor whose depth is D.
inline Factor<float> sums_by_row(const float* sums, Index, Index stride, float*) { return {sums, stride}; }

inline Factor<Pair> sums_by_row(const float* sums, Index slots, Index stride, Pair* to) {
  const Index pairs = whole_vectors(stride / 2);
  for (Index k = 0; k < slots; ++k) {
    auto* row = reinterpret_cast<std::uint16_t*>(to + k * pairs);
    for (Index j = 0; j < stride; j += vector_width) store_narrow(row + j, load(sums + k * stride + j));
  }
  return {to, pairs};
}

/// The same as a factor whose depth is K.
inline Factor<float> sums_by_depth(const float* sums, Index, Index stride, float*) { return {sums, stride}; }

inline Factor<Pair> sums_by_depth(const float* sums, Index slots, Index stride, Pair* to) {
  for (Index k = 0; k < slots; k += 2) {
    for (Index j = 0; j < stride; j += vector_width) {
      const Words low = __builtin_convertvector(narrowed(load(sums + k * stride + j)), Words);
      const Vector next = k + 1 < slots ? load(sums + (k + 1) * stride + j) : Vector{};
      const Words high = __builtin_convertvector(narrowed(next), Words);
      *reinterpret_cast<UnalignedWords*>(to + k / 2 * stride + j) = low | high << 16;
    }
  }
  return {to, stride};
}

/// grad_rows (W,D, rows of whole vectors) = weightsᵀ · grad.
template <class Element, class Number>
void rows_of_block_backward(const BlockWrite<Element>& block, const float* grad, float* grad_rows,
                            const SumScratch<Number>& scratch) {
  const Index stride = whole_vectors(block.width);
  const auto factor = sums_by_depth(grad, block.slots, stride, scratch.by_depth);
  for (Index w = 0; w < block.window; w += tile_rows) {
    const Index rows = smaller(tile_rows, block.window - w);
    for (Index k = 0; k < block.slots; k += tile_rows) {
      const Index depth = smaller(tile_rows, block.slots - k);
      const Rows<Element> weights{block.weights.from(k).data + w, block.weights.stride};
      if (in_number<Number> == 1) load_tile(weights, depth, depth, rows, scratch.weights);
      depth_of(weights, depth, rows, scratch.weights, scratch.weights);
      product<true, Band::full>({rows, stride, depth}, Factor<Number>{scratch.weights, whole_vectors(rows)},
                                Factor<Number>{factor.data + k / in_number<Number> * factor.stride, factor.stride},
                                grad_rows + w * stride, stride, {.accumulate = k > 0});
    }
  }
}

/// grad_weights (K,W) += grad · rowsᵀ.
template <class Element, class Number>
void weights_of_block_backward(const BlockWrite<Element>& block, const float* grad, float* grad_weights,
                               Index grad_stride, const SumScratch<Number>& scratch) {
  const Index width = block.width, stride = whole_vectors(width);
  const auto factor = sums_by_row(grad, block.slots, stride, scratch.by_row);
  for (Index w = 0; w < block.window; w += tile_rows) {
    const Index rows = smaller(tile_rows, block.window - w), columns = whole_vectors(rows);
    load_tile(block.rows.from(w), rows, tile_rows, width, scratch.rows);
    transpose_tile(scratch.rows, tile_rows, width, scratch.transposed);
    for (Index k = 0; k < block.slots; k += tile_rows) {
      const Index count = smaller(tile_rows, block.slots - k);
      const Factor<Number> own{factor.data + k * factor.stride, factor.stride}, other{scratch.transposed, tile_rows};
      float* to = grad_weights + k * grad_stride + w;
      if (columns == rows) {
        product<false, Band::full>({count, columns, width}, own, other, to, grad_stride, {.accumulate = true});
        continue;
      }
      product<false, Band::full>({count, columns, width}, own, other, scratch.between, tile_rows,
                                 {.accumulate = false});
      for (Index i = 0; i < count; ++i) {
        for (Index j = 0; j < rows; ++j) to[i * grad_stride + j] += scratch.between[i * tile_rows + j];
      }
    }
  }
}

}  // namespace
}  // namespace linformer::kernels
