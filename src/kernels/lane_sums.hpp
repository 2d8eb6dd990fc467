// Sums over the lanes of four vectors at once, and products of 8-bit with 16-bit integers, of which neighbours are
// added up. The vector's width says which instruction set the file is compiled for.
#pragma once

#include "kernels/vector.hpp"

namespace linformer::kernels {
namespace {

typedef std::int8_t Bytes __attribute__((vector_size(LINFORMER_VECTOR_WIDTH * 2)));
typedef std::int8_t UnalignedBytes __attribute__((vector_size(LINFORMER_VECTOR_WIDTH * 2), aligned(1), may_alias));
typedef std::int16_t Shorts __attribute__((vector_size(LINFORMER_VECTOR_WIDTH * 4)));
typedef std::int16_t UnalignedShorts __attribute__((vector_size(LINFORMER_VECTOR_WIDTH * 4), aligned(2), may_alias));

constexpr Index shorts_width = 2 * vector_width;
inline Shorts load_shorts(const std::int16_t* from) { return *reinterpret_cast<const UnalignedShorts*>(from); }
inline Shorts widen_bytes(const std::int8_t* from) {
#if LINFORMER_VECTOR_WIDTH == 16
  return reinterpret_cast<Shorts>(_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
#elif LINFORMER_VECTOR_WIDTH == 8
  return reinterpret_cast<Shorts>(_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#else
  const Bytes bytes = *reinterpret_cast<const UnalignedBytes*>(from);
  return __builtin_convertvector(bytes, Shorts);
#endif
}

/// sum + a·b, of which each lane takes two neighbours.
inline Integers multiply_add(Shorts a, Shorts b, Integers sum) {
#if LINFORMER_VECTOR_WIDTH == 16
  return sum +
         reinterpret_cast<Integers>(_mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif LINFORMER_VECTOR_WIDTH == 8
  return sum +
         reinterpret_cast<Integers>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif defined(__SSE2__)
  return sum + reinterpret_cast<Integers>(_mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#else
  for (Index i = 0; i < vector_width; ++i) sum[i] += a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
  return sum;
#endif
}

// Σ over the lanes of each of four vectors.
#if LINFORMER_VECTOR_WIDTH == 16
inline __m256 folded(Vector x) {
  const auto all = reinterpret_cast<__m512>(x);
  return _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
}
inline __m256i folded(Integers x) {
  const auto all = reinterpret_cast<__m512i>(x);
  return _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
}
#elif LINFORMER_VECTOR_WIDTH == 8
inline __m256 folded(Vector x) { return reinterpret_cast<__m256>(x); }
inline __m256i folded(Integers x) { return reinterpret_cast<__m256i>(x); }
#endif

#if LINFORMER_VECTOR_WIDTH > 4
inline void sums_of(const Vector (&x)[4], float (&sums)[4]) {
  const auto pairs =
      _mm256_hadd_ps(_mm256_hadd_ps(folded(x[0]), folded(x[1])), _mm256_hadd_ps(folded(x[2]), folded(x[3])));
  _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1)));
}
inline void sums_of(const Integers (&x)[4], float (&sums)[4]) {
  const auto pairs =
      _mm256_hadd_epi32(_mm256_hadd_epi32(folded(x[0]), folded(x[1])), _mm256_hadd_epi32(folded(x[2]), folded(x[3])));
  _mm_storeu_ps(sums,
                _mm_cvtepi32_ps(_mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1))));
}
#else
inline void sums_of(const Vector (&x)[4], float (&sums)[4]) {
  for (int i = 0; i < 4; ++i) sums[i] = sum_of(x[i]);
}
inline void sums_of(const Integers (&x)[4], float (&sums)[4]) {
  for (int i = 0; i < 4; ++i) {
    std::int32_t sum = 0;
    for (Index lane = 0; lane < vector_width; ++lane) sum += x[i][lane];
    sums[i] = static_cast<float>(sum);
  }
}
#endif

/// Σ over the lanes, in pairs.
inline float quick_sum_of(Vector x) {
  const Vector with_zeros[4] = {x};
  float sums[4];
  sums_of(with_zeros, sums);
  return sums[0];
}

}  // namespace
}  // namespace linformer::kernels
