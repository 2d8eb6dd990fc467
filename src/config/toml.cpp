#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include "linformer/config/io.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"

namespace linformer {
namespace {

json to_json(const toml::node& node, const std::string& source) {
  if (const auto* table = node.as_table()) {
    json object = json::object();
    for (const auto& [key, value] : *table) object[std::string(key.str())] = to_json(value, source);
    return object;
  }
  if (const auto* array = node.as_array()) {
    json list = json::array();
    for (const auto& value : *array) list.push_back(to_json(value, source));
    return list;
  }
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* whole = node.as_integer()) return whole->get();
  if (const auto* number = node.as_floating_point()) return number->get();
  if (const auto* truth = node.as_boolean()) return truth->get();
  const auto place = node.source().begin;
  fail("{}: line {}, column {}: no field holds a date or time; put text in quotes", source, place.line, place.column);
}

}  // namespace

json read_toml(const std::filesystem::path& path) {
  const auto text = read_file(path);
  try {
    return to_json(toml::parse(text, path.string()), path.string());
  } catch (const toml::parse_error& error) {
    const auto place = error.source().begin;
    fail("{}: line {}, column {}: {}", path.string(), place.line, place.column, error.description());
  }
}

}  // namespace linformer
