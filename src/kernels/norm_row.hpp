// The layer norm or RMS norm of one row, for training and for the decoder.
#pragma once

#include "kernels/element.hpp"
#include "kernels/layer_norm.hpp"

namespace linformer::kernels {
namespace {

struct NormWeights {
  const float *weight, *bias;  ///< bias null: none
};

/// normed = (x − mean)·scale·weight + bias; returns scale = 1/√(Σ(x − mean)²/width + ε). In an RMS norm the mean is
/// taken for 0. `kSum` adds up the lanes of a vector.
template <float (*kSum)(Vector), class Stream, class Element>
inline __attribute__((always_inline)) float norm_row(const Stream* x, Index width, float mean, NormWeights norm,
                                                     Element* normed) {
  Vector squares{};
  const Index whole = width / vector_width * vector_width;
  for (Index j = 0; j < whole; j += vector_width) {
    const Vector difference = load_wide(x + j) - mean;
    squares += difference * difference;
  }
  float square = kSum(squares);
  for (Index j = whole; j < width; ++j) square += (widen(x[j]) - mean) * (widen(x[j]) - mean);
  const float scale =
      1.0F / __builtin_sqrtf(square * (1.0F / static_cast<float>(width)) + static_cast<float>(norm_epsilon));
  // Two loops, so that scaling and adding a bias become one operation wherever the processor has it.
  if (norm.bias != nullptr) {
    for_vectors(width, [&](Index j, Index count) {
      const Vector scaled = (load_row(x + j, count) - mean) * scale;
      store_row(normed + j, scaled * load_row(norm.weight + j, count) + load_row(norm.bias + j, count), count);
    });
  } else {
    for_vectors(width, [&](Index j, Index count) {
      const Vector scaled = (load_row(x + j, count) - mean) * scale;
      store_row(normed + j, scaled * load_row(norm.weight + j, count), count);
    });
  }
  return scale;
}

}  // namespace
}  // namespace linformer::kernels
