#include "data/unicode.hpp"

#include <algorithm>
#include <vector>

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
  constexpr Character kInvalid{Class::kInvalid, 1};
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t lead = byte(place);
  if (lead < 0xC2 || lead > 0xF4) return kInvalid;
  const std::uint8_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (text.size() - place < length) return kInvalid;
  std::uint32_t code = lead & (0x7Fu >> length);
  for (std::uint8_t i = 1; i < length; ++i) {
    const std::uint32_t next = byte(place + i);
    if ((next & 0xC0) != 0x80) return kInvalid;
    code = code << 6 | (next & 0x3F);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  if (overlong || code >= kCodePoints || (code >= 0xD800 && code < 0xE000)) return kInvalid;
  static const std::uint8_t* const table = class_table();
  return {static_cast<Class>(table[code]), length};
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
