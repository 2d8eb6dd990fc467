// Tiles in working memory, and which keys and slots a tile of queries is combined with.
#pragma once

#include "kernels/kernel_table.hpp"
#include "kernels/product.hpp"

namespace linformer::kernels {
namespace {

constexpr Index tile_floats = tile_rows * tile_rows;

inline Index whole_vectors(Index count) { return (count + vector_width - 1) / vector_width * vector_width; }

template <class Element>
struct Rows {
  const Element* data;
  Index stride;
  Rows from(Index row) const { return {data == nullptr ? data : data + row * stride, stride}; }
};

template <class Element>
Rows<Element> rows_of(const ConstView& view, Index batch, Index head) {
  if (view.data == nullptr) return {nullptr, view.row};  // of no slots; an offset from nowhere is undefined
  return {static_cast<const Element*>(view.data) + batch * view.batch + head * view.head, view.row};
}
inline float* rows_of(const FloatView& view, Index batch, Index head) {
  return view.data == nullptr ? nullptr : view.data + batch * view.batch + head * view.head;
}

/// The distance from one row of a tile to the next, in numbers: a multiple of the vector width.
template <class Number>
inline Index row_stride(Index width) {
  return whole_vectors(numbers_for<Number>(width));
}

/// `rows` × width numbers, in rows of whole vectors; the rest of each row, and rows up to `padded`, are zero.
template <class Element>
void load_tile(Rows<Element> from, Index rows, Index padded, Index width, float* __restrict to) {
  const Index stride = whole_vectors(width);
  for (Index i = 0; i < padded; ++i) {
    float* __restrict row = to + i * stride;
    const Element* __restrict source = from.data + i * from.stride;
    const Index used = i < rows ? width : 0;
    for (Index j = 0; j < used; ++j) row[j] = widen(source[j]);
    for (Index j = used; j < stride; ++j) row[j] = 0;
  }
}

inline void load_tile(Rows<std::uint16_t> from, Index rows, Index padded, Index width, Pair* __restrict to) {
  const Index stride = row_stride<Pair>(width), whole = width / (2 * vector_width) * vector_width;
  for (Index i = 0; i < padded; ++i) {
    const std::uint16_t* source = from.data + i * from.stride;
    Index done = 0;
    // Vector by vector: a call of memcpy for each row costs more than the row.
    for (; i < rows && done < whole; done += vector_width)
      *reinterpret_cast<UnalignedWords*>(to + i * stride + done) = load_words(source + 2 * done);
    const auto used = static_cast<std::size_t>(i < rows ? 2 * width - 4 * done : 0),
               all = static_cast<std::size_t>(4 * (stride - done));
    if (all == 0) continue;
    auto* row = reinterpret_cast<unsigned char*>(to + i * stride + done);
    __builtin_memcpy(row, source + 2 * done, used);
    __builtin_memset(row + used, 0, all - used);
  }
}

/// (tile_rows, width) with rows of whole vectors → (width, tile_rows).
template <class Number>
void transpose_tile(const Number* __restrict from, Index rows, Index width, Number* __restrict to) {
  const Index stride = row_stride<Number>(width), numbers = numbers_for<Number>(width);
  for (Index i = 0; i < rows; i += 4) {
    const Number *a = from + i * stride, *b = a + stride, *c = b + stride, *d = c + stride;
    for (Index j = 0; j < numbers; ++j) {
      Number* at = to + j * tile_rows + i;
      at[0] = a[j], at[1] = b[j], at[2] = c[j], at[3] = d[j];
    }
  }
}

/// The rows of a tile as the depth of a product. Numbers: `tile`, which load_tile made of them. Pairs: of two rows
/// each, (rows/2, width), written to `to`.
template <class Element>
const float* depth_of(Rows<Element>, Index, Index, const float* tile, float*) {
  return tile;
}

inline const Pair* depth_of(Rows<std::uint16_t> from, Index rows, Index width, const Pair*, Pair* __restrict to) {
  const Index stride = whole_vectors(width), whole = width / vector_width * vector_width;
  for (Index i = 0; i < rows; i += 2) {
    const std::uint16_t* __restrict first = from.data + i * from.stride;
    const std::uint16_t* __restrict second = i + 1 < rows ? first + from.stride : nullptr;
    Pair* __restrict row = to + i / 2 * stride;
    for (Index j = 0; j < whole; j += vector_width) {
      const Words low = reinterpret_cast<Words>(load_wide(first + j)) >> 16,
                  high = second == nullptr ? Words{} : reinterpret_cast<Words>(load_wide(second + j));
      *reinterpret_cast<UnalignedWords*>(row + j) = low | high;
    }
    for (Index j = whole; j < width; ++j)
      row[j].bits = first[j] | (second == nullptr ? 0U : static_cast<std::uint32_t>(second[j]) << 16);
    for (Index j = width; j < stride; ++j) row[j].bits = 0;
  }
  return to;
}

/// Scores (X, M) as a factor whose depth is M: rows of X.
inline Factor<float> rows_of_scores(const float* scores, Index, Index, float*) { return {scores, tile_rows}; }

inline Factor<Pair> rows_of_scores(const float* scores, Index count, Index queries, Pair* to) {
  constexpr Index stride = tile_rows / 2;
  for (Index x = 0; x < count; ++x) {
    auto* row = reinterpret_cast<std::uint16_t*>(to + x * stride);
    for (Index m = 0; m < queries; m += vector_width) store_narrow(row + m, load(scores + x * tile_rows + m));
    // the other half of the pair may hold anything
    if (queries % 2 != 0) to[x * stride + queries / 2].bits &= 0xffffU;
  }
  return {to, stride};
}

/// Scores (X, M) as a factor whose depth is X, which product() reads transposed.
inline Factor<float> columns_of_scores(const float* scores, Index, Index, float*) { return {scores, tile_rows}; }

inline Factor<Pair> columns_of_scores(const float* scores, Index count, Index queries, Pair* to) {
  for (Index x = 0; x < count; x += 2) {
    for (Index m = 0; m < queries; m += vector_width) {
      const Words low = __builtin_convertvector(narrowed(load(scores + x * tile_rows + m)), Words);
      const Vector next = x + 1 < count ? load(scores + (x + 1) * tile_rows + m) : Vector{};
      const Words high = __builtin_convertvector(narrowed(next), Words);
      *reinterpret_cast<UnalignedWords*>(to + x / 2 * tile_rows + m) = low | high << 16;
    }
  }
  return {to, tile_rows};
}

/// Keys or slots that a tile of queries meets, at most tile_rows of them, and where their gradients go.
template <class Element>
struct Columns {
  Rows<Element> key, value;
  Index count;
  bool slots, diagonal;
  float *grad_key, *grad_value;
  Index grad_key_stride, grad_value_stride;
  const float* offset = nullptr;  // of each slot, for its logits
  float* grad_offset = nullptr;
};

/// Scores (X, M) of slots and what is added to each slot's.
inline void add_offsets(float* scores, Index count, Index queries, const float* offset) {
  for (Index x = 0; x < count; ++x) {
    float* row = scores + x * tile_rows;
    for (Index m = 0; m < queries; m += vector_width) store(row + m, load(row + m) + offset[x]);
  }
}

/// Which columns stand in working memory. Without a window each tile of queries meets the same slots.
struct Held {
  const void *key, *value;
  Index count;
};

/// Whether the columns have to be loaded, and from now on are held.
template <class Element>
bool take(const Columns<Element>& columns, Held* held) {
  if (held->key == columns.key.data && held->value == columns.value.data && held->count == columns.count) return false;
  *held = {columns.key.data, columns.value.data, columns.count};
  return true;
}

/// A tile of queries: rows [first, last) of all queries, in their block `block`.
struct QueryTile {
  Index batch, head, block, first, last;
};

/// How many slots the rows of a block of queries see.
inline Index visible_slots(const AttendShape& shape, Index block_of_queries) {
  const Index block = shape.first_block + block_of_queries;
  if (shape.kind == SlotKind::whole) return shape.slots;
  if (block < 2) return 0;
  return shape.kind == SlotKind::running ? shape.slots : shape.slots * (block - 1);
}

/// Calls `visit(first row, count, diagonal)` for the window's tiles: the diagonal one first, so that every row has seen
/// a finite logit before the others. Rows of keys are counted from the first query's; those before it are negative.
template <class Visit>
void for_window_tiles(const AttendShape& shape, const QueryTile& tile, const Visit& visit) {
  visit(tile.first, tile.last - tile.first, true);
  const Index own = tile.block * shape.window, before = tile.block > 0 || shape.past() > 0 ? own - shape.window : 0;
  for (Index at = before; at < own; at += tile_rows) visit(at, smaller(tile_rows, own - at), false);
  for (Index at = own; at < tile.first; at += tile_rows) visit(at, smaller(tile_rows, tile.first - at), false);
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

/// Calls `visit(columns)` for the tiles of sinks that a tile of queries meets. They are read as the window is.
template <class Element, class Gradients, class Visit>
void for_sinks(const AttendInputs& inputs, const QueryTile& tile, const Gradients& gradients, const Visit& visit) {
  const auto& shape = inputs.shape;
  if (shape.sinks == 0 || shape.first_block + tile.block < 2) return;
  const Index key_head = tile.head / shape.group;
  const auto key = rows_of<Element>(inputs.sink_key, tile.batch, key_head),
             value = rows_of<Element>(inputs.sink_value, tile.batch, key_head);
  for (Index at = 0; at < shape.sinks; at += tile_rows) {
    Columns<Element> columns{
        key.from(at), value.from(at), smaller(tile_rows, shape.sinks - at), false, false, nullptr, nullptr, 0, 0};
    gradients.of_sinks(at, columns);
    visit(columns);
  }
}

/// Calls `visit(columns)` for everything that a tile of queries meets. `Gradients` says where gradients go:
/// see attend_backward.hpp.
template <class Element, class Gradients, class Visit>
void for_columns(const AttendInputs& inputs, const QueryTile& tile, const Gradients& gradients, const Visit& visit) {
  const auto& shape = inputs.shape;
  const Index key_head = tile.head / shape.group;
  if (shape.window > 0) {
    const auto key = rows_of<Element>(inputs.key, tile.batch, key_head).from(shape.past()),
               value = rows_of<Element>(inputs.value, tile.batch, key_head).from(shape.past());
    for_window_tiles(shape, tile, [&](Index at, Index count, bool diagonal) {
      Columns<Element> columns{key.from(at), value.from(at), count, false, diagonal, nullptr, nullptr, 0, 0};
      gradients.of_window(at, columns);
      visit(columns);
    });
    for_sinks<Element>(inputs, tile, gradients, visit);
  }
  const Index count = visible_slots(shape, tile.block);
  if (count == 0) return;  // the slots of no slot have no address
  auto key = rows_of<Element>(inputs.slot_key, tile.batch, key_head),
       value = rows_of<Element>(inputs.slot_value, tile.batch, key_head);
  if (shape.kind == SlotKind::running) {
    key.data += tile.block * inputs.slot_key.block;
    value.data += tile.block * inputs.slot_value.block;
  }
  const float* offset = inputs.slot_offset.of(tile.batch, key_head, tile.block);
  for (Index at = 0; at < count; at += tile_rows) {
    Columns<Element> columns{
        key.from(at), value.from(at), smaller(tile_rows, count - at), true, false, nullptr, nullptr, 0, 0};
    if (offset != nullptr) columns.offset = offset + at;
    gradients.of_slots(tile.block, at, columns);
    visit(columns);
  }
}

}  // namespace
}  // namespace linformer::kernels
