// Batches: what training and evaluation read, whatever they are made of. Shape letters: B rows of a batch, N window
// length.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "linformer/data/token_file.hpp"

namespace linformer {

inline constexpr std::int64_t kIgnored = -100;  ///< a target that does not count

struct Batch {
  at::Tensor ids, targets;  ///< (B,N) int64; targets: what each position is to tell, kIgnored = nothing
  bool sparse = false;      ///< few targets count: worth picking them out before the output layer
  at::Tensor distances =
      {};  ///< (B,N) int64 or undefined: how far back the answer of each target stands; makes accuracy count
};

/// Batches by number. Batch number `index` depends on what the source was made with and on `index` alone, so that a
/// resumed run continues exactly.
class Batches {
 public:
  virtual ~Batches() = default;
  virtual Batch at(std::int64_t index) const = 0;
  /// How many there are; -1 where they never end.
  virtual std::int64_t count() const { return -1; }
};

/// Random windows of the training part; targets are the ids one position later.
class TrainBatches final : public Batches {
 public:
  TrainBatches(TokenData data, std::int64_t batch, std::int64_t length,
               std::uint64_t seed);  ///< UserError when the split is shorter than length + 1
  Batch at(std::int64_t index) const override;

 private:
  TokenData data_;
  std::int64_t batch_, length_;
  std::uint64_t seed_;
};

/// The fixed pass over the validation part: consecutive windows, each token but the first a target once. The last
/// window is padded (id 0, target kIgnored) and the last batch may have fewer rows.
class ValidationBatches final : public Batches {
 public:
  ValidationBatches(TokenData data, std::int64_t batch, std::int64_t length);
  std::int64_t count() const override;
  Batch at(std::int64_t index) const override;

 private:
  TokenData data_;
  std::int64_t batch_, length_;
};

/// BERT's masked language model (Devlin et al. 2018) over windows of text: each position is a target with probability
/// 15 %, and one at least a window; 80 % of those read `mask`, 10 % a random id below `mask`, 10 % their own. Windows
/// that are padded have no targets, since a bidirectional model would see the padding. The draw depends on (seed,
/// index).
class MaskedBatches final : public Batches {
 public:
  MaskedBatches(std::unique_ptr<Batches> text, std::int64_t mask, std::uint64_t seed);
  Batch at(std::int64_t index) const override;
  std::int64_t count() const override { return text_->count(); }

 private:
  std::unique_ptr<Batches> text_;
  std::int64_t mask_;
  std::uint64_t seed_;
};

}  // namespace linformer
