// Characters of UTF-8 text, as RFC 3629 has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace linformer {

/// A code point and its bytes; no bytes where none stands.
struct Utf8Character {
  char32_t code = 0;
  std::uint8_t bytes = 0;
};

/// The character that starts at `place`, which lies inside `text`. Surrogates, overlong forms and incomplete sequences
/// are none.
inline Utf8Character utf8_character(std::string_view text, std::size_t place) {
  const auto byte = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[place + i])); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xC2 || lead > 0xF4) return {};
  const std::uint8_t bytes = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (text.size() - place < bytes) return {};
  char32_t code = lead & (0x7FU >> bytes);
  for (std::uint8_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3F);
  }
  const bool overlong = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
  const bool surrogate = code >= 0xD800 && code < 0xE000;
  return overlong || surrogate || code > 0x10FFFF ? Utf8Character{} : Utf8Character{code, bytes};
}

/// Whether `text` is characters throughout.
bool is_utf8(std::string_view text);

/// How many bytes at the end of `text` are a character that is not complete yet; 0 to 3.
std::size_t unfinished_utf8(std::string_view text);

}  // namespace linformer
