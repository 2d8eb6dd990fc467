// Reads configs from JSON, TOML and text, and writes them, through their field lists.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "linformer/config/data_config.hpp"
#include "linformer/config/model_config.hpp"
#include "linformer/config/sampling_config.hpp"
#include "linformer/config/train_config.hpp"
#include "linformer/core/json_fwd.hpp"

namespace linformer {

/// A field without its C++ type: what the command line, TOML and JSON need to know about it.
struct FieldHandle {
  std::string name;  ///< "attention.slots"
  std::string help;
  std::string type;                               ///< "INT", "FLOAT", "BOOL", "TEXT", "a|b|c", "INT,INT,…"
  bool repeats = false;                           ///< a list of text: its flag gives one element, and may come again
  std::function<void(const std::string&)> parse;  ///< UserError names the field, the value and what was expected
  std::function<std::string()> text;              ///< the value as parse() reads it
  std::function<void(const json&)> from_json;
  std::function<json()> to_json;
};

/// The fields of a config struct. The handles point into `config`, so `config` must outlive them.
std::vector<FieldHandle> fields_of(ModelConfig& config);
std::vector<FieldHandle> fields_of(TrainConfig& config);
std::vector<FieldHandle> fields_of(SamplingConfig& config);
std::vector<FieldHandle> fields_of(DataConfig& config);

/// All that a config file may hold.
struct FileConfig {
  ModelConfig model;
  TrainConfig train;
  DataConfig data;
  SamplingConfig sampling;
};
std::vector<FieldHandle> fields_of(FileConfig& config);
/// The sections of a config file in which none of `fields` stands, in the order of FileConfig.
std::vector<std::string> sections_without(const std::vector<FieldHandle>& fields);

/// {"model":{"length":512,…},"attention":{…}}: the part of a name before its dot becomes the section.
json to_json(std::vector<FieldHandle> fields);

/// Sets the fields that `object` holds. UserError for an unknown section or key (it suggests the nearest known name)
/// and for a value of the wrong type; `source` names the file in these messages. Sections in `other_sections` are not
/// looked at.
void from_json(std::vector<FieldHandle> fields, const json& object, std::string_view source,
               const std::vector<std::string>& other_sections = {});

/// The name nearest to `name` by edit distance, or "" when no name is near enough to be a likely typing mistake.
std::string nearest_name(std::string_view name, const std::vector<std::string>& names);

/// Reads a TOML file into JSON of the same structure. A UserError names the file, the line and the column.
json read_toml(const std::filesystem::path& path);

}  // namespace linformer
