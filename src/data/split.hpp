// Splits text into the pieces of GPT-2. Byte-pair merges never cross the border between two pieces.
#pragma once

#include <cstddef>
#include <string_view>

#include "data/unicode.hpp"

namespace linformer {

/// Returns where the first piece of `text` (not empty) from `start` on ends. Pieces follow the pattern
///     '(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s
/// of tiktoken's r50k_base. An invalid byte is a piece of its own, and the text before it ends there.
inline std::size_t piece_end(std::string_view text, std::size_t start) {
  using unicode::Class;
  const std::size_t size = text.size();
  std::size_t place = start;
  unicode::Character character = unicode::character_at(text, place);
  if (character.type == Class::kInvalid) return start + 1;
  if (text[start] == '\'' && start + 1 < size) {
    const char next = text[start + 1];
    if (next == 's' || next == 'd' || next == 'm' || next == 't') return start + 2;
    const std::string_view two = text.substr(start + 1, 2);
    if (two == "ll" || two == "ve" || two == "re") return start + 3;
  }
  if (text[start] == ' ' && start + 1 < size) {
    const unicode::Character second = unicode::character_at(text, start + 1);
    if (second.type < Class::kSpace) {
      place = start + 1;
      character = second;
    }
  }
  const Class type = character.type;
  std::size_t last = place;  // where the last character of the run starts
  for (;;) {
    place += character.length;
    if (place == size) return size;
    character = unicode::character_at(text, place);
    if (character.type != type) break;
    last = place;
  }
  // If visible text follows white space, the last white-space character belongs to the next piece, unless it is the
  // only one.
  const bool leaves_one = type == Class::kSpace && character.type != Class::kInvalid && last != start;
  return leaves_one ? last : place;
}

/// Returns the last place in (from, text.size()) where `text` can be cut so that both halves split like the whole,
/// whatever text follows; 0 when there is none. A cut is safe after an invalid byte. It is also safe between two
/// characters of different classes, if the first is neither white space (a run of it looks ahead) nor an apostrophe
/// (which may start a contraction). No part of the pattern matches across such a place, and none looks back.
inline std::size_t last_safe_cut(std::string_view text, std::size_t from = 0) {
  using unicode::Class;
  constexpr std::size_t kLongest = 4;  // the last character may still be incomplete, so it is not judged
  if (text.size() <= kLongest) return 0;
  const auto continues = [&](std::size_t i) { return (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80; };
  for (std::size_t place = text.size() - kLongest; place > from; --place) {
    if (continues(place)) {  // may be inside a character, but a character has at most three such bytes
      if (place >= 3 && continues(place - 1) && continues(place - 2) && continues(place - 3)) return place;
      continue;
    }
    const unicode::Character before = unicode::character_before(text, place);
    if (before.type == Class::kInvalid) return place;
    if (before.type == Class::kSpace || text[place - 1] == '\'') continue;
    if (unicode::character_at(text, place).type != before.type) return place;
  }
  return 0;
}

}  // namespace linformer
