// Model folders: config.json, model.safetensors, tokenizer.json.
#include <ATen/ATen.h>

#include <map>
#include <string>
#include <utility>

#include "linformer/config/io.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/nn/device.hpp"
#include "linformer/nn/model_file.hpp"

namespace linformer {

json config_json(ModelConfig config, const json& tokenizer, const json& extra) {
  json object = {{"format_version", 1}};
  object.update(to_json(fields_of(config)));
  if (tokenizer.is_object()) {
    // Only the tokenizer knows its hash. A hash computed here from the JSON text would never match it again.
    require(tokenizer.contains("hash"),
            "tokenizer: expected the vocabulary's \"hash\", as Tokenizer::to_json() writes it.");
    object["tokenizer"] = {{"name", tokenizer.value("name", "")}, {"hash", tokenizer["hash"]}};
  }
  object.update(extra);
  return object;
}

void save_weights(const std::filesystem::path& file, const LanguageModel& model) {
  auto tensors = model.parameters();
  for (auto& [name, tensor] : tensors) tensor = tensor.detach().to(at::kFloat);
  write_safetensors(file, {std::move(tensors), {{"format", "linformer"}}});
}

void save_model(const std::filesystem::path& folder, const LanguageModel& model, const json& tokenizer,
                const json& extra) {
  const auto config = config_json(model.config(), tokenizer, extra);
  if (tokenizer.is_object()) write_atomically(folder / "tokenizer.json", tokenizer.dump());
  save_weights(folder / "model.safetensors", model);
  write_atomically(folder / "config.json", config.dump(2) + "\n");
}

namespace {

struct ReadConfig {
  json object;
  ModelConfig model;
};

ReadConfig read_config(const std::filesystem::path& folder) {
  require(std::filesystem::is_directory(folder), "{}: expected a run or checkpoint folder.", folder.string());
  const auto config_file = (folder / "config.json").string();
  auto object = read_json(config_file);
  require(object.is_object() && object.contains("format_version") && object["format_version"] == 1,
          "{}: expected \"format_version\": 1; this program reads no other version.", config_file);
  require(object.contains("model") && object.contains("attention"), "{}: expected the sections model and attention.",
          config_file);
  ModelConfig config;
  from_json(fields_of(config), object, config_file, {"format_version", "tokenizer", "train", "data", "seed", "from"});
  return {std::move(object), std::move(config)};
}

}  // namespace

ModelConfig read_model_config(const std::filesystem::path& folder) { return resolved(read_config(folder).model); }

LoadedModel load_model(const std::filesystem::path& folder) {
  auto [object, config] = read_config(folder);
  const auto weights = (folder / "model.safetensors").string();
  const auto file = read_safetensors(weights);
  std::map<std::string, at::Tensor> unused(file.tensors.begin(), file.tensors.end());
  LanguageModel model(config, [&](const std::string& name, at::IntArrayRef shape) {
    auto found = unused.extract(name);
    require(!found.empty(), "{}: tensor '{}' is missing; config.json and the weights don't belong together.", weights,
            name);
    const auto& tensor = found.mapped();
    require(tensor.scalar_type() == at::kFloat, "{}: tensor '{}' is {}; expected float32, as save_model writes it.",
            weights, name, dtype_name(tensor.scalar_type()));
    require(tensor.sizes() == shape, "{}: tensor '{}' has shape [{}], config.json needs [{}].", weights, name,
            excerpt(joined(tensor.sizes(), ", ")), joined(shape, ", "));
    require(at::isfinite(tensor).all().item<bool>(),
            "{}: tensor '{}' holds NaN or infinity. Take an earlier checkpoint.", weights, name);
    return tensor;
  });
  require(unused.empty(), "{}: tensor '{}' belongs to no part of this model.", weights,
          unused.empty() ? "" : excerpt(unused.begin()->first));
  const auto tokenizer_file = folder / "tokenizer.json";
  auto tokenizer = std::filesystem::exists(tokenizer_file) ? read_json(tokenizer_file) : json();
  return {std::move(model), std::move(object), std::move(tokenizer)};
}

}  // namespace linformer
