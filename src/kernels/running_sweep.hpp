// What the sweeps of kernels/running.hpp share: places of blocks, sums, slots, and the rows that a block of queries
// sees. A step is a block of queries; where keys begin a block before them, block b of the keys is that of step b − 1.
#pragma once

#include "kernels/kernel_table.hpp"
#include "kernels/lane_sums.hpp"
#include "kernels/norm_row.hpp"
#include "kernels/running_sums.hpp"

namespace linformer::kernels {
namespace {

struct RowStatistics {
  float mean, scale;
};

/// What norm_row takes and returns.
inline RowStatistics statistics_of(const float* x, Index width, bool rms) {
  const float share = 1.0F / static_cast<float>(width);
  Vector total{}, squares{};
  if (!rms) for_vectors(width, [&](Index j, Index count) { total += load_row(x + j, count); });
  const float mean = rms ? 0.0F : quick_sum_of(total) * share;
  for (Index j = 0; j < width; j += vector_width) {
    const Index count = smaller(vector_width, width - j);
    Vector difference = load_row(x + j, count) - mean;
    for (Index lane = count; lane < vector_width; ++lane) difference[lane] = 0;
    squares += difference * difference;
  }
  return {mean, 1.0F / __builtin_sqrtf(quick_sum_of(squares) * share + static_cast<float>(norm_epsilon))};
}

template <class Stream, class Element>
void norm_rows(Rows<Stream> from, Index rows, Index width, const RowNorm& norm, Element* to) {
  for (Index i = 0; i < rows; ++i) {
    const Stream* x = from.data + i * from.stride;
    Vector total{};
    if (!norm.rms) for_vectors(width, [&](Index j, Index count) { total += load_row(x + j, count); });
    const float mean = norm.rms ? 0.0F : quick_sum_of(total) / static_cast<float>(width);
    norm_row<quick_sum_of>(x, width, mean, {norm.weight, norm.bias}, to + i * width);
  }
}

/// One side of one head of one sequence; `normed`: (2W,D), the block before and the own one.
template <class Element>
struct SideOf {
  const RunningSide& in;
  Rows<Element> rows, own, weights;
  Element *slots, *normed;
  const float* before;
};

template <class Element>
struct Sweep {
  const RunningInputs& in;
  Index batch, head;  // of keys
  SideOf<Element> key, value;

  const AttendShape& shape() const { return in.shape; }
  Index width() const { return in.shape.width; }
  Index stride() const { return whole_vectors(in.shape.width); }
  Index sum_floats() const { return in.shape.slots * stride(); }
  Index past() const { return in.shape.first_block > 0 ? 1 : 0; }
  Index block_of(Index step) const { return step + past(); }
  Index taken_at(Index step) const { return step + past() - 2; }  // below 0: none
  Index blocks() const { return in.steps() + past(); }
  Index rows_of_block(Index block) const {
    return smaller(in.shape.window, in.shape.length + in.shape.past() - block * in.shape.window);
  }
  bool sees_slots(Index step) const { return in.shape.first_block + step >= 2; }

  const float* decay_at(Index block) const {
    const auto& decay = in.decay;
    return decay.data == nullptr ? nullptr : decay.data + batch * decay.batch + head * decay.head + block * decay.block;
  }
  /// From the column of the first row of keys to that of a block's.
  Index column_from(Index first, Index block) const {
    const Index column = first + block * in.shape.window;
    return in.period > 0 ? column % in.period : column;
  }
  BlockWrite<Element> write_of(const SideOf<Element>& side, Index block) const {
    const Index number = column_from(in.column, block) / in.shape.window;
    return {{side.weights.data + number * side.in.weights.block, side.weights.stride},
            side.rows.from(block * in.shape.window),
            in.shape.slots,
            in.shape.window,
            width()};
  }
};

template <class Element>
SideOf<Element> side_of(const RunningInputs& in, const RunningSide& side, Index batch, Index head, Arena& arena) {
  const auto& shape = in.shape;
  const Index width = whole_vectors(shape.width), item = batch * in.key_heads() + head;
  return {side,
          rows_of<Element>(side.rows, batch, head),
          rows_of<Element>(side.own, batch, head),
          rows_of<Element>(side.weights, batch, head),
          arena.take<Element>(shape.slots * width),
          side.window_norm.weight == nullptr ? nullptr : arena.take<Element>(2 * shape.window * width),
          side.before == nullptr ? nullptr : side.before + item * shape.slots * shape.width};
}

template <class Element>
Sweep<Element> sweep_of(const RunningInputs& in, Index batch, Index head, Arena& arena) {
  return {in, batch, head, side_of<Element>(in, in.key, batch, head, arena),
          side_of<Element>(in, in.value, batch, head, arena)};
}

/// Rows of D as rows of whole vectors, and back. from null: zeros.
inline void load_sums(const float* from, Index rows, Index width, float* to) {
  const Index stride = whole_vectors(width);
  for (Index i = 0; i < rows; ++i) {
    const Index used = from == nullptr ? 0 : width;
    for (Index j = 0; j < used; ++j) to[i * stride + j] = from[i * width + j];
    for (Index j = used; j < stride; ++j) to[i * stride + j] = 0;
  }
}

inline void store_sums(const float* from, Index rows, Index width, float* to) {
  const Index stride = whole_vectors(width);
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < width; ++j) to[i * width + j] = from[i * stride + j];
  }
}

