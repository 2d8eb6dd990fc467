// Text from a pattern and values. The one source that knows the library behind it is core/format.cpp: a header of a
// formatting library in every file costs more time to compile than all else in most of them.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace linformer {

/// A number, a truth value, a character, a text or a path without its type. It refers to texts and paths: it may not
/// outlive them.
class FormatArgument {
 public:
  using Value = std::variant<bool, char, std::int64_t, std::uint64_t, float, double, std::string_view>;

  template <class T>
  FormatArgument(const T& value) : value_(to_value(value)) {}
  const Value& value() const { return value_; }

  /// 'i' whole numbers, 'f' other numbers, 's' all else.
  template <class T>
  static constexpr char kind() {
    if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, char>)
      return 's';
    else if constexpr (std::is_integral_v<T>)
      return 'i';
    else if constexpr (std::is_floating_point_v<T>)
      return 'f';
    else
      return 's';
  }

 private:
  template <class T>
  static Value to_value(const T& value) {
    if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, char> || std::is_floating_point_v<T>)
      return value;
    else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>)
      return static_cast<std::int64_t>(value);
    else if constexpr (std::is_integral_v<T>)
      return static_cast<std::uint64_t>(value);
    else if constexpr (std::is_same_v<T, std::filesystem::path>)
      return std::string_view(value.native());
    else
      return std::string_view(value);
  }
  Value value_;
};

namespace detail {

// Not constexpr: to reach one of these while a pattern is checked is the compiler's error, which shows the name.
void pattern_has_another_number_of_places_than_arguments();
void pattern_has_a_brace_without_its_pair();
void pattern_asks_for_a_number_but_the_argument_is_none();

constexpr bool takes(char type, char kind) {
  if (type == 'f' || type == 'e' || type == 'g') return kind == 'f';
  if (type == 'd' || type == 'x') return kind == 'i';
  return true;
}

/// Goes through the places of a pattern: "{}", "{:.2f}", "{0}", and "{:{}}" with a place inside for the width.
template <std::size_t Count>
consteval void check_pattern(std::string_view text, const std::array<char, Count>& kinds) {
  std::size_t places = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '{' && text[i] != '}') continue;
    if (i + 1 < text.size() && text[i + 1] == text[i]) {
      ++i;
      continue;
    }
    if (text[i] == '}') pattern_has_a_brace_without_its_pair();
    const bool numbered = i + 1 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '9';
    const auto place = numbered ? static_cast<std::size_t>(text[i + 1] - '0') : places;
    places = places < place + 1 ? place + 1 : places;
    char last = '}';
    for (++i; i < text.size() && text[i] != '}'; ++i) {
      last = text[i];
      if (text[i] != '{') continue;
      ++places;
      while (i < text.size() && text[i] != '}') ++i;
    }
    if (i >= text.size()) pattern_has_a_brace_without_its_pair();
    if (place < Count && !takes(last, kinds[place])) pattern_asks_for_a_number_but_the_argument_is_none();
  }
  if (places != Count) pattern_has_another_number_of_places_than_arguments();
}

}  // namespace detail

/// A pattern that the compiler has checked against the types of its arguments.
template <class... Arguments>
class BasicFormatPattern {
 public:
  template <std::convertible_to<std::string_view> Text>
  consteval BasicFormatPattern(const Text& text) : text_(text) {
    detail::check_pattern<sizeof...(Arguments)>(text_, {FormatArgument::kind<std::remove_cvref_t<Arguments>>()...});
  }
  std::string_view text() const { return text_; }

 private:
  std::string_view text_;
};
template <class... Arguments>
using FormatPattern = BasicFormatPattern<std::type_identity_t<Arguments>...>;

/// The same for a pattern that is known at run time only.
std::string formatted_at_run_time(std::string_view pattern, std::span<const FormatArgument> arguments);

/// `pattern` with each "{}" replaced by an argument; what may stand in the braces is what std::format takes (":.2f",
/// ":>5").
template <class... Arguments>
std::string formatted(FormatPattern<Arguments...> pattern, const Arguments&... arguments) {
  const std::array<FormatArgument, sizeof...(Arguments)> list{FormatArgument(arguments)...};
  return formatted_at_run_time(pattern.text(), list);
}

/// The elements of `list` with `separator` between them: "a, b, c".
template <class List>
std::string joined(const List& list, std::string_view separator) {
  std::string text;
  bool first = true;
  for (const auto& element : list) {
    if (!first) text += separator;
    first = false;
    text += formatted("{}", element);
  }
  return text;
}

/// Writes a text on standard error, for people; nobody is told when that fails.
void say(std::string_view text);

/// The same with a pattern; the text ends where the pattern does.
template <class... Arguments>
  requires(sizeof...(Arguments) > 0)
void say(FormatPattern<Arguments...> pattern, const Arguments&... arguments) {
  say(std::string_view(formatted<Arguments...>(pattern, arguments...)));
}

}  // namespace linformer
