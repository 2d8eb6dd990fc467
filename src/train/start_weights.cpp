#include "train/start_weights.hpp"

#include <map>
#include <set>
#include <string>
#include <system_error>

#include "linformer/config/io.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/hash.hpp"
#include "linformer/core/path.hpp"
#include "linformer/core/utf8.hpp"
#include "linformer/infer/model_tokenizer.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

const fs::path kWeights = "model.safetensors";

bool holds(const fs::path& folder, const StartWeights& weights) {
  std::error_code ignored;
  return fs::is_regular_file(folder / kWeights, ignored) && hash_of_file(folder / kWeights) == weights.sha256;
}

// Fields in which a model may differ from the one whose weights it begins with: no shape outside attention follows from
// them, but that of a table of positions.
std::set<std::string> free_fields() {
  std::set<std::string> free{"model.dropout", "model.length"};
  ModelConfig any;
  for (const auto& field : fields_of(any)) {
    if (field.name.starts_with("attention.")) free.insert(field.name);
  }
  return free;
}

bool is_of_attention(const std::string& tensor) { return tensor.find(".attention.") != std::string::npos; }

std::map<std::string, at::Tensor> detached_parameters(const LanguageModel& model) {
  std::map<std::string, at::Tensor> all;
  for (const auto& [name, tensor] : model.parameters()) all[name] = tensor.detach();
  return all;
}

// "blocks.3.attention.decay" becomes "blocks.*.attention.decay".
std::string of_every_block(const std::string& tensor) {
  constexpr std::string_view kBlocks = "blocks.";
  if (!tensor.starts_with(kBlocks)) return tensor;
  return formatted("{}*{}", kBlocks, tensor.substr(tensor.find('.', kBlocks.size())));
}

std::string listed(const std::set<std::string>& names) {
  return joined(std::vector<std::string>(names.begin(), names.end()), ", ");
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

LanguageModel with_config(const LanguageModel& model, const ModelConfig& config, const StartWeights& weights,
                          std::uint64_t seed, const std::function<void(const std::string&)>& remark) {
  auto own = model.config(), given = resolved(config);
  if (const auto different = first_difference(fields_of(own), fields_of(given), free_fields()))
    fail("{} is {}, but the weights of {} were trained with {}; leave it out, or train without --from", different->name,
         excerpt(different->second), weights.folder, excerpt(different->first));
  auto values = detached_parameters(model);
  std::map<std::string, at::Tensor> drawn;  // of a new model, made where a tensor of it is needed
  std::set<std::string> fresh;
  LanguageModel result(given, [&](const std::string& name, at::IntArrayRef shape) {
    const auto own_value = values.extract(name);
    if (!own_value.empty() && own_value.mapped().sizes() == shape) return own_value.mapped();
    require(is_of_attention(name),
            "model.length is {}, but the weights of {} were trained with {}, and their table of positions is neither "
            "stretched nor cut; leave it out, or train without --from",
            given.length, weights.folder, own.length);
    if (drawn.empty()) drawn = detached_parameters(LanguageModel(given, seed));
    fresh.insert(of_every_block(name));
    return drawn.at(name);
  });
  if (!fresh.empty()) remark(formatted("begin anew, as {} has none of their shape: {}", weights.folder, listed(fresh)));
  std::set<std::string> left;
  for (const auto& [name, value] : values) left.insert(of_every_block(name));
  if (!left.empty()) remark(formatted("not taken from {}: {}", weights.folder, listed(left)));
  return result;
}

}  // namespace linformer
