// Cross-entropy of rows of logits, and its gradient in place (maths 6). Shape letters: R rows, V vocabulary.
#pragma once

#include <cstdint>

#include "linformer/kernels/attend.hpp"

namespace linformer::kernels {

struct CrossEntropyRows {
  Element element;             ///< of the logits; all is computed in float32
  void* logits;                ///< (R,V), contiguous
  const std::int64_t* target;  ///< (R), each in [0, V) or `ignore_index`
  std::int64_t rows, vocabulary, ignore_index;
  float gradient_scale;  ///< not 0: the logits become this × (softmax − one-hot of the target), zero where
                         ///< it is ignored
};

/// Writes −log softmax(logits)[target] of each row to `loss` (R), 0 where it is ignored. Rows are spread over
/// the engine's threads; the result does not depend on their number.
void cross_entropy(const CrossEntropyRows& rows, double* loss);

}  // namespace linformer::kernels
