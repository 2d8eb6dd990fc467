// Model folders: config.json, model.safetensors, tokenizer.json.
#include <ATen/ATen.h>

#include <fmt/ranges.h>

#include <set>

#include "linformer/config/io.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"
#include "linformer/nn/model_file.hpp"

namespace linformer {

void save_model(const std::filesystem::path& folder, const LanguageModel& model, const json& tokenizer, const json& extra) {
  auto config = model.config();
  json object = {{"format_version", 1}};
  object.update(to_json(fields_of(config)));
  if (tokenizer.is_object()) {
    // Only the tokenizer knows its hash: one made up here from the text would never match it again.
    require(tokenizer.contains("hash"), "tokenizer: expected the vocabulary's \"hash\", as Tokenizer::to_json() writes it.");
    object["tokenizer"] = {{"name", tokenizer.value("name", "")}, {"hash", tokenizer["hash"]}};
    write_atomically(folder / "tokenizer.json", tokenizer.dump());
  }
  object.update(extra);
  write_safetensors(folder / "model.safetensors", {model.parameters(), {{"format", "linformer"}}});
  write_atomically(folder / "config.json", object.dump(2) + "\n");
}

LoadedModel load_model(const std::filesystem::path& folder) {
  require(std::filesystem::is_directory(folder), "{}: expected a run or checkpoint folder.", folder.string());
  const auto config_file = (folder / "config.json").string();
  auto object = read_json(config_file);
  require(object.is_object() && object.contains("format_version") && object["format_version"] == 1,
          "{}: expected \"format_version\": 1; this program reads no other version.", config_file);
  require(object.contains("model") && object.contains("attention"), "{}: expected the sections model and attention.", config_file);
  ModelConfig config;
  from_json(fields_of(config), json{{"model", object["model"]}, {"attention", object["attention"]}}, config_file);
  const auto weights = (folder / "model.safetensors").string();
  const auto file = read_safetensors(weights);
  LanguageModel model(config);
  std::set<std::string> unknown;
  for (const auto& [name, tensor] : file.tensors) unknown.insert(name);
  const at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : model.parameters()) {
    require(unknown.erase(name) == 1, "{}: tensor '{}' is missing; config.json and the weights don't belong together.", weights, name);
    const auto& tensor = file.at(name);
    require(tensor.is_floating_point(), "{}: tensor '{}' is {}; expected floating point.", weights, name, c10::toString(tensor.scalar_type()));
    require(tensor.sizes() == parameter.sizes(), "{}: tensor '{}' has shape [{}], config.json needs [{}].", weights, name,
            fmt::join(tensor.sizes(), ", "), fmt::join(parameter.sizes(), ", "));
    require(at::isfinite(tensor).all().item<bool>(), "{}: tensor '{}' holds NaN or infinity. Take an earlier checkpoint.", weights, name);
    parameter.set_data(tensor.clone());
  }
  require(unknown.empty(), "{}: tensor '{}' belongs to no part of this model.", weights, unknown.empty() ? "" : *unknown.begin());
  const auto tokenizer_file = folder / "tokenizer.json";
  auto tokenizer = std::filesystem::exists(tokenizer_file) ? read_json(tokenizer_file) : json();
  return {std::move(model), std::move(object), std::move(tokenizer)};
}

}  // namespace linformer
