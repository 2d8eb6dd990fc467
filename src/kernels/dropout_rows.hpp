// Rows [first, last) of kernels/dropout.hpp, counted over all sequences.
#pragma once

#include "kernels/dropout.hpp"
#include "kernels/element.hpp"

namespace linformer::kernels {
namespace {

// The same on every instruction set, so that a mask doesn't depend on the processor.
constexpr Index philox_lanes = 16, philox_numbers = 4 * philox_lanes;

/// Philox4x32-10 (Salmon et al. 2011) for the counters (first + lane, b, c, d): (4, lanes).
inline void philox(std::uint32_t first, std::uint32_t b, std::uint32_t c, std::uint32_t d, std::uint64_t key,
                   std::uint32_t* __restrict numbers) {
  std::uint32_t w[philox_lanes], x[philox_lanes], y[philox_lanes], z[philox_lanes];
  for (Index i = 0; i < philox_lanes; ++i) w[i] = first + static_cast<std::uint32_t>(i), x[i] = b, y[i] = c, z[i] = d;
  auto low_key = static_cast<std::uint32_t>(key), high_key = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round, low_key += 0x9E3779B9U, high_key += 0xBB67AE85U) {
    for (Index i = 0; i < philox_lanes; ++i) {
      const auto first_product = std::uint64_t{0xD2511F53U} * w[i], second_product = std::uint64_t{0xCD9E8D57U} * y[i];
      w[i] = static_cast<std::uint32_t>(second_product >> 32) ^ x[i] ^ low_key;
      x[i] = static_cast<std::uint32_t>(second_product);
      y[i] = static_cast<std::uint32_t>(first_product >> 32) ^ z[i] ^ high_key;
      z[i] = static_cast<std::uint32_t>(first_product);
    }
  }
  for (Index i = 0; i < philox_lanes; ++i) {
    numbers[i] = w[i], numbers[philox_lanes + i] = x[i];
    numbers[2 * philox_lanes + i] = y[i], numbers[3 * philox_lanes + i] = z[i];
  }
}

template <class Element>
void dropout_row(const DropoutRows& in, Index row) {
  const Element* x = static_cast<const Element*>(in.x) + row * in.width;
  Element* out = static_cast<Element*>(in.out) + row * in.width;
  const auto position = static_cast<std::uint64_t>(in.position + row % in.length);
  const auto site = static_cast<std::uint64_t>(in.site) | (position >> 32 << 16);
  std::uint32_t numbers[philox_numbers];
  float factors[philox_numbers];
  for (Index j = 0; j < in.width; j += philox_numbers) {
    philox(static_cast<std::uint32_t>(j / 4), static_cast<std::uint32_t>(position),
           static_cast<std::uint32_t>(row / in.length), static_cast<std::uint32_t>(site), in.seed, numbers);
    for (Index i = 0; i < philox_numbers; ++i) factors[i] = numbers[i] >= in.threshold ? in.scale : 0.0F;
    const Index used = smaller(philox_numbers, in.width - j);
    for (Index i = 0; i < used; i += vector_width) {
      const Index count = smaller(vector_width, used - i);
      store_row(out + j + i, load_row(x + j + i, count) * load(factors + i), count);
    }
  }
}

void dropout_rows(const DropoutRows& in, Index first, Index last) {
  for (Index row = first; row < last; ++row) {
    in.element == Element::float32 ? dropout_row<float>(in, row) : dropout_row<std::uint16_t>(in, row);
  }
}

}  // namespace
}  // namespace linformer::kernels
