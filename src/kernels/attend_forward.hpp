// Forward pass of the attend kernel (maths 4a), with a running maximum and sum over tiles of keys and slots.
#pragma once

#include "kernels/tile.hpp"

namespace linformer::kernels {
namespace {

/// Working memory of a tile of queries; widths in whole vectors. `value`: along the keys, as the depth of a product.
template <class Number>
struct ForwardScratch {
  Number *rows, *query_transposed, *key, *value, *weights;
  float *scores, *output, *largest, *sum, *shrink;
  Number* slot_query_transposed;  // that of the query, where slots have none of their own
  Held* held;
};

template <class Number>
ForwardScratch<Number> forward_scratch(Index width, float* memory, bool own_slot_query, Held& held) {
  const Index tile = tile_rows * whole_vectors(width);
  const auto numbers = [&](Index at) { return reinterpret_cast<Number*>(memory + at); };
  float* after = memory + 4 * tile + tile_floats;
  return {numbers(0),
          numbers(tile),
          numbers(2 * tile),
          numbers(3 * tile),
          numbers(4 * tile),
          after,
          after + tile_floats,
          after + tile_floats + tile,
          after + tile_floats + tile + tile_rows,
          after + tile_floats + tile + 2 * tile_rows,
          numbers(own_slot_query ? 5 * tile + 2 * tile_floats + 3 * tile_rows : tile),
          &held};
}

/// −∞ in the scores (X, M) of keys that stand after the query.
inline void hide_later_keys(float* scores, Index count) {
  const Vector lanes = lane_numbers();
  for (Index x = 0; x < count; ++x) {
    float* row = scores + x * tile_rows;
    Index m = 0;
    for (; m + vector_width <= x; m += vector_width) store(row + m, all_of(minus_infinity));
    const Vector before =
        lanes + static_cast<float>(m) < static_cast<float>(x) ? all_of(minus_infinity) : load(row + m);
    store(row + m, before);
  }
}

/// Scores become weights exp(score + bias − largest); the running maximum and sum follow. Returns whether a
/// row's maximum rose, and with it what stands in the output must shrink.
template <class Number>
bool softmax_step(float* scores, Index count, Index queries, float bias, const ForwardScratch<Number>& scratch) {
  bool rose = false;
  for (Index m = 0; m < queries; m += vector_width) {
    float* column = scores + m;
    Vector top[4] = {load(column), load(column), load(column), load(column)};
    Index x = 0;
    for (; x + 4 <= count; x += 4) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) top[i] = larger(top[i], load(column + (x + i) * tile_rows));
    }
    for (; x < count; ++x) top[0] = larger(top[0], load(column + x * tile_rows));
    const Vector before = load(scratch.largest + m);
    const Vector largest = larger(before, larger(larger(top[0], top[1]), larger(top[2], top[3])) + bias);
    const Vector shrink = exponential(before - largest);
    const Vector subtract = largest - bias;
    Vector sum = load(scratch.sum + m) * shrink;
    for (x = 0; x < count; ++x) {
      const Vector weight = exponential(load(column + x * tile_rows) - subtract);
      store(column + x * tile_rows, weight);
      sum += weight;
    }
    const Integers grown = before < largest;
    for (Index i = 0; i < vector_width; ++i) rose = rose || grown[i] != 0;
    store(scratch.largest + m, largest);
    store(scratch.sum + m, sum);
    store(scratch.shrink + m, shrink);
  }
  return rose;
}

inline void scale_rows(float* tile, Index rows, Index stride, const float* factors) {
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < stride; j += vector_width)
      store(tile + i * stride + j, factors[i] * load(tile + i * stride + j));
  }
}

