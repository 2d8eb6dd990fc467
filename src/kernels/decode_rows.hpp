// What the decoder does with one vector: quantise, norms, GELU, SwiGLU.
#pragma once

#include "kernels/activation.hpp"
#include "kernels/decode_kernels.hpp"
#include "kernels/lane_sums.hpp"
#include "kernels/norm_row.hpp"

namespace linformer::kernels {
namespace {

/// The largest magnitude; NaN where a number is NaN or infinite.
float largest_magnitude(const float* x, Index count) {
  float largest = 0, poison = 0;  // 0·x is 0, or NaN
  Index i = 0;
  if (count >= vector_width) {
    Vector largests{}, poisons{};
    for (; i + vector_width <= count; i += vector_width) {
      const Vector value = load(x + i);
      largests = larger(largests, larger(value, -value));
      poisons += value * Vector{};
    }
    for (Index lane = 0; lane < vector_width; ++lane) largest = larger(largests[lane], largest);
    for (Index lane = 0; lane < vector_width; ++lane) poison += poisons[lane];
  }
  for (; i < count; ++i) largest = larger(__builtin_fabsf(x[i]), largest), poison += 0 * x[i];
  return poison == 0 ? largest : poison;
}

void quantise(const float* x, Index count, float limit, std::int16_t* values, float* scale) {
  const float largest = largest_magnitude(x, count);
  *scale = largest / limit;
  Index i = 0;
  if (largest > 0) {
    const float factor = limit / largest;
    // The factor is rounded, so that its product may pass the limit by one.
    for (; i < count; ++i) {
      const float rounded = smaller(larger(x[i] * factor, -limit), limit);
      values[i] = static_cast<std::int16_t>(static_cast<std::int32_t>(rounded + (rounded < 0 ? -0.5F : 0.5F)));
    }
  }
  for (; i < padded(count); ++i) values[i] = 0;  // all, where there is nothing to scale or the scale is NaN
}

void normalise(const float* x, const float* weight, const float* bias, Index count, float* out) {
  Vector total{};
  for_vectors(count, [&](Index j, Index in_vector) { total += load_row(x + j, in_vector); });
  const float mean = quick_sum_of(total) / static_cast<float>(count);
  norm_row<quick_sum_of>(x, count, mean, {weight, bias}, out);
}

void rms_normalise(const float* x, const float* weight, Index count, float* out) {
  norm_row<quick_sum_of>(x, count, 0, {weight, nullptr}, out);
}

void gelu(float* x, Index count) {
  for (Index i = 0; i < count; i += vector_width) store(x + i, gelu_of(load(x + i)));
}

void swiglu(const float* gate, const float* up, Index count, float* out) {
  for_vectors(count, [&](Index j, Index in_vector) {
    store_row(out + j, swiglu_of(load_row(gate + j, in_vector), load_row(up + j, in_vector)), in_vector);
  });
}

}  // namespace
}  // namespace linformer::kernels
