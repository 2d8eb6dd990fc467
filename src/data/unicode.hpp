// The characters of UTF-8 text, and their classes in the GPT-2 pattern.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace linformer::unicode {

enum class Class : std::uint8_t { kOther, kLetter, kNumber, kSpace, kInvalid };

struct Character {
  Class type;
  std::uint8_t length;  ///< bytes; 1 for an invalid byte
};

namespace detail {

/// One class for each code point. The ranges come from tiktoken's own tables (tools/unicode_classes.py). A regular
/// expression library of the system would know another Unicode version, in which thousands of characters have another
/// class.
const std::uint8_t* class_table();

constexpr std::array<Class, 128> ascii_classes() {
  std::array<Class, 128> table{};
  for (int c = 0; c < 128; ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool space = c == ' ' || (c >= 9 && c <= 13);
    const bool number = c >= '0' && c <= '9';
    table[static_cast<std::size_t>(c)] = letter   ? Class::kLetter
                                         : space  ? Class::kSpace
                                         : number ? Class::kNumber
                                                  : Class::kOther;
  }
  return table;
}
inline constexpr auto kAscii = ascii_classes();

/// The character of two bytes or more at `place`; invalid where core's utf8_character finds none.
Character long_character(std::string_view text, std::size_t place);

}  // namespace detail

/// The character that starts at `place`, which lies inside `text`.
inline Character character_at(std::string_view text, std::size_t place) {
  const auto byte = static_cast<unsigned char>(text[place]);
  if (byte < 128) return {detail::kAscii[byte], 1};
  return detail::long_character(text, place);
}

/// The character that ends before `place` > 0, the same that a scan from the start of the text would find.
Character character_before(std::string_view text, std::size_t place);

}  // namespace linformer::unicode
