// Tiles in working memory, and which keys and slots a tile of queries meets.
#pragma once

#include "kernels/kernel_table.hpp"
#include "kernels/vector.hpp"

namespace linformer::kernels {
namespace {

constexpr Index tile_floats = tile_rows * tile_rows;

inline Index whole_vectors(Index count) { return (count + vector_width - 1) / vector_width * vector_width; }
inline Index smaller(Index a, Index b) { return a < b ? a : b; }

inline float widen(float x) { return x; }
inline float widen(std::uint16_t x) {  // bfloat16
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(x) << 16);
}
inline void narrow(float x, float& to) { to = x; }
inline void narrow(float x, std::uint16_t& to) {  // to nearest, ties to even; NaN stays NaN
  const auto bits = __builtin_bit_cast(std::uint32_t, x);
  to = static_cast<std::uint16_t>(x != x ? 0x7fc0U : (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

template <class Element>
struct Rows {
  const Element* data;
  Index stride;
  Rows from(Index row) const { return {data + row * stride, stride}; }
};

template <class Element>
Rows<Element> rows_of(const ConstView& view, Index batch, Index head) {
  return {static_cast<const Element*>(view.data) + batch * view.batch + head * view.head, view.row};
}
inline float* rows_of(const FloatView& view, Index batch, Index head) {
  return view.data + batch * view.batch + head * view.head;
}

/// `rows` × width floats, times `factor`, in rows of whole vectors; the rest of each row, and rows up to
/// `padded`, are zero.
template <class Element>
void load_tile(Rows<Element> from, Index rows, Index padded, Index width, float factor,
               float* __restrict to) {
  const Index stride = whole_vectors(width);
  for (Index i = 0; i < padded; ++i) {
    float* __restrict row = to + i * stride;
    const Element* __restrict source = from.data + i * from.stride;
    const Index used = i < rows ? width : 0;
    for (Index j = 0; j < used; ++j) row[j] = widen(source[j]) * factor;
    for (Index j = used; j < stride; ++j) row[j] = 0;
  }
}

/// (tile_rows, width) with rows of whole vectors → (width, tile_rows).
inline void transpose_tile(const float* __restrict from, Index rows, Index width, float* __restrict to) {
  const Index stride = whole_vectors(width);
  for (Index i = 0; i < rows; i += 4) {
    const float *a = from + i * stride, *b = a + stride, *c = b + stride, *d = c + stride;
    for (Index j = 0; j < width; ++j) {
      float* at = to + j * tile_rows + i;
      at[0] = a[j], at[1] = b[j], at[2] = c[j], at[3] = d[j];
    }
  }
}

/// Keys or slots that a tile of queries meets, at most tile_rows of them, and where their gradients go.
template <class Element>
struct Columns {
  Rows<Element> key, value;
  Index count;
  bool slots, diagonal;
  float *grad_key, *grad_value;
  Index grad_key_stride, grad_value_stride;
};

/// Which columns stand in working memory. Without a window each tile of queries meets the same slots.
struct Held {
  const void *key, *value;
  Index count;
};

template <class Element>
void load_columns(const Columns<Element>& columns, Index width, float* key, float* value, Held* held) {
  if (held->key == columns.key.data && held->value == columns.value.data && held->count == columns.count)
    return;
  load_tile(columns.key, columns.count, columns.count, width, 1.0F, key);
  load_tile(columns.value, columns.count, columns.count, width, 1.0F, value);
  *held = {columns.key.data, columns.value.data, columns.count};
}

/// A tile of queries: rows [first, last) of the sequence, in block `block`.
struct QueryTile {
  Index batch, head, block, first, last;
};

/// How many slots the rows of a block see.
inline Index visible_slots(const AttendShape& shape, Index block) {
  if (shape.kind == SlotKind::whole) return shape.slots;
  if (block < 2) return 0;
  return shape.kind == SlotKind::running ? shape.slots : shape.slots * (block - 1);
}

/// Calls `visit(first row of all keys, count, diagonal)` for the window's tiles: the diagonal one first, so
/// that every row has seen a finite logit before the others.
template <class Visit>
void for_window_tiles(const AttendShape& shape, const QueryTile& tile, const Visit& visit) {
  visit(tile.first, tile.last - tile.first, true);
  const Index own = tile.block * shape.window, before = tile.block > 0 ? own - shape.window : 0;
  for (Index at = before; at < own; at += tile_rows) visit(at, smaller(tile_rows, own - at), false);
  for (Index at = own; at < tile.first; at += tile_rows)
    visit(at, smaller(tile_rows, tile.first - at), false);
}

/// Calls `visit(tile)` for the tiles of a range.
template <class Visit>
void for_query_tiles(const AttendShape& shape, const AttendRange& range, const Visit& visit) {
  const Index size = shape.window > 0 ? shape.window : tile_rows;
  for (Index block = range.first; block < range.last; ++block) {
    const Index end = smaller(shape.length, (block + 1) * size);
    for (Index first = block * size; first < end; first += tile_rows) {
      visit(QueryTile{range.batch, range.head, block, first, smaller(first + tile_rows, end)});
    }
  }
}

/// Calls `visit(columns)` for everything that a tile of queries meets. `Gradients` says where gradients go:
/// see attend_impl.hpp.
template <class Element, class Gradients, class Visit>
void for_columns(const AttendInputs& inputs, const QueryTile& tile, const Gradients& gradients,
                 const Visit& visit) {
  const auto& shape = inputs.shape;
  if (shape.window > 0) {
    const auto key = rows_of<Element>(inputs.key, tile.batch, tile.head),
               value = rows_of<Element>(inputs.value, tile.batch, tile.head);
    for_window_tiles(shape, tile, [&](Index at, Index count, bool diagonal) {
      Columns<Element> columns{key.from(at), value.from(at), count, false, diagonal, nullptr, nullptr, 0, 0};
      gradients.of_window(at, columns);
      visit(columns);
    });
  }
  auto key = rows_of<Element>(inputs.slot_key, tile.batch, tile.head),
       value = rows_of<Element>(inputs.slot_value, tile.batch, tile.head);
  if (shape.kind == SlotKind::running) {
    key.data += tile.block * inputs.slot_key.block;
    value.data += tile.block * inputs.slot_value.block;
  }
  const Index count = visible_slots(shape, tile.block);
  for (Index at = 0; at < count; at += tile_rows) {
    Columns<Element> columns{
        key.from(at), value.from(at), smaller(tile_rows, count - at), true, false, nullptr, nullptr, 0, 0};
    gradients.of_slots(tile.block, at, columns);
    visit(columns);
  }
}

}  // namespace
}  // namespace linformer::kernels
