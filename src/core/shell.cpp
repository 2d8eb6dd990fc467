#include "linformer/core/shell.hpp"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace linformer {

std::string quoted(const std::string& word) {
  constexpr std::string_view marks = "_-./:=,+@%";
  const bool plain = !word.empty() && std::ranges::all_of(word, [&](unsigned char c) {
    return std::isalnum(c) || marks.find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (plain) return word;
  std::string text = "'";
  for (const char letter : word) text += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
  return text + "'";
}

}  // namespace linformer
