// Model folders: config.json, model.safetensors, tokenizer.json (docs/model_format.md); safetensors files.
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
  std::vector<std::pair<std::string, at::Tensor>> tensors;  ///< CPU, in file order
  std::map<std::string, std::string> metadata;
  const at::Tensor& at(const std::string& name) const;  ///< UserError when absent
};
/// UserError, never a crash or a large allocation, on truncated files, bad headers, overlapping or out-of-range
/// offsets, wrong sizes, unknown dtypes.
TensorFile read_safetensors(const std::filesystem::path& path);
/// Atomic.
void write_safetensors(const std::filesystem::path& path, const TensorFile& file);

/// Writes config.json ({"format_version":1,"model":…,"attention":…,"tokenizer":{"name":…,"hash":…}}), model.safetensors
/// and, where given, tokenizer.json into an existing folder, each atomically; weights as float32. `extra` adds sections
/// to config.json ("train").
void save_model(const std::filesystem::path& folder, const LanguageModel& model, const json& tokenizer,
                const json& extra = json::object());

struct LoadedModel {
  LanguageModel model;
  json config;
  json tokenizer;
};  ///< tokenizer: its tokenizer.json, or null
/// Loads a run folder or a checkpoint folder. UserError on wrong shapes, dtypes other than float32, missing or
/// unknown tensors, NaN weights, unknown sections or keys in config.json, other format versions.
LoadedModel load_model(const std::filesystem::path& folder);
/// The config of the model in a run or checkpoint folder, without its weights. UserError as load_model().
ModelConfig read_model_config(const std::filesystem::path& folder);

}  // namespace linformer
