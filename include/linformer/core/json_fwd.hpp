// JSON values by name alone, for headers that only declare functions of them: the library behind them is long to read.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace linformer {

/// Keeps the order of keys, so that files read as they were written.
using json = nlohmann::ordered_json;

}  // namespace linformer
