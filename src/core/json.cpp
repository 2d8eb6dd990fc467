#include "linformer/core/json.hpp"

#include <algorithm>
#include <string>

#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"

namespace linformer {

json parse_json(std::string_view text, std::string_view source) {
  try {
    return json::parse(text);
  } catch (const json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: …": the bracket tells users nothing.
    std::string reason = error.what();
    if (const auto end = reason.find("] "); end != std::string::npos) reason.erase(0, end + 2);
    // It quotes the text, which may be any bytes; a message must be readable.
    std::replace_if(reason.begin(), reason.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    fail("{}: not valid JSON: {}", source, reason);
  }
}

std::string dump(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

json read_json(const std::filesystem::path& path) { return parse_json(read_file(path), path.string()); }

}  // namespace linformer
