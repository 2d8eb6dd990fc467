// Batches of windows from a token file.
#pragma once

#include <ATen/core/Tensor.h>

#include "linformer/data/token_file.hpp"

namespace linformer {

struct Batch { at::Tensor ids, targets; };  ///< (B,N) int64; targets are the ids one position later; -100 = not counted

/// Random windows of the training part. Batch number `index` depends on (seed, index) alone, so that a resumed run continues exactly.
class TrainBatches {
 public:
  TrainBatches(TokenData data, std::int64_t batch, std::int64_t length, std::uint64_t seed);  ///< UserError when the split is shorter than length + 1
  Batch at(std::int64_t index) const;
 private:
  TokenData data_;
  std::int64_t batch_, length_;
  std::uint64_t seed_;
};

/// The fixed pass over the validation part: consecutive windows, each token but the first a target once. The last window is padded (id 0, target -100) and the last batch may have fewer rows.
class ValidationBatches {
 public:
  ValidationBatches(TokenData data, std::int64_t batch, std::int64_t length);
  std::int64_t count() const;
  Batch at(std::int64_t index) const;
 private:
  TokenData data_;
  std::int64_t batch_, length_;
};

}  // namespace linformer
