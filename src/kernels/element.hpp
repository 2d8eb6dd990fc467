// Reads float32 or bfloat16 numbers from memory into float32 vectors, and writes them back.
#pragma once

#include "kernels/bfloat16.hpp"
#include "kernels/vector.hpp"
#if LINFORMER_BFLOAT16_PRODUCTS
#include <immintrin.h>
#endif

namespace linformer::kernels {
namespace {

typedef std::uint16_t Halves __attribute__((vector_size(LINFORMER_VECTOR_WIDTH * 2)));
typedef std::uint16_t UnalignedHalves __attribute__((vector_size(LINFORMER_VECTOR_WIDTH * 2), aligned(2), may_alias));

inline Vector load_wide(const float* from) { return load(from); }
inline Vector load_wide(const std::uint16_t* from) {
  const Halves halves = *reinterpret_cast<const UnalignedHalves*>(from);
  return reinterpret_cast<Vector>(__builtin_convertvector(halves, Words) << 16);
}
inline void store_narrow(float* to, Vector x) { store(to, x); }
/// To nearest, ties to even; the processor's own instruction takes numbers below the smallest normal one to zero, which
/// narrow() does not.
inline Halves narrowed(Vector x) {
#if LINFORMER_BFLOAT16_PRODUCTS
  return reinterpret_cast<Halves>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(x)));
#else
  const Words bits = reinterpret_cast<Words>(x);
  const Words rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  return __builtin_convertvector(x == x ? rounded : Words{} + 0x7fc0U, Halves);
#endif
}
inline void store_narrow(std::uint16_t* to, Vector x) { *reinterpret_cast<UnalignedHalves*>(to) = narrowed(x); }

/// Calls `visit(first column, count)` for each vector's worth of a row.
template <class Visit>
inline void for_vectors(Index width, const Visit& visit) {
  Index j = 0;
  for (; j + vector_width <= width; j += vector_width) visit(j, vector_width);
  if (j < width) visit(j, width - j);
}

/// A vector's worth of a row that may end within it: lanes past `count` are zero.
template <class Element>
inline Vector load_row(const Element* from, Index count) {
  if (count >= vector_width) return load_wide(from);
  Vector x{};
  for (Index i = 0; i < count; ++i) x[i] = widen(from[i]);
  return x;
}

template <class Element>
inline void store_row(Element* to, Vector x, Index count) {
  if (count >= vector_width) return store_narrow(to, x);
  for (Index i = 0; i < count; ++i) narrow(x[i], to[i]);
}

inline void add_to_row(float* to, Vector x, Index count) { store_row(to, load_row(to, count) + x, count); }

}  // namespace
}  // namespace linformer::kernels
