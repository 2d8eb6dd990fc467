// Words as a shell takes them.
#pragma once

#include <string>

namespace linformer {

/// The word as it stands where a shell takes it so, else in single quotes.
std::string quoted(const std::string& word);

}  // namespace linformer
