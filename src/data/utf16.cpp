#include "data/utf16.hpp"

#include <algorithm>

namespace linformer {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

bool is_high(char32_t unit) { return unit >= 0xD800 && unit < 0xDC00; }
bool is_low(char32_t unit) { return unit >= 0xDC00 && unit < 0xE000; }

char16_t unit_of(char first, char second, ByteOrder order) {
  const unsigned one = static_cast<unsigned char>(first), two = static_cast<unsigned char>(second);
  return static_cast<char16_t>(order == ByteOrder::little ? two << 8 | one : one << 8 | two);
}

void append(char32_t point, std::string& text) {
  const auto tail = [&](int shift) { text += static_cast<char>(0x80 | (point >> shift & 0x3F)); };
  if (point < 0x80) {
    text += static_cast<char>(point);
  } else if (point < 0x800) {
    text += static_cast<char>(0xC0 | point >> 6), tail(0);
  } else if (point < 0x10000) {
    text += static_cast<char>(0xE0 | point >> 12), tail(6), tail(0);
  } else {
    text += static_cast<char>(0xF0 | point >> 18), tail(12), tail(6), tail(0);
  }
}

bool is_control(char32_t point) {
  const bool space = point >= '\t' && point <= '\r';
  return (point < 0x20 && !space) || (point >= 0x7F && point < 0xA0) || point >= 0xFFFE;
}

}  // namespace

void Utf16Decoder::replace(std::string& text) {
  append(kReplacement, text);
  ++replaced_;
}

void Utf16Decoder::add_unit(char16_t unit, std::string& text) {
  if (high_ != 0 && is_low(unit)) {
    append(0x10000 + ((static_cast<char32_t>(high_) - 0xD800) << 10) + (static_cast<char32_t>(unit) - 0xDC00), text);
    high_ = 0;
    return;
  }
  if (high_ != 0) replace(text);
  high_ = is_high(unit) ? unit : 0;
  if (high_ != 0) return;
  is_low(unit) ? replace(text) : append(unit, text);
}

void Utf16Decoder::push(std::string_view bytes, std::string& text) {
  if (bytes.empty()) return;
  if (odd_) {
    add_unit(unit_of(*odd_, bytes[0], order_), text);
    odd_.reset();
    bytes.remove_prefix(1);
  }
  std::size_t place = 0;
  for (; place + 1 < bytes.size(); place += 2) add_unit(unit_of(bytes[place], bytes[place + 1], order_), text);
  if (place < bytes.size()) odd_ = bytes[place];
}

void Utf16Decoder::finish(std::string& text) {
  if (high_ != 0) replace(text);
  if (odd_) replace(text);
  high_ = 0;
  odd_.reset();
}

bool is_clean_utf16(std::string_view bytes, ByteOrder order) {
  bool after_high = false;
  for (std::size_t place = 0; place + 1 < bytes.size(); place += 2) {
    const char16_t unit = unit_of(bytes[place], bytes[place + 1], order);
    if (is_control(unit) || is_low(unit) != after_high) return false;
    after_high = is_high(unit);
  }
  return true;  // a pair cut by the end of `bytes` may go on
}

}  // namespace linformer
