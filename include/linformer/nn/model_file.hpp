// Model folders (config.json, model.safetensors, tokenizer.json; see docs/model_format.md) and safetensors files.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "linformer/core/json.hpp"
#include "linformer/nn/language_model.hpp"

namespace linformer {

struct TensorFile {
  std::vector<std::pair<std::string, at::Tensor>> tensors;  ///< on the CPU, in the order of the file
  std::map<std::string, std::string> metadata;
  const at::Tensor& at(const std::string& name) const;  ///< UserError when there is none of this name
};
/// Reads a safetensors file. A file that is cut short, a bad header, offsets that overlap or are out of range, wrong
/// sizes and unknown dtypes are a UserError; they never cause a crash or a large allocation.
TensorFile read_safetensors(const std::filesystem::path& path);
/// Writes the file atomically (core/file.hpp).
void write_safetensors(const std::filesystem::path& path, const TensorFile& file);

/// The content of a model's config.json: {"format_version":1,"model":…,"attention":…,"tokenizer":{"name":…,"hash":…}}.
/// `tokenizer` is what Tokenizer::to_json() gives, or null. `extra` adds sections, such as "train".
json config_json(ModelConfig config, const json& tokenizer, const json& extra = json::object());
/// Writes the parameters alone, in float32 and under the names of docs/model_format.md.
void save_weights(const std::filesystem::path& file, const LanguageModel& model);
/// Writes config.json, model.safetensors and, unless it is null, tokenizer.json into an existing folder. Each file is
/// written atomically.
void save_model(const std::filesystem::path& folder, const LanguageModel& model, const json& tokenizer,
                const json& extra = json::object());

struct LoadedModel {
  LanguageModel model;
  json config;
  json tokenizer;
};  ///< tokenizer: the content of tokenizer.json, or null
/// Loads a run folder or a checkpoint folder. UserError for wrong shapes, dtypes other than float32, missing or unknown
/// tensors, NaN weights, unknown sections or keys in config.json, and other format versions.
LoadedModel load_model(const std::filesystem::path& folder);
/// The config of the model in a run or checkpoint folder, without its weights. UserError as load_model().
ModelConfig read_model_config(const std::filesystem::path& folder);

}  // namespace linformer
