#include "linformer/core/number.hpp"

#include <algorithm>

namespace linformer {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes the digits off the front of `text`.
std::string_view take_digits(std::string_view& text) {
  const auto end = std::ranges::find_if_not(text, is_digit);
  const auto digits = text.substr(0, static_cast<std::size_t>(end - text.begin()));
  text.remove_prefix(digits.size());
  return digits;
}

bool take(std::string_view& text, std::string_view one_of) {
  if (text.empty() || one_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

bool has_leading_zero(std::string_view digits) { return digits.size() > 1 && digits.front() == '0'; }

}  // namespace

bool is_whole_number(std::string_view text) {
  take(text, "-");
  const auto digits = take_digits(text);
  return !digits.empty() && !has_leading_zero(digits) && text.empty();
}

bool is_decimal_number(std::string_view text) {
  take(text, "-");
  const auto whole = take_digits(text);
  const auto fraction = take(text, ".") ? take_digits(text) : std::string_view();
  if (has_leading_zero(whole) || (whole.empty() && fraction.empty())) return false;
  if (!take(text, "eE")) return text.empty();
  take(text, "+-");
  return !take_digits(text).empty() && text.empty();
}

}  // namespace linformer
