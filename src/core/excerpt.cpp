#include "linformer/core/excerpt.hpp"

#include <algorithm>
#include <cmath>

#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/utf8.hpp"

namespace linformer {
namespace {

constexpr std::string_view kMore = "…";

/// What would move a terminal's cursor or turn the order of what follows: controls (C0, delete, C1) and the marks of
/// direction.
bool is_control(char32_t code) {
  const auto within = [code](char32_t first, char32_t last) { return code >= first && code <= last; };
  return code < U' ' || within(0x7F, 0x9F) || within(0x202A, 0x202E) || within(0x2066, 0x2069);
}

/// The beginning of a value as text. Each part writes a byte or more before it goes deeper, so that the room bounds the
/// depth too.
class Writer {
 public:
  explicit Writer(std::size_t room) : room_(room) {}

  void write(const json& value) {
    if (value.is_object()) {
      write_list(value, '{', '}');
    } else if (value.is_array()) {
      write_list(value, '[', ']');
    } else if (value.is_string()) {
      write_text(value.get_ref<const std::string&>());
    } else if (value.is_number_float() && !std::isfinite(value.get<double>())) {
      text_ += formatted("{}", value.get<double>());
    } else {
      text_ += dump(value);
    }
  }
  const std::string& text() const { return text_; }

 private:
  bool full() const { return text_.size() > room_; }

  void write_text(std::string_view text) { text_ += dump(json(text.substr(0, room_ + 1))); }

  void write_list(const json& value, char open, char close) {
    text_ += open;
    bool first = true;
    for (const auto& [key, part] : value.items()) {
      if (full()) return;
      if (!first) text_ += ',';
      first = false;
      if (value.is_object()) {
        write_text(key);
        text_ += ':';
      }
      write(part);
    }
    text_ += close;
  }

  std::size_t room_;
  std::string text_;
};

}  // namespace

std::string excerpt(std::string_view text, std::size_t limit) {
  std::string shown;
  for (std::size_t place = 0; place < text.size();) {
    const auto [code, bytes] = utf8_character(text, place);
    const auto character = bytes == 0 ? "\uFFFD" : is_control(code) ? "?" : text.substr(place, bytes);
    if (shown.size() + character.size() > limit) return shown.append(kMore);
    shown += character;
    place += std::max<std::size_t>(bytes, 1);
  }
  return shown;
}

std::string json_excerpt(const json& value, std::size_t limit) {
  Writer writer(limit);
  writer.write(value);
  return excerpt(writer.text(), limit);
}

}  // namespace linformer
