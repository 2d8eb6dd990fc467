// JSON of files whose damaged parts are left out.
#pragma once

#include <string_view>

#include "linformer/core/json.hpp"

namespace linformer {

/// What parse_json gives, and where that is an error a value for which is_discarded() holds, and no is_object() or the
/// like.
json parse_json_or_discard(std::string_view text);

}  // namespace linformer
