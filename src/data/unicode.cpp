#include "data/unicode.hpp"

#include <algorithm>
#include <vector>

#include "linformer/core/utf8.hpp"

namespace linformer::unicode {
namespace detail {
namespace {

struct CodeRange {
  std::uint32_t first, last;
};
#include "data/unicode_classes.inc"

constexpr std::size_t kCodePoints = 0x110000;

std::vector<std::uint8_t> build_table() {
  std::vector<std::uint8_t> table(kCodePoints, static_cast<std::uint8_t>(Class::kOther));
  const auto mark = [&](const auto& ranges, Class type) {
    for (const CodeRange& range : ranges) {
      std::fill(table.begin() + range.first, table.begin() + range.last + 1, static_cast<std::uint8_t>(type));
    }
  };
  mark(kLetters, Class::kLetter);
  mark(kNumbers, Class::kNumber);
  mark(kWhiteSpace, Class::kSpace);
  return table;
}

}  // namespace

const std::uint8_t* class_table() {
  static const std::vector<std::uint8_t> table = build_table();
  return table.data();
}

Character long_character(std::string_view text, std::size_t place) {
  const auto [code, bytes] = utf8_character(text, place);
  if (bytes == 0) return {Class::kInvalid, 1};
  static const std::uint8_t* const table = class_table();
  return {static_cast<Class>(table[code]), bytes};
}

}  // namespace detail

Character character_before(std::string_view text, std::size_t place) {
  // A lead byte never occurs inside a UTF-8 character, so the nearest lead byte before decides.
  for (std::size_t back = 1; back <= std::min<std::size_t>(4, place); ++back) {
    if ((static_cast<unsigned char>(text[place - back]) & 0xC0) == 0x80) continue;
    const Character character = character_at(text.substr(0, place), place - back);
    if (character.length == back) return character;
    break;
  }
  return {Class::kInvalid, 1};
}

}  // namespace linformer::unicode
