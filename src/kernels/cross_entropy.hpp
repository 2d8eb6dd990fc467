// Cross-entropy of rows of logits, and its gradient in place (maths 6). Shape letters: R rows, V vocabulary.
#pragma once

#include <cstdint>

#include "kernels/attend.hpp"

namespace linformer::kernels {

struct CrossEntropyRows {
  Element element;             ///< element type of the logits; the computation is in float32
  void* logits;                ///< (R,V), contiguous
  const std::int64_t* target;  ///< (R), each in [0, V) or `ignore_index`
  std::int64_t rows, vocabulary, ignore_index;
  /// when not 0, the logits are replaced by gradient_scale × (softmax − one-hot of the target); rows with an ignored
  /// target become zero
  float gradient_scale;
};

/// Writes −log softmax(logits)[target] of each row to `loss` (R), and 0 for ignored targets. The rows are divided among
/// LibTorch's threads; their number doesn't change the result.
void cross_entropy(const CrossEntropyRows& rows, double* loss);

}  // namespace linformer::kernels
