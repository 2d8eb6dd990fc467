// Backward pass of the attend kernel. With the weights P and the output's gradient G: δ = Σ_d G·O for each row, dS = P
// ⊙ (G Vᵀ − δ), dV = Pᵀ G, dQ = scale·dS K, dK = scale·dSᵀ Q. P is computed again from the scores and the forward
// pass's log-sum.
#pragma once

#include "kernels/tile.hpp"

namespace linformer::kernels {
namespace {

/// A tile of queries and its gradient; `depth`: its rows as the depth of a product, the same memory as the rows where
/// these serve as they are.
template <class Number>
struct QueryRows {
  Number *rows, *transposed, *depth;
  float* grad;
};

/// Working memory; *_depth as above. Slots without a query of their own share that of the window.
template <class Number>
struct BackwardScratch {
  QueryRows<Number> query, slot_query;
  Number *grad_output, *grad_output_transposed, *grad_output_depth, *key, *key_depth, *value, *packed;
  float *grad_key, *grad_value, *weights, *grad_weights, *log_sum, *delta;
  Held* held;
};

inline Index backward_scratch_floats(Index width) {
  return 16 * tile_rows * whole_vectors(width) + 3 * tile_floats + 2 * tile_rows;
}

template <class Number>
BackwardScratch<Number> backward_scratch(Index width, float* memory, bool own_slot_query, Held& held) {
  const Index tile = tile_rows * whole_vectors(width);
  const auto numbers = [&](Index number) { return reinterpret_cast<Number*>(memory + number * tile); };
  const auto depth = [&](Index rows, Index own) { return numbers(in_number<Number> == 1 ? rows : own); };
  float *after = memory + 12 * tile, *last = after + 3 * tile_floats + 2 * tile_rows;
  const QueryRows<Number> query{numbers(0), numbers(1), depth(0, 2), memory + 9 * tile};
  const auto own = [&](Index number) { return reinterpret_cast<Number*>(last + number * tile); };
  const QueryRows<Number> slot_query{own(0), own(1), own(in_number<Number> == 1 ? 0 : 2), last + 3 * tile};
  return {query,
          own_slot_query ? slot_query : query,
          numbers(3),
          numbers(4),
          depth(3, 5),
          numbers(6),
          depth(6, 7),
          numbers(8),
          reinterpret_cast<Number*>(after),
          memory + 10 * tile,
          memory + 11 * tile,
          after + tile_floats,
          after + 2 * tile_floats,
          after + 3 * tile_floats,
          after + 3 * tile_floats + tile_rows,
          &held};
}

/// Weights and gradients of the scores, times `scale`, from scores and gradients of the weights, in place, both (X, M).
/// Returns the sum of the latter without `scale`; with kRows, `row_sums` takes in that of each row too.
template <bool kRows, class Number>
float softmax_backward(Index count, Index queries, float bias, float scale, bool diagonal,
                       const BackwardScratch<Number>& scratch, float* row_sums) {
  const Vector lanes = lane_numbers();
  Vector total{};
  for (Index x = 0; x < count; ++x) {
    float *weights = scratch.weights + x * tile_rows, *grads = scratch.grad_weights + x * tile_rows;
    Vector row{};
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
      store(grads + m, scale * grad);
      total += grad;
      if constexpr (kRows) row += grad;
    }
    if constexpr (kRows) row_sums[x] += sum_of(row);
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
template <bool kDiagonal, class Number>
void add_product(Index count, Index rows, Index width, Factor<Number> weights, const Number* factor, float* to,
                 Index to_stride, float* between) {
  constexpr Band band = kDiagonal ? Band::depth_from_row : Band::full;
  const Index stride = whole_vectors(width);
  const ProductShape shape{count, stride, rows};
  const Factor<Number> other{factor, stride};
  if (stride == width) {
    product<false, band>(shape, weights, other, to, to_stride, {.accumulate = true});
  } else {
    product<false, band>(shape, weights, other, between, stride, {.accumulate = false});
    add_tile(between, count, width, to, to_stride);
  }
}

template <bool kDiagonal, class Element, class Number>
float backward_columns(const AttendInputs& inputs, const QueryTile& tile, const Columns<Element>& columns,
                       const BackwardScratch<Number>& scratch) {
  const Index width = inputs.shape.width, stride = whole_vectors(width), rows = tile.last - tile.first;
  const Index queries = whole_vectors(rows), count = columns.count, number_stride = row_stride<Number>(width);
  if (take(columns, scratch.held)) {
    load_tile(columns.key, count, count, width, scratch.key);
    load_tile(columns.value, count, count, width, scratch.value);
    depth_of(columns.key, count, width, scratch.key, scratch.key_depth);
  }
  const auto& query = columns.slots ? scratch.slot_query : scratch.query;
  const ProductShape score_shape{count, queries, width};
  constexpr Band score_band = kDiagonal ? Band::columns_from_row : Band::full;
  product<false, score_band>(score_shape, Factor<Number>{scratch.key, number_stride},
                             Factor<Number>{query.transposed, tile_rows}, scratch.weights, tile_rows,
                             {.accumulate = false, .factor = inputs.scale});
  product<false, score_band>(score_shape, Factor<Number>{scratch.value, number_stride},
                             Factor<Number>{scratch.grad_output_transposed, tile_rows}, scratch.grad_weights, tile_rows,
                             {.accumulate = false});
  const float bias = columns.slots && inputs.slot_bias != nullptr ? inputs.slot_bias[tile.head] : 0.0F;
  if (columns.offset != nullptr) add_offsets(scratch.weights, count, queries, columns.offset);
  const float total =
      columns.grad_offset != nullptr
          ? softmax_backward<true>(count, queries, bias, inputs.scale, kDiagonal, scratch, columns.grad_offset)
          : softmax_backward<false>(count, queries, bias, inputs.scale, kDiagonal, scratch, nullptr);
  add_product<kDiagonal>(count, rows, width, rows_of_scores(scratch.weights, count, rows, scratch.packed),
                         scratch.grad_output_depth, columns.grad_value, columns.grad_value_stride, scratch.grad_value);
  add_product<kDiagonal>(count, rows, width, rows_of_scores(scratch.grad_weights, count, rows, scratch.packed),
                         query.depth, columns.grad_key, columns.grad_key_stride, scratch.grad_key);
  product<true, kDiagonal ? Band::depth_up_to_row : Band::full>(
      {rows, stride, count}, columns_of_scores(scratch.grad_weights, count, queries, scratch.packed),
      Factor<Number>{scratch.key_depth, stride}, query.grad, stride, {.accumulate = true});
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
      const Index row = inputs.shape.past() + at;
      columns.grad_key = rows_of(gradients.key, range.batch, range.head) + row * gradients.key.row;
      columns.grad_value = rows_of(gradients.value, range.batch, range.head) + row * gradients.value.row;
      columns.grad_key_stride = gradients.key.row, columns.grad_value_stride = gradients.value.row;
    }
  }

