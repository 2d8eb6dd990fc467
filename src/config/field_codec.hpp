// Converts the value of a field to and from text and JSON, according to its C++ type.
#pragma once

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "linformer/config/field.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/number.hpp"

namespace linformer {

/// Each specialisation has these functions: type() for help, expected() for messages, parse() and text(), from_json()
/// and to_json(). parse() and from_json() return nothing when the value doesn't have the type.
template <class T>
struct Codec;

template <>
struct Codec<std::int64_t> {
  static std::string type() { return "INT"; }
  static std::string expected() { return "a whole number"; }
  static std::optional<std::int64_t> parse(std::string_view text) { return parse_number<std::int64_t>(text); }
  static std::string text(std::int64_t value) { return formatted("{}", value); }
  static std::optional<std::int64_t> from_json(const json& value) {
    if (!value.is_number_integer()) return std::nullopt;
    constexpr std::uint64_t largest = std::numeric_limits<std::int64_t>::max();
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > largest) return std::nullopt;
    return value.get<std::int64_t>();
  }
  static json to_json(std::int64_t value) { return value; }
};

template <>
struct Codec<double> {
  static std::string type() { return "FLOAT"; }
  static std::string expected() { return "a number"; }
  static std::optional<double> parse(std::string_view text) { return finite(parse_number<double>(text)); }
  static std::string text(double value) { return formatted("{}", value); }
  static std::optional<double> from_json(const json& value) {
    return value.is_number() ? finite(value.get<double>()) : std::nullopt;
  }
  static json to_json(double value) { return value; }
  static std::optional<double> finite(std::optional<double> value) {
    return value && std::isfinite(*value) ? value : std::nullopt;
  }
};

template <>
struct Codec<bool> {
  static std::string type() { return "BOOL"; }
  static std::string expected() { return "true or false"; }
  static std::optional<bool> parse(std::string_view text) {
    if (text == "true") return true;
    if (text == "false") return false;
    return std::nullopt;
  }
  static std::string text(bool value) { return value ? "true" : "false"; }
  static std::optional<bool> from_json(const json& value) {
    return value.is_boolean() ? std::optional(value.get<bool>()) : std::nullopt;
  }
  static json to_json(bool value) { return value; }
};

template <>
struct Codec<std::string> {
  static std::string type() { return "TEXT"; }
  static std::string expected() { return "text"; }
  static std::optional<std::string> parse(std::string_view text) { return std::string(text); }
  static std::string text(const std::string& value) { return value; }
  static std::optional<std::string> from_json(const json& value) {
    return value.is_string() ? std::optional(value.get<std::string>()) : std::nullopt;
  }
  static json to_json(const std::string& value) { return value; }
};

template <class Enum>
  requires std::is_enum_v<Enum>
struct Codec<Enum> {
  static std::string type() { return joined(EnumNames<Enum>::names, "|"); }
  static std::string expected() { return "one of " + joined(EnumNames<Enum>::names, ", "); }
  static std::optional<Enum> parse(std::string_view text) {
    const auto& names = EnumNames<Enum>::names;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (text == names[i]) return static_cast<Enum>(i);
    }
    return std::nullopt;
  }
  static std::string text(Enum value) { return std::string(enum_name(value)); }
  static std::optional<Enum> from_json(const json& value) {
    return value.is_string() ? parse(value.get<std::string>()) : std::nullopt;
  }
  static json to_json(Enum value) { return text(value); }
};

/// Numbers are "1,2,3" on the command line and a list in files. Texts are given one per flag on the command line; the
/// flag is repeated.
template <class T>
struct Codec<std::vector<T>> {
  using List = std::vector<T>;
  static constexpr bool numbers = !std::is_same_v<T, std::string>;
  static std::string type() { return numbers ? Codec<T>::type() + "," + Codec<T>::type() + ",…" : Codec<T>::type(); }
  static std::string expected() {
    return numbers ? "whole numbers such as 64,64,32 (in files a list)" : "a list of text";
  }
  static std::optional<List> parse(std::string_view text) {
    List list;
    if (text.empty()) return list;
    for (std::size_t start = 0; start <= text.size();) {
      const auto comma = numbers ? std::min(text.find(',', start), text.size()) : text.size();
      const auto value = Codec<T>::parse(text.substr(start, comma - start));
      if (!value) return std::nullopt;
      list.push_back(*value);
      start = comma + 1;
    }
    return list;
  }
  static std::string text(const List& list) { return joined(list, ","); }
  static std::optional<List> from_json(const json& value) {
    if (!value.is_array()) return std::nullopt;
    List list;
    for (const auto& element : value) {
      const auto one = Codec<T>::from_json(element);
      if (!one) return std::nullopt;
      list.push_back(*one);
    }
    return list;
  }
  static json to_json(const List& list) { return json(list); }
};

/// std::nullopt is "auto". For numbers with a fraction, NaN is "none".
template <class T>
struct Codec<std::optional<T>> {
  using Optional = std::optional<T>;
  static constexpr bool has_none = std::is_floating_point_v<T>;
  static std::string type() { return Codec<T>::type() + (has_none ? "|none|auto" : "|auto"); }
  static std::string expected() { return Codec<T>::expected() + (has_none ? ", none or auto" : " or auto"); }
  static std::optional<Optional> parse(std::string_view text) {
    if (text == "auto") return std::optional<Optional>(Optional());
    if constexpr (has_none) {
      if (text == "none") return Optional(std::numeric_limits<T>::quiet_NaN());
    }
    const auto value = Codec<T>::parse(text);
    return value ? std::optional<Optional>(value) : std::nullopt;
  }
  static std::string text(const Optional& value) {
    if constexpr (has_none) {
      if (value && std::isnan(*value)) return "none";
    }
    return value ? Codec<T>::text(*value) : "auto";
  }
  static std::optional<Optional> from_json(const json& value) {
    if (value.is_string()) {
      const auto word = value.get<std::string>();
      if (word == "auto" || (has_none && word == "none")) return parse(word);
    }
    const auto plain = Codec<T>::from_json(value);
    return plain ? std::optional<Optional>(plain) : std::nullopt;
  }
  static json to_json(const Optional& value) {
    if constexpr (has_none) {
      if (value && std::isnan(*value)) return "none";
    }
    return value ? Codec<T>::to_json(*value) : json("auto");
  }
};

}  // namespace linformer
