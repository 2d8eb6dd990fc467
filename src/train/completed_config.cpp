// What of a run's config follows from its data.
#include <filesystem>

#include "linformer/core/error.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/utf8.hpp"
#include "linformer/train/run.hpp"

namespace linformer {

namespace fs = std::filesystem;

RunConfig completed(RunConfig config, const Dataset& data) {
  check(config.train);
  const bool masked = config.train.objective == Objective::masked;
  const auto size = vocabulary_of(*data.tokenizer(), config.train.objective);
  auto& vocabulary = config.model.vocabulary;
  if (vocabulary == 0) vocabulary = size;
  require(masked ? vocabulary == size : vocabulary >= size,
          "model.vocabulary is {}, but the data has {} token ids{}; leave it out, or give {}{}", vocabulary, size,
          masked ? " with the mask" : "", masked ? "" : "at least ", size);
  config.model = resolved(config.model);
  require(config.model.causal || masked,
          "model.causal is false: a model that sees the token it is to predict learns nothing; set it to true, or "
          "train.objective to masked");
  require(!config.model.causal || !masked,
          "train.objective is masked, which is for models that see both ways: set model.causal to false (and "
          "attention.window to 0 or auto), or "
          "train.objective to causal");
  auto& folder = config.data.folder;
  if (config.data.source == DataSource::text) folder = fs::absolute(folder).lexically_normal().string();
  require(
      is_utf8(folder),
      "data folder {}: its path is not UTF-8, so config.json can't hold it; rename the folder, or name a link to it",
      dump(folder));
  const auto length = config.model.length;
  config.identity = {.vocabulary_hash = data.tokenizer()->hash(),
                     .train_tokens = data.train_tokens(),
                     .validation_tokens = data.validation_tokens(length)};
  // Checked now, not at the first evaluation, which may be hours away.
  const Dataset::Sizes sizes{.batch = config.train.batch, .length = length, .objective = config.train.objective};
  data.train(sizes, config.seed);
  if (config.identity.validation_tokens == 0) return config;  // prepared so
  require(config.identity.validation_tokens >= 2,
          "{}: has {} validation token, expected at least 2; prepare it with a larger --validation, or with "
          "--validation 0 to train without evaluation",
          folder, config.identity.validation_tokens);
  data.validation(sizes);
  return config;
}

}  // namespace linformer
