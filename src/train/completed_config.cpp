// What of a run's config follows from its data.
#include <filesystem>

#include "linformer/core/error.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/utf8.hpp"
#include "linformer/train/run.hpp"

namespace linformer {

namespace fs = std::filesystem;

namespace {

// The state has to mean the same after any number of tokens, and to stay as small as it is.
void check_carried_state(const RunConfig& config) {
  if (!config.train.carry_state) return;
  require(config.data.source == DataSource::text && config.data.order == DataOrder::sequential,
          "train.carry_state is true, but the rows of a batch don't go on where those of the step before ended "
          "(data.source = {}, data.order = {}); set data.source to text and data.order to sequential",
          enum_name(config.data.source), enum_name(config.data.order));
  auto form = form_of(config.model);
  if (!config.model.attention.softmax_layers.empty()) form = Form::softmax;
  require(form == Form::running,
          "train.carry_state is true, but the state of the form {} {}; use a causal window with attention.summary = "
          "running",
          enum_name(form),
          config.model.causal && form != Form::prefix ? "grows with the text without end" : "ends with model.length");
  require(
      config.model.longest_text() == ModelConfig::kUnlimited,
      "train.carry_state is true, but this model reads no more than model.length = {} tokens; set model.position to "
      "rotary or none, attention.projection to a rule without a table, such as periodic, and model.length to more "
      "than two windows",
      config.model.length);
}

}  // namespace

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
  check_chunk(config.train, config.model);
  check_carried_state(config);
  require(config.model.causal || masked,
          "model.causal is false: a model that sees the token it is to predict learns nothing; set it to true, or "
          "train.objective to masked");
  require(!config.model.causal || !masked,
          "train.objective is masked, which is for models that see both ways: set model.causal to false (and "
          "attention.window to 0 or auto), or "
          "train.objective to causal");
  auto& folder = config.data.folder;
  if (!folder.empty()) folder = fs::absolute(folder).lexically_normal().string();
  require(
      is_utf8(folder),
      "data folder {}: its path is not UTF-8, so config.json can't hold it; rename the folder, or name a link to it",
      dump(folder));
  const auto length = config.model.length;
  config.identity = {.vocabulary_hash = data.tokenizer()->hash(),
                     .train_tokens = data.train_tokens(),
                     .validation_tokens = data.validation_tokens(length)};
  // Checked now, not at the first evaluation, which may be hours away.
  const Dataset::Sizes sizes{
      .batch = config.train.batch, .length = length, .objective = config.train.objective, .order = config.data.order};
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
