// Values of users and files as messages show them: on one line, and never longer than a line holds.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "linformer/core/json_fwd.hpp"

namespace linformer {

constexpr std::size_t kExcerptBytes = 60;

/// `text`, or its beginning and "…": at most `limit` bytes and that mark. Bytes that are no text become U+FFFD; what
/// would move a terminal's cursor or turn the order of the text becomes "?".
std::string excerpt(std::string_view text, std::size_t limit = kExcerptBytes);

/// The beginning of a value as JSON; numbers that JSON does not have are nan, inf and -inf. However deep or long the
/// value is, only what is shown is looked at.
std::string json_excerpt(const json& value, std::size_t limit = kExcerptBytes);

}  // namespace linformer
