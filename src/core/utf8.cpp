#include "linformer/core/utf8.hpp"

#include <algorithm>

namespace linformer {
namespace {

// Whether `bytes`, which start with a leading byte, can still become one character. Follows the table of RFC 3629,
// which excludes overlong forms and surrogates.
bool begins_character(std::string_view bytes) {
  const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(bytes[index]); };
  const unsigned lead = byte(0);
  const std::size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                             : lead >= 0xE0 && lead <= 0xEF ? 3
                             : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                            : 1;
  if (bytes.size() >= length) return false;
  if (bytes.size() >= 2) {
    const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (byte(1) < low || byte(1) > high) return false;
  }
  return bytes.size() < 3 || (byte(2) & 0xC0) == 0x80;
}

}  // namespace

bool is_utf8(std::string_view text) {
  for (std::size_t place = 0; place < text.size();) {
    const auto character = utf8_character(text, place);
    if (character.bytes == 0) return false;
    place += character.bytes;
  }
  return true;
}

std::size_t unfinished_utf8(std::string_view text) {
  for (std::size_t count = 1; count <= std::min<std::size_t>(3, text.size()); ++count) {
    const auto tail = text.substr(text.size() - count);
    if ((static_cast<unsigned char>(tail[0]) & 0xC0) == 0x80) continue;
    return begins_character(tail) ? count : 0;
  }
  return 0;
}

}  // namespace linformer
