// Configs to and from JSON, TOML and text, through their field lists.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "linformer/config/data_config.hpp"
#include "linformer/config/model_config.hpp"
#include "linformer/config/sampling_config.hpp"
#include "linformer/config/train_config.hpp"
#include "linformer/core/json.hpp"

namespace linformer {

/// A field seen without its type: what the command line, TOML and JSON need of it.
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

/// The fields of a config struct; the handles point into `config`, which must outlive them.
std::vector<FieldHandle> fields_of(ModelConfig& config);
std::vector<FieldHandle> fields_of(TrainConfig& config);
std::vector<FieldHandle> fields_of(SamplingConfig& config);
std::vector<FieldHandle> fields_of(DataConfig& config);

/// {"model":{"length":512,…},"attention":{…}}: sections by the part of each name before its dot.
json to_json(std::vector<FieldHandle> fields);

/// Sets the fields that `object` holds. UserError on an unknown section or key (with the nearest known name) and on a
/// wrong type; `source` names the file. Sections in `other_sections` are left alone.
void from_json(std::vector<FieldHandle> fields, const json& object, std::string_view source,
               const std::vector<std::string>& other_sections = {});

/// The name nearest to `name` by edit distance, or "" when none is near enough to be what was meant.
std::string nearest_name(std::string_view name, const std::vector<std::string>& names);

/// Reads a TOML file into JSON of the same shape; a UserError names file, line and column.
json read_toml(const std::filesystem::path& path);

}  // namespace linformer
