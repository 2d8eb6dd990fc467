// The decode kernels for AVX2 with FMA: built with that instruction set's flags (see cmake/Kernels.cmake).
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels/decode_tables.hpp"

namespace linformer::kernels {

namespace {

struct V {
  static constexpr std::int64_t kLanes = 8, kIntegers = 16;
  static constexpr int kColumns = 3;
  using Float = __m256;
  struct Integer {
    __m256i x;
  };

  static Float zero() { return _mm256_setzero_ps(); }
  static Float fill(float value) { return _mm256_set1_ps(value); }
  static Float load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Float a) { _mm256_storeu_ps(p, a); }
  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float subtract(Float a, Float b) { return _mm256_sub_ps(a, b); }
  static Float multiply(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float divide(Float a, Float b) { return _mm256_div_ps(a, b); }
  static Float multiply_add(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  static Float largest(Float a, Float b) { return _mm256_max_ps(a, b); }
  static Float least(Float a, Float b) { return _mm256_min_ps(a, b); }
  static Float round(Float a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Float power_of_two(Float n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
  }
  static Float zero_below(Float value, Float x, Float limit) {
    return _mm256_andnot_ps(_mm256_cmp_ps(x, limit, _CMP_LT_OQ), value);
  }
  static void sum4(Float a, Float b, Float c, Float d, float* out) {
    const auto sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
  }
  static __m256i load_pairs(const std::uint16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Float low_of(__m256i pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
  static Float high_of(__m256i pairs) {
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xFFFF0000U))));
  }

  static Integer integer_zero() { return {_mm256_setzero_si256()}; }
  static Integer widen(const std::int8_t* p) {
    return {_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  static Integer multiply_add(Integer w, const std::int16_t* x, Integer c) {
    return {_mm256_add_epi32(c.x, _mm256_madd_epi16(w.x, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x))))};
  }
  static void sum4(Integer a, Integer b, Integer c, Integer d, float* out) {
    const auto sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a.x, b.x), _mm256_hadd_epi32(c.x, d.x));
    _mm_storeu_ps(out, _mm_cvtepi32_ps(_mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1))));
  }
};

#include "kernels/decode_kernels.inc"

}  // namespace

const DecodeKernels& decode_kernels_avx2() { return kTable; }

}  // namespace linformer::kernels

#endif