inline void decay_sums(const float* decay, Index slot_stride, Index slots, Index stride, float* sums) {
  for (Index k = 0; k < slots; ++k) {
    const float kept = decay[k * slot_stride];
    for (Index j = 0; j < stride; j += vector_width) store(sums + k * stride + j, kept * load(sums + k * stride + j));
  }
}

/// The sums of the step before become those of `step`, of both sides.
template <class Element, class Number>
void advance(const Sweep<Element>& sweep, Index step, float* key_sums, float* value_sums,
             const SumScratch<Number>& scratch) {
  const Index block = sweep.taken_at(step);
  if (block < 0) return;
  if (const float* decay = sweep.decay_at(block); decay != nullptr) {
    for (float* sums : {key_sums, value_sums})
      decay_sums(decay, sweep.in.decay.slot, sweep.shape().slots, sweep.stride(), sums);
  }
  add_block(sweep.write_of(sweep.key, block), key_sums, scratch);
  add_block(sweep.write_of(sweep.value, block), value_sums, scratch);
}

/// The sums as the softmax sees them.
template <class Element>
void make_slots(const SideOf<Element>& side, const float* sums, Index slots, Index width) {
  const Index stride = whole_vectors(width);
  if (side.in.slot_norm.weight != nullptr) {
    norm_rows(Rows<float>{sums, stride}, slots, width, side.in.slot_norm, side.slots);
    return;
  }
  for (Index k = 0; k < slots; ++k) {
    for_vectors(width, [&](Index j, Index count) {
      store_row(side.slots + k * width + j, load_row(sums + k * stride + j, count), count);
    });
  }
}

/// Which half of `normed` a block goes to: 0 the one before, 1 the own.
template <class Element>
void norm_block(const Sweep<Element>& sweep, const SideOf<Element>& side, Index block, Index half) {
  if (side.normed == nullptr) return;
  const Index window = sweep.shape().window;
  norm_rows(side.rows.from(block * window), sweep.rows_of_block(block), sweep.width(), side.in.window_norm,
            side.normed + half * window * sweep.width());
}

template <class Number>
void copy_half(Number* halves, Index from, Index numbers) {
  if (halves != nullptr)
    __builtin_memcpy(halves + (1 - from) * numbers, halves + from * numbers,
                     static_cast<std::size_t>(numbers) * sizeof(Number));
}

template <class Element>
ConstView window_view(const Sweep<Element>& sweep, const SideOf<Element>& side, Index step) {
  const bool first = sweep.shape().first_block + step == 0;
  if (side.normed != nullptr)
    return {side.normed + (first ? sweep.shape().window * sweep.width() : 0), 0, 0, sweep.width(), 0};
  const auto& seen = side.own.data == nullptr ? side.rows : side.own;
  const Index block = sweep.block_of(step) - (first ? 0 : 1);
  return {seen.from(block * sweep.shape().window).data, 0, 0, seen.stride, 0};
}

template <class Element>
const void* row_at(const ConstView& view, Index batch, Index head, Index row) {
  return rows_of<Element>(view, batch, head).from(row).data;
}

/// A step of one head of queries, as the attend kernel takes it.
template <class Element>
AttendInputs step_inputs(const Sweep<Element>& sweep, Index step, Index head) {
  const auto& in = sweep.in;
  const auto& shape = in.shape;
  const Index row = step * shape.window, rows = smaller(shape.window, shape.length - row);
  const auto query_of = [&](const ConstView& view) {
    return ConstView{row_at<Element>(view, sweep.batch, head, row), 0, 0, view.row, 0};
  };
  return {.shape = {1, 1, rows, shape.width, shape.window, shape.slots, SlotKind::running, shape.first_block + step, 1},
          .element = in.element,
          .query = query_of(in.query),
          .key = window_view(sweep, sweep.key, step),
          .value = window_view(sweep, sweep.value, step),
          .slot_key = {sweep.key.slots, 0, 0, shape.width, 0},
          .slot_value = {sweep.value.slots, 0, 0, shape.width, 0},
          .slot_bias = in.slot_bias == nullptr ? nullptr : in.slot_bias + head,
          .scale = in.scale,
          .slot_query = query_of(in.slot_query)};
}

}  // namespace
}  // namespace linformer::kernels
