// The decode kernels for AVX-512 (F, BW, DQ): built with that instruction set's flags (see cmake/Kernels.cmake).
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels/decode_tables.hpp"

#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns wrongly about its own intrinsics
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace linformer::kernels {

namespace {

struct V {
  static constexpr std::int64_t kLanes = 16, kIntegers = 32;
  static constexpr int kColumns = 6;
  using Float = __m512;
  struct Integer {
    __m512i x;
  };

  static Float zero() { return _mm512_setzero_ps(); }
  static Float fill(float value) { return _mm512_set1_ps(value); }
  static Float load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Float a) { _mm512_storeu_ps(p, a); }
  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float subtract(Float a, Float b) { return _mm512_sub_ps(a, b); }
  static Float multiply(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float divide(Float a, Float b) { return _mm512_div_ps(a, b); }
  static Float multiply_add(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static Float largest(Float a, Float b) { return _mm512_max_ps(a, b); }
  static Float least(Float a, Float b) { return _mm512_min_ps(a, b); }
  static Float round(Float a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Float power_of_two(Float n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
  }
  static Float zero_below(Float value, Float x, Float limit) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), value);
  }
  static __m256 half_sum(Float a) { return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)); }
  static void sum4(Float a, Float b, Float c, Float d, float* out) {
    const auto sums =
        _mm256_hadd_ps(_mm256_hadd_ps(half_sum(a), half_sum(b)), _mm256_hadd_ps(half_sum(c), half_sum(d)));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
  }
  static __m512i load_pairs(const std::uint16_t* p) { return _mm512_loadu_si512(p); }
  static Float low_of(__m512i pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
  static Float high_of(__m512i pairs) {
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xFFFF0000U))));
  }

  static Integer integer_zero() { return {_mm512_setzero_si512()}; }
  static Integer widen(const std::int8_t* p) {
    return {_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  static Integer multiply_add(Integer w, const std::int16_t* x, Integer c) {
    return {_mm512_add_epi32(c.x, _mm512_madd_epi16(w.x, _mm512_loadu_si512(x)))};
  }
  static __m256i half_sum(Integer a) {
    return _mm256_add_epi32(_mm512_castsi512_si256(a.x), _mm512_extracti64x4_epi64(a.x, 1));
  }
  static void sum4(Integer a, Integer b, Integer c, Integer d, float* out) {
    const auto sums =
        _mm256_hadd_epi32(_mm256_hadd_epi32(half_sum(a), half_sum(b)), _mm256_hadd_epi32(half_sum(c), half_sum(d)));
    _mm_storeu_ps(out, _mm_cvtepi32_ps(_mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1))));
  }
};

#include "kernels/decode_kernels.inc"

}  // namespace

const DecodeKernels& decode_kernels_avx512() { return kTable; }

}  // namespace linformer::kernels

#endif
