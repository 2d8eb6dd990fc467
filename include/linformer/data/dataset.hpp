// The data of a run behind one interface: prepared text, or what is generated.
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
  };
  virtual ~Dataset() = default;
  /// Endless. UserError when there is too little for `sizes`.
  virtual std::unique_ptr<Batches> train(const Sizes& sizes, std::uint64_t seed) const = 0;
  /// The same for every seed of a run.
  virtual std::unique_ptr<Batches> validation(const Sizes& sizes) const = 0;
  virtual std::shared_ptr<const Tokenizer> tokenizer() const = 0;
  virtual std::int64_t train_tokens() const = 0;  ///< 0: no end
  virtual std::int64_t validation_tokens(std::int64_t length) const = 0;
  /// For bits per byte; std::nullopt where ids stand for no text.
  virtual std::optional<double> bytes_per_token() const = 0;
};

/// Opens what `config` names; it is checked first, with `length` = model.length. UserError as TokenData::open().
std::unique_ptr<Dataset> open_dataset(const DataConfig& config, std::int64_t length);
std::unique_ptr<Dataset> dataset_of(TokenData data);

/// How many ids a model of this data and objective needs: the mask is one more than the tokenizer has.
std::int64_t vocabulary_of(const Tokenizer& tokenizer, Objective objective);

}  // namespace linformer
