// GELU and SwiGLU of vectors, for training and for the decoder.
#pragma once

#include "kernels/vector.hpp"

namespace linformer::kernels {
namespace {

/// Φ(x), the normal distribution's integral, and e = exp(−x²/2), of which its slope is e/√(2π).
struct Normal {
  Vector integral, bell;
};

/// Formula 7.1.26 of Abramowitz and Stegun 1964; in float32 Φ is within 3.5e-7.
inline Normal normal_of(Vector x) {
  const Vector size = x < 0.0F ? -x : x;
  const Vector t = 1.0F / (1.0F + size * (0.3275911F * 0.70710678F));
  const Vector bell = exponential(-0.5F * x * x);
  Vector polynomial = t * 1.061405429F - 1.453152027F;
  polynomial = polynomial * t + 1.421413741F;
  polynomial = polynomial * t - 0.284496736F;
  polynomial = polynomial * t + 0.254829592F;
  const Vector tail = 0.5F * polynomial * t * bell;
  return {x < 0.0F ? tail : 1.0F - tail, bell};
}

inline Vector gelu_of(Vector x) { return x * normal_of(x).integral; }

/// gate/(1 + e^−gate) · up
inline Vector swiglu_of(Vector gate, Vector up) {
  return gate / (1.0F + exponential(smaller(all_of(88.0F), -gate))) * up;  // which keeps NaN
}

}  // namespace
}  // namespace linformer::kernels
