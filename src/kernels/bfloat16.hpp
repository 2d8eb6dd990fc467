// One number as float32 or bfloat16, and its rounding. Vectors of them: element.hpp.
#pragma once

#include <cstdint>

namespace linformer::kernels {
namespace {

inline float widen(float x) { return x; }
inline float widen(std::uint16_t x) {  // bfloat16
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(x) << 16);
}
inline void narrow(float x, float& to) { to = x; }
inline void narrow(float x, std::uint16_t& to) {  // to nearest, ties to even; NaN stays NaN
  const auto bits = __builtin_bit_cast(std::uint32_t, x);
  to = static_cast<std::uint16_t>(x != x ? 0x7fc0U : (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

}  // namespace
}  // namespace linformer::kernels