  template <class Columns>
  void of_sinks(Index at, Columns& columns) const {
    if (shares.sink_key != nullptr) {
      const Index width = inputs.shape.width;
      columns.grad_key = shares.sink_key + at * width, columns.grad_key_stride = width;
      columns.grad_value = shares.sink_value + at * width, columns.grad_value_stride = width;
      return;
    }
    columns.grad_key = rows_of(gradients.sink_key, range.batch, range.head) + at * gradients.sink_key.row;
    columns.grad_value = rows_of(gradients.sink_value, range.batch, range.head) + at * gradients.sink_value.row;
    columns.grad_key_stride = gradients.sink_key.row, columns.grad_value_stride = gradients.sink_value.row;
  }

  template <class Columns>
  void of_slots(Index block, Index at, Columns& columns) const {
    const Index width = inputs.shape.width;
    float* offset = gradients.slot_offset.of(range.batch, range.head, block);
    if (offset != nullptr) columns.grad_offset = offset + at;
    if (shares.slot_key != nullptr) {
      columns.grad_key = shares.slot_key + at * width, columns.grad_key_stride = width;
      columns.grad_value = shares.slot_value + at * width, columns.grad_value_stride = width;
      return;
    }
    const Index own = inputs.shape.kind == SlotKind::running ? block : 0;
    columns.grad_key = rows_of(gradients.slot_key, range.batch, range.head) + own * gradients.slot_key.block +
                       at * gradients.slot_key.row;
    columns.grad_value = rows_of(gradients.slot_value, range.batch, range.head) + own * gradients.slot_value.block +
                         at * gradients.slot_value.row;
    columns.grad_key_stride = gradients.slot_key.row, columns.grad_value_stride = gradients.slot_value.row;
  }
};

/// δ of each row.
template <class Element>
void sum_deltas(Rows<Element> output, Rows<Element> grad_output, Index rows, Index width, float* delta) {
  for (Index i = 0; i < tile_rows; ++i) {
    Vector sum{};
    for (Index j = 0; j < width && i < rows; j += vector_width) {
      const Index count = smaller(vector_width, width - j);
      sum += load_row(output.data + i * output.stride + j, count) *
             load_row(grad_output.data + i * grad_output.stride + j, count);
    }
    delta[i] = sum_of(sum);
  }
}

/// The queries' side of a tile: rows, transposed rows, and each row's log-sum and δ.
template <class Element, class Number>
void load_queries(const AttendInputs& inputs, const AttendGradients& gradients, const QueryTile& tile,
                  const BackwardScratch<Number>& scratch) {
  const auto& shape = inputs.shape;
  const Index width = shape.width, stride = whole_vectors(width), rows = tile.last - tile.first;
  const auto tile_of = [&](const ConstView& view) {
    return rows_of<Element>(view, tile.batch, tile.head).from(tile.first);
  };
  const auto load_query = [&](const ConstView& view, const QueryRows<Number>& to) {
    load_tile(tile_of(view), rows, tile_rows, width, to.rows);
    transpose_tile(to.rows, tile_rows, width, to.transposed);
    depth_of(tile_of(view), rows, width, to.rows, to.depth);
    for (Index i = 0; i < rows * stride; ++i) to.grad[i] = 0;
  };
  load_query(inputs.query, scratch.query);
  if (inputs.slot_query.data != nullptr) load_query(inputs.slot_query, scratch.slot_query);
  const auto grad_output = tile_of(gradients.grad_output);
  load_tile(grad_output, rows, tile_rows, width, scratch.grad_output);
  transpose_tile(scratch.grad_output, tile_rows, width, scratch.grad_output_transposed);
  depth_of(grad_output, rows, width, scratch.grad_output, scratch.grad_output_depth);
  sum_deltas(tile_of(gradients.output), grad_output, rows, width, scratch.delta);
  const float* log_sum = gradients.log_sum + (tile.batch * shape.heads + tile.head) * shape.length + tile.first;
  for (Index i = 0; i < tile_rows; ++i) scratch.log_sum[i] = i < rows ? log_sum[i] : -minus_infinity;
}

template <class Element>
void backward_range(const AttendInputs& inputs, const AttendGradients& gradients, const AttendRange& range,
                    const AttendShares& shares, float* memory) {
  const Index width = inputs.shape.width, stride = whole_vectors(width);
  Held held{nullptr, nullptr, 0};
  const bool own_slot_query = inputs.slot_query.data != nullptr;
  const auto scratch = backward_scratch<NumberOf<Element>>(width, memory, own_slot_query, held);
  const GradientPlaces places{inputs, gradients, range, shares};
  double slot_total = 0;
  for_query_tiles(inputs.shape, range, [&](const QueryTile& tile) {
    load_queries<Element>(inputs, gradients, tile, scratch);
    for_columns<Element>(inputs, tile, places, [&](const Columns<Element>& columns) {
      slot_total += static_cast<double>(columns.diagonal ? backward_columns<true>(inputs, tile, columns, scratch)
                                                         : backward_columns<false>(inputs, tile, columns, scratch));
    });
    const auto store_gradient = [&](const float* from, const FloatView& view) {
      float* to = rows_of(view, tile.batch, tile.head) + tile.first * view.row;
      for (Index i = 0; i < tile.last - tile.first; ++i) {
        for (Index j = 0; j < width; ++j) to[i * view.row + j] = from[i * stride + j];
      }
    };
    store_gradient(scratch.query.grad, gradients.query);
    if (own_slot_query) store_gradient(scratch.slot_query.grad, gradients.slot_query);
  });
  *shares.slot_bias = static_cast<float>(slot_total);
}

}  // namespace
}  // namespace linformer::kernels
