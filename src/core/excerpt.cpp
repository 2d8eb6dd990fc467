#include "linformer/core/excerpt.hpp"

#include <algorithm>
#include <cmath>

#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"

namespace linformer {
namespace {

constexpr std::string_view kMore = "…";

/// Bytes of the UTF-8 character at `place`; 0 where none stands there.
std::size_t character_bytes(std::string_view text, std::size_t place) {
  const auto first = static_cast<unsigned char>(text[place]);
  const std::size_t size = first < 0x80   ? 1
                           : first < 0xC2 ? 0
                           : first < 0xE0 ? 2
                           : first < 0xF0 ? 3
                           : first < 0xF5 ? 4
                                          : 0;
  if (size > text.size() - place) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((static_cast<unsigned char>(text[place + i]) & 0xC0) != 0x80) return 0;
  }
  return size;
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
    const auto size = character_bytes(text, place);
    std::string_view character = size > 0 ? text.substr(place, size) : "\uFFFD";
    if (size == 1 && (text[place] < ' ' || text[place] == '\x7f')) character = "?";
    if (shown.size() + character.size() > limit) return shown.append(kMore);
    shown += character;
    place += std::max<std::size_t>(size, 1);
  }
  return shown;
}

std::string json_excerpt(const json& value, std::size_t limit) {
  Writer writer(limit);
  writer.write(value);
  return excerpt(writer.text(), limit);
}

}  // namespace linformer
