// JSON values and files.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "linformer/core/json_fwd.hpp"

// Compiled once, in core/json.cpp, and not again in each file that reads or writes JSON.
extern template class nlohmann::basic_json<nlohmann::ordered_map>;

namespace linformer {

/// Parses `text`; a UserError names `source` and the place of the mistake.
json parse_json(std::string_view text, std::string_view source);

/// JSON as text. Bytes that are not UTF-8, as paths and texts of users may hold, become U+FFFD.
std::string dump(const json& value, int indent = -1);

/// Reads a JSON file; a UserError names the file.
json read_json(const std::filesystem::path& path);

}  // namespace linformer
