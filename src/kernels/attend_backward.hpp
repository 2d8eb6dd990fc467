// Backward of the attend kernel. With P the weights and G the output's gradient: δ = Σ_d G·O a row, dS = P ⊙
// (G Vᵀ − δ), dV = Pᵀ G, dQ = scale·dS K, dK = scale·dSᵀ Q. P is made again from the scores and the forward's
// log-sum.
#pragma once

#include "kernels/product.hpp"
#include "kernels/tile.hpp"

namespace linformer::kernels {
namespace {

struct BackwardScratch {
  float *query, *query_transposed, *grad_output, *grad_output_transposed, *grad_query, *key, *value,
      *grad_key, *grad_value;
  float *weights, *grad_weights, *log_sum, *delta;
  Held* held;
};

inline Index backward_scratch_floats(Index width) {
  return 9 * tile_rows * whole_vectors(width) + 2 * tile_floats + 4 * tile_rows;
}

inline BackwardScratch backward_scratch(Index width, float* memory, Held& held) {
  const Index tile = tile_rows * whole_vectors(width);
  float* after = memory + 9 * tile;
  return {memory,
          memory + tile,
          memory + 2 * tile,
          memory + 3 * tile,
          memory + 4 * tile,
          memory + 5 * tile,
          memory + 6 * tile,
          memory + 7 * tile,
          memory + 8 * tile,
          after,
          after + tile_floats,
          after + 2 * tile_floats,
          after + 2 * tile_floats + tile_rows,
          &held};
}

/// Weights and gradients of the scores from scores and gradients of the weights, in place, both (X, M).
/// Returns the sum of the latter.
inline float softmax_backward(Index count, Index queries, float bias, bool diagonal,
                              const BackwardScratch& scratch) {
  const Vector lanes = lane_numbers();
  Vector total{};
  for (Index x = 0; x < count; ++x) {
    float *weights = scratch.weights + x * tile_rows, *grads = scratch.grad_weights + x * tile_rows;
    for (Index m = 0; m < queries; m += vector_width) {
      Vector weight{}, grad{};
      if (!diagonal || m + vector_width > x) {
        weight = exponential(load(weights + m) - (load(scratch.log_sum + m) - bias));
        grad = weight * (load(grads + m) - load(scratch.delta + m));
        if (diagonal) {
          const Integers later = lanes + static_cast<float>(m) < static_cast<float>(x);
          weight = later ? Vector{} : weight;
          grad = later ? Vector{} : grad;
        }
      }
      store(weights + m, weight);
      store(grads + m, grad);
      total += grad;
    }
  }
  return sum_of(total);
}

inline void add_tile(const float* from, Index rows, Index width, float* to, Index to_stride) {
  const Index stride = whole_vectors(width);
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < width; ++j) to[i * to_stride + j] += from[i * stride + j];
  }
}

/// Σ over queries of weights (X, M) times rows, added to `to`: straight into it where its rows are whole
/// vectors.
template <bool kDiagonal>
void add_product(Index count, Index rows, Index width, const float* weights, const float* factor, float* to,
                 Index to_stride, float* between) {
  constexpr Band band = kDiagonal ? Band::depth_from_row : Band::full;
  const Index stride = whole_vectors(width);
  const ProductShape shape{count, stride, rows};
  if (stride == width) {
    product<false, band>(shape, {weights, tile_rows}, {factor, stride}, to, to_stride, true);
  } else {
    product<false, band>(shape, {weights, tile_rows}, {factor, stride}, between, stride, false);
    add_tile(between, count, width, to, to_stride);
  }
}

template <bool kDiagonal, class Element>
float backward_columns(const AttendInputs& inputs, const QueryTile& tile, const Columns<Element>& columns,
                       const BackwardScratch& scratch) {
  const Index width = inputs.shape.width, stride = whole_vectors(width), rows = tile.last - tile.first;
  const Index queries = whole_vectors(rows), count = columns.count;
  load_columns(columns, width, scratch.key, scratch.value, scratch.held);
  const ProductShape score_shape{count, queries, width};
  constexpr Band score_band = kDiagonal ? Band::columns_from_row : Band::full;
  product<false, score_band>(score_shape, {scratch.key, stride}, {scratch.query_transposed, tile_rows},
                             scratch.weights, tile_rows, false);
  product<false, score_band>(score_shape, {scratch.value, stride},
                             {scratch.grad_output_transposed, tile_rows}, scratch.grad_weights, tile_rows,
                             false);
  const float bias = columns.slots && inputs.slot_bias != nullptr ? inputs.slot_bias[tile.head] : 0.0F;
  const float total = softmax_backward(count, queries, bias, kDiagonal, scratch);
  add_product<kDiagonal>(count, rows, width, scratch.weights, scratch.grad_output, columns.grad_value,
                         columns.grad_value_stride, scratch.grad_value);
  add_product<kDiagonal>(count, rows, width, scratch.grad_weights, scratch.query, columns.grad_key,
                         columns.grad_key_stride, scratch.grad_key);
  product<true, kDiagonal ? Band::depth_up_to_row : Band::full>(
      {rows, stride, count}, {scratch.grad_weights, tile_rows}, {scratch.key, stride}, scratch.grad_query,
      stride, true);
  return columns.slots ? total : 0.0F;
}

