// DecodeKernels::add_slots: slots take in a block of rows.
#pragma once

#include "kernels/decode_kernels.hpp"
#include "kernels/vector.hpp"

namespace linformer::kernels {
namespace {

template <int kVectors>
void add_slot_columns(const SlotSum& s, Index slot, Index column) {
  float* out = s.slots + slot * s.width + column;
  Vector sum[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) sum[v] = load(out + v * vector_width);
  const float* weights = s.weights + slot * s.weights_stride;
  const float* row = s.rows + column;
  for (Index i = 0; i < s.row_count; ++i, row += s.width) {
    const Vector weight = all_of(weights[i]);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[v] += weight * load(row + v * vector_width);
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) store(out + v * vector_width, sum[v]);
}

void add_slots(const SlotSum& s) {
  for (Index slot = 0; slot < s.slot_count; ++slot) {
    Index column = 0;
    for (; column + 8 * vector_width <= s.width; column += 8 * vector_width) add_slot_columns<8>(s, slot, column);
    for (; column + 4 * vector_width <= s.width; column += 4 * vector_width) add_slot_columns<4>(s, slot, column);
    for (; column < s.width; column += vector_width) add_slot_columns<1>(s, slot, column);
  }
}

}  // namespace
}  // namespace linformer::kernels
