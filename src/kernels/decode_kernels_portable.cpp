// The decode kernels in plain C++.
#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/decode_tables.hpp"

namespace linformer::kernels {

namespace {

struct V {
  static constexpr std::int64_t kLanes = 4, kIntegers = 8;
  static constexpr int kColumns = 2;
  struct Float {
    float x[kLanes];
  };
  struct Integer {
    std::int32_t x[kIntegers];
  };

  template <class Function>
  static Float each(Function&& function) {
    Float out;
    for (int i = 0; i < kLanes; ++i) out.x[i] = function(i);
    return out;
  }
  static Float zero() { return fill(0); }
  static Float fill(float value) {
    return each([&](int) { return value; });
  }
  static Float load(const float* p) {
    return each([&](int i) { return p[i]; });
  }
  static void store(float* p, Float a) {
    for (int i = 0; i < kLanes; ++i) p[i] = a.x[i];
  }
  static Float add(Float a, Float b) {
    return each([&](int i) { return a.x[i] + b.x[i]; });
  }
  static Float subtract(Float a, Float b) {
    return each([&](int i) { return a.x[i] - b.x[i]; });
  }
  static Float multiply(Float a, Float b) {
    return each([&](int i) { return a.x[i] * b.x[i]; });
  }
  static Float divide(Float a, Float b) {
    return each([&](int i) { return a.x[i] / b.x[i]; });
  }
  static Float multiply_add(Float a, Float b, Float c) {
    return each([&](int i) { return a.x[i] * b.x[i] + c.x[i]; });
  }
  static Float largest(Float a, Float b) {
    return each([&](int i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; });
  }
  static Float least(Float a, Float b) {
    return each([&](int i) { return a.x[i] < b.x[i] ? a.x[i] : b.x[i]; });
  }
  static Float round(Float a) {
    return each([&](int i) { return std::nearbyint(a.x[i]); });
  }
  static Float power_of_two(Float n) {
    return each([&](int i) {
      const auto exponent = n.x[i] == n.x[i] ? static_cast<std::int32_t>(n.x[i]) : 0;  // NaN has no integer
      return std::bit_cast<float>((exponent + 127) << 23);
    });
  }
  static Float zero_below(Float value, Float x, Float limit) {
    return each([&](int i) { return x.x[i] < limit.x[i] ? 0.0F : value.x[i]; });
  }
  static void sum4(Float a, Float b, Float c, Float d, float* out) {
    for (int i = 0; i < 4; ++i) out[i] = 0;
    for (int i = 0; i < kLanes; ++i) {
      out[0] += a.x[i];
      out[1] += b.x[i];
      out[2] += c.x[i];
      out[3] += d.x[i];
    }
  }
  struct Pairs {
    std::uint32_t x[kLanes];
  };
  static Pairs load_pairs(const std::uint16_t* p) {
    Pairs out;
    for (int i = 0; i < kLanes; ++i) out.x[i] = p[2 * i] | static_cast<std::uint32_t>(p[2 * i + 1]) << 16;
    return out;
  }
  static Float low_of(Pairs a) {
    return each([&](int i) { return std::bit_cast<float>(a.x[i] << 16); });
  }
  static Float high_of(Pairs a) {
    return each([&](int i) { return std::bit_cast<float>(a.x[i] & 0xFFFF0000U); });
  }

  static Integer integer_zero() { return {}; }
  static Integer widen(const std::int8_t* p) {
    Integer out;
    for (int i = 0; i < kIntegers; ++i) out.x[i] = p[i];
    return out;
  }
  static Integer multiply_add(const Integer& w, const std::int16_t* x, const Integer& c) {
    Integer out;
    for (int i = 0; i < kIntegers; ++i) out.x[i] = c.x[i] + w.x[i] * x[i];
    return out;
  }
  static void sum4(const Integer& a, const Integer& b, const Integer& c, const Integer& d, float* out) {
    std::int32_t sums[4] = {0, 0, 0, 0};
    for (int i = 0; i < kIntegers; ++i) {
      sums[0] += a.x[i];
      sums[1] += b.x[i];
      sums[2] += c.x[i];
      sums[3] += d.x[i];
    }
    for (int r = 0; r < 4; ++r) out[r] = static_cast<float>(sums[r]);
  }
};

#include "kernels/decode_kernels.inc"

}  // namespace

const DecodeKernels& decode_kernels_portable() { return kTable; }

}  // namespace linformer::kernels
