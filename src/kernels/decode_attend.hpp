// DecodeKernels::attend: one query, and everything that it sees, in one softmax (maths 4a).
#pragma once

#include "kernels/decode_kernels.hpp"
#include "kernels/dot.hpp"

namespace linformer::kernels {
namespace {

/// The logits of one part and their maximum.
float logits_of(const SingleQuery& q, const VisibleKeys& part, float* logits, float maximum) {
  Index i = 0;
  const float* x[1] = {part.query != nullptr ? part.query : q.query};
  for (; i < part.count; i += 4) {
    const float* w[4];
    for (int r = 0; r < 4; ++r) w[r] = part.key + smaller(i + r, part.count - 1) * q.width;
    float sums[1][4];
    dot<1>(w, x, q.width, sums);
    for (int r = 0; r < 4; ++r) {
      logits[i + r] = sums[0][r] + part.bias;
      if (part.biases != nullptr) logits[i + r] += part.biases[smaller(i + r, part.count - 1)];
      maximum = larger(logits[i + r], maximum);  // NaN is no maximum, but becomes a weight
    }
  }
  return maximum;
}

template <int kVectors>
void mix_columns(const SingleQuery& q, const float* weights, float scale, Index column) {
  Vector sum[kVectors] = {};
  for (int part = 0; part < q.parts; ++part) {
    const float* value = q.visible[part].value + column;
    for (Index i = 0; i < q.visible[part].count; ++i, value += q.width) {
      const Vector weight = all_of(*weights++);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[v] += weight * load(value + v * vector_width);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) store(q.out + column + v * vector_width, sum[v] * scale);
}

void attend(const SingleQuery& q) {
  Index count = 0;
  float maximum = minus_infinity;
  for (int part = 0; part < q.parts; ++part) {
    maximum = logits_of(q, q.visible[part], q.weights + count, maximum);
    count += q.visible[part].count;
  }
  for (Index i = count; i < count + vector_width; ++i) q.weights[i] = minus_infinity;
  Vector total{};
  for (Index i = 0; i < count; i += vector_width) {
    const Vector weight = exponential(load(q.weights + i) - maximum);
    store(q.weights + i, weight);
    total += weight;
  }
  const float scale = 1 / quick_sum_of(total);
  Index column = 0;
  for (; column + 8 * vector_width <= q.width; column += 8 * vector_width) mix_columns<8>(q, q.weights, scale, column);
  for (; column + 4 * vector_width <= q.width; column += 4 * vector_width) mix_columns<4>(q, q.weights, scale, column);
  for (; column < q.width; column += vector_width) mix_columns<1>(q, q.weights, scale, column);
}

}  // namespace
}  // namespace linformer::kernels