template <class Element, class Number>
void forward_columns(const AttendInputs& inputs, const QueryTile& tile, const Columns<Element>& columns,
                     const ForwardScratch<Number>& scratch) {
  const Index width = inputs.shape.width, stride = whole_vectors(width), rows = tile.last - tile.first;
  const Index queries = whole_vectors(rows), count = columns.count;
  if (take(columns, scratch.held)) {
    load_tile(columns.key, count, count, width, scratch.key);
    if (in_number<Number> == 1) load_tile(columns.value, count, count, width, scratch.value);
    depth_of(columns.value, count, width, scratch.value, scratch.value);
  }
  const ProductShape score_shape{count, queries, width}, mix_shape{rows, stride, count};
  const Factor<Number> key{scratch.key, row_stride<Number>(width)},
      query{columns.slots ? scratch.slot_query_transposed : scratch.query_transposed, tile_rows};
  const Result scaled{.accumulate = false, .factor = inputs.scale}, added{.accumulate = true};
  if (columns.diagonal) {
    product<false, Band::columns_from_row>(score_shape, key, query, scratch.scores, tile_rows, scaled);
    hide_later_keys(scratch.scores, count);
  } else {
    product<false, Band::full>(score_shape, key, query, scratch.scores, tile_rows, scaled);
  }
  if (columns.offset != nullptr) add_offsets(scratch.scores, count, queries, columns.offset);
  const float bias = columns.slots && inputs.slot_bias != nullptr ? inputs.slot_bias[tile.head] : 0.0F;
  if (softmax_step(scratch.scores, count, queries, bias, scratch))
    scale_rows(scratch.output, rows, stride, scratch.shrink);
  const auto weights = columns_of_scores(scratch.scores, count, queries, scratch.weights);
  const Factor<Number> value{scratch.value, stride};
  if (columns.diagonal) {
    product<true, Band::depth_up_to_row>(mix_shape, weights, value, scratch.output, stride, added);
  } else {
    product<true, Band::full>(mix_shape, weights, value, scratch.output, stride, added);
  }
}

struct NoGradients {
  template <class Columns>
  void of_window(Index, Columns&) const {}
  template <class Columns>
  void of_sinks(Index, Columns&) const {}
  template <class Columns>
  void of_slots(Index, Index, Columns&) const {}
};

template <class Element, class Number>
void store_output(const AttendInputs& inputs, const AttendOutputs& outputs, const QueryTile& tile,
                  const ForwardScratch<Number>& scratch) {
  const auto& shape = inputs.shape;
  const Index stride = whole_vectors(shape.width);
  float* log_sum = outputs.log_sum + (tile.batch * shape.heads + tile.head) * shape.length;
  for (Index i = 0; i < tile.last - tile.first; ++i) {
    Element* to = static_cast<Element*>(outputs.output) + tile.batch * outputs.batch + tile.head * outputs.head +
                  (tile.first + i) * outputs.row;
    const float share = 1.0F / scratch.sum[i];
    const float* from = scratch.output + i * stride;
    for (Index j = 0; j < shape.width; ++j) narrow(from[j] * share, to[j]);
    log_sum[tile.first + i] = scratch.largest[i] + __builtin_logf(scratch.sum[i]);
  }
}

template <class Element>
void forward_range(const AttendInputs& inputs, const AttendOutputs& outputs, const AttendRange& range, float* memory) {
  const Index width = inputs.shape.width, stride = whole_vectors(width);
  Held held{nullptr, nullptr, 0};
  const bool own_slot_query = inputs.slot_query.data != nullptr;
  const auto scratch = forward_scratch<NumberOf<Element>>(width, memory, own_slot_query, held);
  for_query_tiles(inputs.shape, range, [&](const QueryTile& tile) {
    const Index rows = tile.last - tile.first;
    const auto load_transposed = [&](const ConstView& query, auto* to) {
      load_tile(rows_of<Element>(query, tile.batch, tile.head).from(tile.first), rows, tile_rows, width, scratch.rows);
      transpose_tile(scratch.rows, tile_rows, width, to);
    };
    load_transposed(inputs.query, scratch.query_transposed);
    if (own_slot_query) load_transposed(inputs.slot_query, scratch.slot_query_transposed);
    for (Index i = 0; i < rows * stride; ++i) scratch.output[i] = 0;
    for (Index i = 0; i < tile_rows; ++i) scratch.largest[i] = minus_infinity, scratch.sum[i] = 0;
    for_columns<Element>(inputs, tile, NoGradients{},
                         [&](const Columns<Element>& columns) { forward_columns(inputs, tile, columns, scratch); });
    store_output<Element>(inputs, outputs, tile, scratch);
  });
}

}  // namespace
}  // namespace linformer::kernels
