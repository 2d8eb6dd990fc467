#include "linformer/data/dataset.hpp"

#include <optional>
#include <utility>

#include "linformer/core/error.hpp"
#include "linformer/data/passkey.hpp"
#include "linformer/data/recall.hpp"

namespace linformer {
namespace {

// The masks of the validation part are the same for every run.
constexpr std::uint64_t kValidationSeed = 15;

class TextDataset final : public Dataset {
 public:
  explicit TextDataset(TokenData data) : data_(std::move(data)) {}

  std::unique_ptr<Batches> train(const Sizes& sizes, std::uint64_t seed) const override {
    std::unique_ptr<Batches> text;
    if (sizes.order == DataOrder::sequential) {
      text = std::make_unique<SequentialBatches>(data_, sizes.batch, sizes.length);
    } else {
      text = std::make_unique<TrainBatches>(data_, sizes.batch, sizes.length, seed);
    }
    return with_objective(std::move(text), sizes, seed);
  }
  std::unique_ptr<Batches> validation(const Sizes& sizes) const override {
    require(sizes.objective == Objective::causal || data_.validation_size() > sizes.length,
            "the validation part has {} tokens, too few for one window of model.length {} and one more; use more text, "
            "a larger --validation "
            "in `linformer prepare`, or a smaller model.length",
            data_.validation_size(), sizes.length);
    return with_objective(std::make_unique<ValidationBatches>(data_, sizes.batch, sizes.length), sizes,
                          kValidationSeed);
  }
  std::shared_ptr<const Tokenizer> tokenizer() const override { return data_.tokenizer(); }
  std::int64_t train_tokens() const override { return data_.train_size(); }
  std::int64_t validation_tokens(std::int64_t) const override { return data_.validation_size(); }
  std::optional<double> bytes_per_token() const override { return data_.validation_bytes_per_token(); }

 private:
  std::unique_ptr<Batches> with_objective(std::unique_ptr<Batches> text, const Sizes& sizes, std::uint64_t seed) const {
    if (sizes.objective == Objective::causal) return text;
    return std::make_unique<MaskedBatches>(std::move(text), data_.tokenizer()->size(), seed);
  }
  TokenData data_;
};

// Generated sequences: training uses even seeds and validation odd ones, so no run trains on a sequence that validates
// it.
class GeneratedDataset : public Dataset {
 public:
  explicit GeneratedDataset(DataConfig config) : config_(std::move(config)) {}

  std::unique_ptr<Batches> train(const Sizes& sizes, std::uint64_t seed) const override {
    check_objective(sizes);
    return make(sizes, TextPart::train, 2 * seed, -1);
  }
  std::unique_ptr<Batches> validation(const Sizes& sizes) const override {
    check_objective(sizes);
    return make(sizes, TextPart::validation, 2 * static_cast<std::uint64_t>(config_.seed) + 1, config_.sequences);
  }
  std::int64_t train_tokens() const override { return 0; }
  std::int64_t validation_tokens(std::int64_t length) const override { return config_.sequences * length; }
  std::optional<double> bytes_per_token() const override { return std::nullopt; }

 protected:
  virtual std::unique_ptr<Batches> make(const Sizes& sizes, TextPart part, std::uint64_t seed,
                                        std::int64_t limit) const = 0;
  const DataConfig& config() const { return config_; }

 private:
  void check_objective(const Sizes& sizes) const {
    require(sizes.objective == Objective::causal,
            "train.objective is masked, but data.source = {} has targets of its own; set train.objective to causal",
            enum_name(config_.source));
  }
  DataConfig config_;
};

class RecallDataset final : public GeneratedDataset {
 public:
  explicit RecallDataset(const DataConfig& config)
      : GeneratedDataset(config), tokenizer_(numbers_tokenizer(config.keys + config.values)) {}
  std::shared_ptr<const Tokenizer> tokenizer() const override { return tokenizer_; }

 protected:
  std::unique_ptr<Batches> make(const Sizes& sizes, TextPart, std::uint64_t seed, std::int64_t limit) const override {
    return std::make_unique<RecallBatches>(config(), sizes.batch, sizes.length, seed, limit);
  }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
};

class PasskeyDataset final : public GeneratedDataset {
 public:
  explicit PasskeyDataset(const DataConfig& config) : GeneratedDataset(config) {
    if (!config.folder.empty()) text_ = TokenData::open(config.folder);
    tokenizer_ = text_ ? text_->tokenizer() : numbers_tokenizer(config.keys + config.values + 1);
  }
  std::shared_ptr<const Tokenizer> tokenizer() const override { return tokenizer_; }
  std::int64_t validation_tokens(std::int64_t length) const override {
    return text_ && text_->validation_size() == 0 ? 0 : GeneratedDataset::validation_tokens(length);
  }

 protected:
  std::unique_ptr<Batches> make(const Sizes& sizes, TextPart part, std::uint64_t seed,
                                std::int64_t limit) const override {
    const PasskeyBatches::Sizes own{.batch = sizes.batch, .length = sizes.length, .seed = seed, .limit = limit};
    if (text_) return std::make_unique<PasskeyBatches>(config(), *text_, part, own);
    return std::make_unique<PasskeyBatches>(config(), own);
  }

 private:
  std::optional<TokenData> text_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

}  // namespace

std::unique_ptr<Dataset> dataset_of(TokenData data) { return std::make_unique<TextDataset>(std::move(data)); }

std::unique_ptr<Dataset> open_dataset(const DataConfig& config, std::int64_t length) {
  check(config, length);
  if (config.source == DataSource::recall) return std::make_unique<RecallDataset>(config);
  if (config.source == DataSource::passkey) return std::make_unique<PasskeyDataset>(config);
  return dataset_of(TokenData::open(config.folder));
}

std::int64_t vocabulary_of(const Tokenizer& tokenizer, Objective objective) {
  return tokenizer.size() + (objective == Objective::masked ? 1 : 0);
}

}  // namespace linformer
