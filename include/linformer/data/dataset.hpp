// One interface for all data that a run can use: prepared text or generated sequences.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "linformer/config/data_config.hpp"
#include "linformer/config/train_config.hpp"
#include "linformer/data/batches.hpp"

namespace linformer {

class Dataset {
 public:
  struct Sizes {
    std::int64_t batch, length;
    Objective objective = Objective::causal;
    DataOrder order = DataOrder::random;  ///< of training
  };
  virtual ~Dataset() = default;
  /// Batches without end. UserError when there is too little data for `sizes`.
  virtual std::unique_ptr<Batches> train(const Sizes& sizes, std::uint64_t seed) const = 0;
  /// The validation batches are the same for every seed of a run.
  virtual std::unique_ptr<Batches> validation(const Sizes& sizes) const = 0;
  virtual std::shared_ptr<const Tokenizer> tokenizer() const = 0;
  virtual std::int64_t train_tokens() const = 0;  ///< 0: there is no end
  virtual std::int64_t validation_tokens(std::int64_t length) const = 0;
  /// Needed to compute bits per byte. std::nullopt when ids don't stand for text.
  virtual std::optional<double> bytes_per_token() const = 0;
};

/// Checks `config` and opens the data that it names. `length` is model.length. UserError as TokenData::open().
std::unique_ptr<Dataset> open_dataset(const DataConfig& config, std::int64_t length);
std::unique_ptr<Dataset> dataset_of(TokenData data);

/// How many ids a model needs for this data and objective. A masked model needs one more than the tokenizer has: the
/// mask.
std::int64_t vocabulary_of(const Tokenizer& tokenizer, Objective objective);

}  // namespace linformer
