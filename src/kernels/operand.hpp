// The numbers that small products read: float32; or, where the processor multiplies bfloat16 itself, pairs of two
// bfloat16 numbers that are neighbours along the depth of the product.
#pragma once

#include "kernels/element.hpp"
#if LINFORMER_BFLOAT16_PRODUCTS
#include <immintrin.h>
#endif

namespace linformer::kernels {
namespace {

struct Pair {
  std::uint32_t bits;  ///< the first number in the lower half
};

template <class Number>
struct NumberTraits;
template <>
struct NumberTraits<float> {
  using VectorOf = Vector;
  static constexpr Index count = 1;
};
template <>
struct NumberTraits<Pair> {
  using VectorOf = Words;
  static constexpr Index count = 2;
};

template <class Number>
using VectorOf = typename NumberTraits<Number>::VectorOf;
/// How many steps of the depth a number holds, and how many numbers hold a depth.
template <class Number>
constexpr Index in_number = NumberTraits<Number>::count;
template <class Number>
constexpr Index numbers_for(Index depth) {
  return (depth + in_number<Number> - 1) / in_number<Number>;
}

inline Vector load_numbers(const float* from) { return load(from); }
inline Words load_numbers(const Pair* from) { return load_words(from); }

inline Vector multiply_add(float a, Vector b, Vector sum) { return sum + a * b; }

/// What products of inputs in an element are made of.
template <class Element>
struct OperandOf {
  using Number = float;
};

#if LINFORMER_BFLOAT16_PRODUCTS
inline Vector multiply_add(Pair a, Words b, Vector sum) {
  return reinterpret_cast<Vector>(
      _mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(b),
                       reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(a.bits)))));
}
template <>
struct OperandOf<std::uint16_t> {
  using Number = Pair;
};
#endif

template <class Element>
using NumberOf = typename OperandOf<Element>::Number;

}  // namespace
}  // namespace linformer::kernels
