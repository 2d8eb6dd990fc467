// Quoting of words for a shell.
#pragma once

#include <string>

namespace linformer {

/// Returns `word` unchanged when a shell reads it as one plain word; else returns it in single quotes.
std::string quoted(const std::string& word);

}  // namespace linformer
