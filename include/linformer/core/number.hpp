// Numbers as users write them: decimal, the whole text, and in range. What is left out on purpose: signs in front of
// positive numbers, spaces, octal (010) and hexadecimal (0x10) numbers, nan and inf.
#pragma once

#include <charconv>
#include <concepts>
#include <optional>
#include <string_view>

namespace linformer {

/// Digits, with a minus sign or not; no zero in front of other digits.
bool is_whole_number(std::string_view text);
/// Such as -0.5, 3, .5 and 1e-4.
bool is_decimal_number(std::string_view text);

/// The number that `text` is; nothing when it is none, or out of the type's range.
template <class Number>
  requires std::integral<Number> || std::floating_point<Number>
std::optional<Number> parse_number(std::string_view text) {
  if (std::integral<Number> ? !is_whole_number(text) : !is_decimal_number(text)) return std::nullopt;
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace linformer
