// Batches: what training and evaluation read, from any kind of data. Shape letters: B rows of a batch, N tokens in a
// row.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "linformer/data/token_file.hpp"

namespace linformer {

inline constexpr std::int64_t kIgnored = -100;  ///< a position with this target is not counted in the loss

struct Batch {
  at::Tensor ids, targets;  ///< (B,N) int64; targets: the id to predict at each position, kIgnored = none
  /// True when few positions have a target, so that it pays to select them before the output layer.
  bool sparse = false;
  /// (B,N) int64, or undefined: how many positions back the answer to each target is found. When it is defined,
  /// evaluation also reports accuracy.
  at::Tensor distances = {};
  at::Tensor depths = {};  ///< (B) float64, or undefined: which share of the text stands before what a row asks for
};

/// Batches that are asked for by number. Batch `index` depends only on how the source was made and on `index`. That is
/// why a resumed run reads exactly the same data.
class Batches {
 public:
  virtual ~Batches() = default;
  virtual Batch at(std::int64_t index) const = 0;
  /// The number of batches; -1 when there is no end.
  virtual std::int64_t count() const { return -1; }
  /// Whether each row of batch `index` goes on where the same row of the batch before ended.
  virtual bool continues(std::int64_t) const { return false; }
};

/// Random windows of the training part. The target at each position is the next id.
class TrainBatches final : public Batches {
 public:
  /// UserError when the training part is shorter than length + 1.
  TrainBatches(TokenData data, std::int64_t batch, std::int64_t length, std::uint64_t seed);
  Batch at(std::int64_t index) const override;

 private:
  TokenData data_;
  std::int64_t batch_, length_;
  std::uint64_t seed_;
};

/// The training part, cut into as many equal stretches as a batch has rows. Batch `index` holds the windows of all
/// stretches that follow those of batch `index` − 1; after the last one it begins again.
class SequentialBatches final : public Batches {
 public:
  /// UserError when a stretch is shorter than length + 1.
  SequentialBatches(TokenData data, std::int64_t batch, std::int64_t length);
  Batch at(std::int64_t index) const override;
  bool continues(std::int64_t index) const override { return index % windows_ != 0; }

 private:
  TokenData data_;
  std::int64_t batch_, length_, stretch_, windows_;  // windows_: in a stretch
};

/// One fixed pass over the validation part, in windows that follow each other. Each token except the first is a target
/// exactly once. The last window is padded (id 0, target kIgnored), and the last batch may have fewer rows.
class ValidationBatches final : public Batches {
 public:
  ValidationBatches(TokenData data, std::int64_t batch, std::int64_t length);
  std::int64_t count() const override;
  Batch at(std::int64_t index) const override;

 private:
  TokenData data_;
  std::int64_t batch_, length_;
};

/// BERT's masked language model (Devlin et al. 2018, arXiv 1810.04805) on windows of text. Each position is a target
/// with probability 15 %; every window has at least one target. Of the targets, 80 % are replaced by the id `mask`, 10
/// % by a random id below `mask`, and 10 % stay as they are. A padded window has no targets, because a bidirectional
/// model would see the padding. The random choice depends only on (seed, index).
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
