// Vectors of LINFORMER_VECTOR_WIDTH floats, written with the compiler's own vector extension. It becomes the
// instruction set for which the file is compiled. All kernels use these vectors, those of training and those of the
// decoder. Intrinsics stand only where the extension has no word: here, in element.hpp, operand.hpp and lane_sums.hpp.
//
// Files that include this one are compiled several times, with different flags. The linker must never pick a function
// from the wrong build. So everything is in an unnamed namespace, and no templates of the standard library are used.
#pragma once

#include <cstdint>
#if LINFORMER_VECTOR_WIDTH > 4 || defined(__SSE2__)
#include <immintrin.h>
#endif

#if LINFORMER_VECTOR_WIDTH == 16 && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns wrongly about its own intrinsics
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace linformer::kernels {
namespace {

using Index = std::int64_t;

constexpr Index vector_width = LINFORMER_VECTOR_WIDTH;
typedef float Vector __attribute__((vector_size(LINFORMER_VECTOR_WIDTH * 4)));
typedef std::int32_t Integers __attribute__((vector_size(LINFORMER_VECTOR_WIDTH * 4)));
typedef std::uint32_t Words __attribute__((vector_size(LINFORMER_VECTOR_WIDTH * 4)));
typedef float UnalignedVector __attribute__((vector_size(LINFORMER_VECTOR_WIDTH * 4), aligned(4), may_alias));
typedef std::uint32_t UnalignedWords __attribute__((vector_size(LINFORMER_VECTOR_WIDTH * 4), aligned(2), may_alias));

constexpr float minus_infinity = -__builtin_inff();

inline Vector load(const float* from) { return *reinterpret_cast<const UnalignedVector*>(from); }
inline Words load_words(const void* from) { return *static_cast<const UnalignedWords*>(from); }
inline void store(float* to, Vector x) { *reinterpret_cast<UnalignedVector*>(to) = x; }
inline Vector all_of(float x) { return x - Vector{}; }

// The second argument where one of the two is NaN. The processor has an instruction for it, which GCC doesn't find.
inline float larger(float a, float b) { return a > b ? a : b; }
inline float smaller(float a, float b) { return a < b ? a : b; }
#if LINFORMER_VECTOR_WIDTH == 16
inline Vector larger(Vector a, Vector b) { return _mm512_max_ps(a, b); }
inline Vector smaller(Vector a, Vector b) { return _mm512_min_ps(a, b); }
#elif LINFORMER_VECTOR_WIDTH == 8
inline Vector larger(Vector a, Vector b) { return _mm256_max_ps(a, b); }
inline Vector smaller(Vector a, Vector b) { return _mm256_min_ps(a, b); }
#elif defined(__SSE2__)
inline Vector larger(Vector a, Vector b) { return _mm_max_ps(a, b); }
inline Vector smaller(Vector a, Vector b) { return _mm_min_ps(a, b); }
#else
inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }
inline Vector smaller(Vector a, Vector b) { return a < b ? a : b; }
#endif
inline Index smaller(Index a, Index b) { return a < b ? a : b; }

/// Σ over the lanes, one after the other, on which the bits of training's results rest; the decoder's is
/// quick_sum_of().
inline float sum_of(Vector x) {
  float sum = 0;
  for (Index i = 0; i < vector_width; ++i) sum += x[i];
  return sum;
}

/// 0, 1, 2, …
inline Vector lane_numbers() {
  Vector lanes;
  for (Index i = 0; i < vector_width; ++i) lanes[i] = static_cast<float>(i);
  return lanes;
}

/// eˣ for x ≤ 88: 2ⁿ·eʳ with |r| ≤ ½ ln 2 and a polynomial for eʳ; within 2 units in the last place. Below
/// the smallest normal number it is 0; NaN stays NaN.
inline Vector exponential(Vector x) {
  constexpr float smallest = -87.33654F, log2_e = 1.44269504F, ln2_high = 0.693359375F, ln2_low = -2.12194440e-4F;
  constexpr float rounder = 12582912.0F;  // 1.5·2²³: adding it rounds to an integer, which then stands in the low bits
  const Vector bounded = larger(all_of(smallest), x);
  const Vector shifted = bounded * log2_e + rounder;
  const Vector n = shifted - rounder;
  const Vector r = (bounded - n * ln2_high) - n * ln2_low;
  Vector polynomial = r * 1.9875691500e-4F + 1.3981999507e-3F;
  polynomial = polynomial * r + 8.3334519073e-3F;
  polynomial = polynomial * r + 4.1665795894e-2F;
  polynomial = polynomial * r + 1.6666665459e-1F;
  polynomial = polynomial * r + 5.0000001201e-1F;
  polynomial = polynomial * (r * r) + r + 1.0F;
  // Unsigned, since a lane that the caller hides may hold any x, and its exponent may overflow.
  const Words exponent = (reinterpret_cast<Words>(shifted) << 23) + (127U << 23);
  return x < smallest ? Vector{} : polynomial * reinterpret_cast<Vector>(exponent);
}

}  // namespace
}  // namespace linformer::kernels
