#include "train/start_weights.hpp"

#include <map>
#include <set>
#include <string>
#include <system_error>

#include "linformer/config/io.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/path.hpp"
#include "linformer/core/utf8.hpp"
#include "linformer/infer/model_tokenizer.hpp"
#include "train/file_hash.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

const fs::path kWeights = "model.safetensors";

bool holds(const fs::path& folder, const StartWeights& weights) {
  std::error_code ignored;
  return fs::is_regular_file(folder / kWeights, ignored) && hash_of_file(folder / kWeights) == weights.sha256;
}

}  // namespace

StartWeights name_start_weights(const fs::path& folder, const fs::path& run) {
  require(fs::is_directory(folder), "--from {}: expected the folder of a model, a run or a checkpoint",
          folder.string());
  require(!is_inside(folder, run), "--from {}: lies in {}, which the new run replaces; choose another --out",
          folder.string(), run.string());
  const auto path = fs::absolute(folder).lexically_normal().string();
  require(is_utf8(path),
          "--from {}: its path is not UTF-8, so config.json can't hold it; rename the folder, or name a link to it",
          dump(path));
  return {.folder = path, .sha256 = hash_of_file(folder / kWeights)};
}

LoadedModel load_start_weights(const StartWeights& weights, const fs::path& run) {
  for (const auto& folder : {fs::path(weights.folder), run}) {
    if (holds(folder, weights)) return load_model(folder);
  }
  fail(
      "{}: its model.safetensors is missing or is not the one that the run in {} was started from (sha256 {}); put it "
      "back, or start again with --overwrite",
      weights.folder, run.string(), weights.sha256);
}

void check_vocabulary(const LoadedModel& model, const Tokenizer& data, const StartWeights& weights) {
  const auto own = tokenizer_of(model);
  require(own->hash() == data.hash(),
          "--from {}: its vocabulary ('{}', hash {}) is not that of the data ('{}', hash {}); prepare the text again "
          "with --tokenizer {}",
          weights.folder, own->name(), own->hash(), data.name(), data.hash(),
          (fs::path(weights.folder) / "tokenizer.json").string());
}

LanguageModel with_config(const LanguageModel& model, const ModelConfig& config, const StartWeights& weights) {
  static const std::set<std::string> kFree = {"model.dropout", "attention.reassociate"};
  auto own = model.config(), given = resolved(config);
  // Standard attention has no use for the other fields of its section.
  if (own.attention.kind == AttentionKind::softmax && given.attention.kind == AttentionKind::softmax)
    given.attention = own.attention;
  if (const auto different = first_difference(fields_of(own), fields_of(given), kFree)) {
    const bool length = different->name == "model.length";
    fail("{} is {}, but the weights of {} were trained with {}{}; leave it out, or train without --from",
         different->name, excerpt(different->second), weights.folder, excerpt(different->first),
         length ? ", and are neither stretched nor cut" : "");
  }
  std::map<std::string, at::Tensor> values;
  for (const auto& [name, tensor] : model.parameters()) values[name] = tensor.detach();
  return LanguageModel(given, [&](const std::string& name, at::IntArrayRef) { return values.at(name); });
}

}  // namespace linformer
