// One row of cross-entropy: three passes over numbers that then are in cache.
#pragma once

#include "kernels/attend.hpp"
#include "kernels/element.hpp"

namespace linformer::kernels {
namespace {

/// The vector at `from`, −∞ beyond `count` numbers.
inline Vector load_part(const float* from, Index count) {
  Vector part = all_of(minus_infinity);
  for (Index i = 0; i < count; ++i) part[i] = from[i];
  return part;
}

inline float largest_of(const float* row, Index count) {
  const Index whole = count / vector_width * vector_width;
  Vector top[2] = {load_part(row + whole, count - whole), all_of(minus_infinity)};
  for (Index j = 0; j < whole; j += vector_width)
    top[j / vector_width % 2] = larger(top[j / vector_width % 2], load(row + j));
  top[0] = larger(top[0], top[1]);
  float largest = top[0][0];
  for (Index i = 1; i < vector_width; ++i) largest = top[0][i] > largest ? top[0][i] : largest;
  return largest;
}

/// Σ exp(row − largest); with kStore the terms replace the row. Partial sums are short, so that float32 holds
/// them.
template <bool kStore>
double exponential_sum(float* row, Index count, float largest) {
  constexpr Index stretch = 512 * vector_width;
  const Index whole = count / vector_width * vector_width;
  const Vector last = exponential(load_part(row + whole, count - whole) - largest);
  double sum = static_cast<double>(sum_of(last));
  if (kStore) store_row(row + whole, last, count - whole);
  for (Index first = 0; first < whole; first += stretch) {
    const Index end = first + stretch < whole ? first + stretch : whole;
    Vector part{};
    for (Index j = first; j < end; j += vector_width) {
      const Vector term = exponential(load(row + j) - largest);
      if (kStore) store(row + j, term);
      part += term;
    }
    sum += static_cast<double>(sum_of(part));
  }
  return sum;
}

/// −log softmax(row)[target]; unless `gradient_scale` is 0 the row becomes that × (softmax − one-hot). `target` −1:
/// ignored.
inline double cross_entropy_of(float* row, Index count, Index target, float gradient_scale) {
  const bool gradient = gradient_scale != 0;
  if (target < 0) {
    for (Index j = 0; gradient && j < count; ++j) row[j] = 0;
    return 0;
  }
  const float wanted = row[target], largest = largest_of(row, count);
  const double sum =
      gradient ? exponential_sum<true>(row, count, largest) : exponential_sum<false>(row, count, largest);
  if (gradient) {
    const float share = static_cast<float>(static_cast<double>(gradient_scale) / sum);
    for (Index j = 0; j < count; ++j) row[j] *= share;
    row[target] -= gradient_scale;
  }
  return __builtin_log(sum) + (static_cast<double>(largest) - static_cast<double>(wanted));
}

/// The same of a row in either element; bfloat16 is widened into `scratch` and rounded once, at the end.
double cross_entropy_row(Element element, void* row, float* scratch, Index count, Index target, float gradient_scale) {
  if (element == Element::float32) return cross_entropy_of(static_cast<float*>(row), count, target, gradient_scale);
  auto* halves = static_cast<std::uint16_t*>(row);
  for (Index j = 0; j < count; j += vector_width) {
    const Index left = smaller(vector_width, count - j);
    store_row(scratch + j, load_row(halves + j, left), left);
  }
  const double loss = cross_entropy_of(scratch, count, target, gradient_scale);
  for (Index j = 0; gradient_scale != 0 && j < count; j += vector_width) {
    const Index left = smaller(vector_width, count - j);
    store_row(halves + j, load_row(scratch + j, left), left);
  }
  return loss;
}

}  // namespace
}  // namespace linformer::kernels