/// Where the gradients of a range's keys and slots go.
struct GradientPlaces {
  const AttendInputs& inputs;
  const AttendGradients& gradients;
  const AttendRange& range;
  const AttendShares& shares;

  template <class Columns>
  void of_window(Index at, Columns& columns) const {
    const Index width = inputs.shape.width, first = range.first * inputs.shape.window,
                border = first - inputs.shape.window;
    if (at < first && shares.border_key != nullptr) {
      columns.grad_key = shares.border_key + (at - border) * width, columns.grad_key_stride = width;
      columns.grad_value = shares.border_value + (at - border) * width, columns.grad_value_stride = width;
    } else {
      columns.grad_key = rows_of(gradients.key, range.batch, range.head) + at * gradients.key.row;
      columns.grad_value = rows_of(gradients.value, range.batch, range.head) + at * gradients.value.row;
      columns.grad_key_stride = gradients.key.row, columns.grad_value_stride = gradients.value.row;
    }
  }

  template <class Columns>
  void of_slots(Index block, Index at, Columns& columns) const {
    const Index width = inputs.shape.width;
    if (shares.slot_key != nullptr) {
      columns.grad_key = shares.slot_key + at * width, columns.grad_key_stride = width;
      columns.grad_value = shares.slot_value + at * width, columns.grad_value_stride = width;
      return;
    }
    const Index own = inputs.shape.kind == SlotKind::running ? block : 0;
    columns.grad_key = rows_of(gradients.slot_key, range.batch, range.head) + own * gradients.slot_key.block +
                       at * gradients.slot_key.row;
    columns.grad_value = rows_of(gradients.slot_value, range.batch, range.head) +
                         own * gradients.slot_value.block + at * gradients.slot_value.row;
    columns.grad_key_stride = gradients.slot_key.row, columns.grad_value_stride = gradients.slot_value.row;
  }
};

/// The queries' side of a tile: rows, transposed rows, and each row's log-sum and δ.
template <class Element>
void load_queries(const AttendInputs& inputs, const AttendGradients& gradients, const QueryTile& tile,
                  const BackwardScratch& scratch) {
  const auto& shape = inputs.shape;
  const Index width = shape.width, stride = whole_vectors(width), rows = tile.last - tile.first;
  const auto tile_of = [&](const ConstView& view) {
    return rows_of<Element>(view, tile.batch, tile.head).from(tile.first);
  };
  load_tile(tile_of(inputs.query), rows, tile_rows, width, inputs.scale, scratch.query);
  transpose_tile(scratch.query, tile_rows, width, scratch.query_transposed);
  load_tile(tile_of(gradients.grad_output), rows, tile_rows, width, 1.0F, scratch.grad_output);
  transpose_tile(scratch.grad_output, tile_rows, width, scratch.grad_output_transposed);
  load_tile(tile_of(gradients.output), rows, tile_rows, width, 1.0F, scratch.grad_query);
  const float* log_sum =
      gradients.log_sum + (tile.batch * shape.heads + tile.head) * shape.length + tile.first;
  for (Index i = 0; i < tile_rows; ++i) {
    Vector delta{};
    for (Index j = 0; j < stride; j += vector_width)
      delta += load(scratch.grad_output + i * stride + j) * load(scratch.grad_query + i * stride + j);
    scratch.delta[i] = sum_of(delta);
    scratch.log_sum[i] = i < rows ? log_sum[i] : 0.0F;
  }
  for (Index i = 0; i < rows * stride; ++i) scratch.grad_query[i] = 0;
}

template <class Element>
void backward_range(const AttendInputs& inputs, const AttendGradients& gradients, const AttendRange& range,
                    const AttendShares& shares, float* memory) {
  const Index width = inputs.shape.width, stride = whole_vectors(width);
  Held held{nullptr, nullptr, 0};
  const auto scratch = backward_scratch(width, memory, held);
  const GradientPlaces places{inputs, gradients, range, shares};
  double slot_total = 0;
  for_query_tiles(inputs.shape, range, [&](const QueryTile& tile) {
    load_queries<Element>(inputs, gradients, tile, scratch);
    for_columns<Element>(inputs, tile, places, [&](const Columns<Element>& columns) {
      slot_total +=
          static_cast<double>(columns.diagonal ? backward_columns<true>(inputs, tile, columns, scratch)
                                               : backward_columns<false>(inputs, tile, columns, scratch));
    });
    float* to = rows_of(gradients.query, tile.batch, tile.head) + tile.first * gradients.query.row;
    for (Index i = 0; i < tile.last - tile.first; ++i) {
      for (Index j = 0; j < width; ++j)
        to[i * gradients.query.row + j] = inputs.scale * scratch.grad_query[i * stride + j];
    }
  });
  *shares.slot_bias = static_cast<float>(slot_total);
}

}  // namespace
}  // namespace linformer::kernels
