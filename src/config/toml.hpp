#pragma once

#include <string_view>

#include "linformer/core/json.hpp"

namespace linformer {

/// As read_toml(), of the file's content; `source` names the file.
json parse_toml(std::string_view text, std::string_view source);

}  // namespace linformer
