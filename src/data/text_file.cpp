#include "linformer/data/text_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "core/descriptor.hpp"
#include "data/utf16.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/utf8.hpp"

namespace linformer {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kPiece = 4 << 20;  // bytes of text at a time: enough for several threads

/// Whether `start`, which has no mark, looks like UTF-16 of this order. It must be clean text when read so, and hold
/// some ASCII characters (spaces and ends of lines at least), whose upper halves are NUL. Then either most characters
/// are of an alphabet, with upper halves below 20, or the bytes are not UTF-8: in other scripts that is no chance.
bool is_unmarked_utf16(std::string_view start, ByteOrder order) {
  constexpr std::size_t kFewest = 4;  // a text of a few bytes proves nothing
  const std::size_t upper = order == ByteOrder::little ? 1 : 0;
  std::size_t units = 0, ascii = 0, alphabetic = 0, lower_nuls = 0;
  for (std::size_t place = 0; place + 1 < start.size(); place += 2, ++units) {
    const auto half = static_cast<unsigned char>(start[place + upper]);
    ascii += half == 0 ? 1 : 0;
    alphabetic += half < 0x20 ? 1 : 0;
    lower_nuls += start[place + 1 - upper] == '\0' ? 1 : 0;
  }
  if (ascii < kFewest || ascii <= lower_nuls || !is_clean_utf16(start, order)) return false;
  return 4 * alphabetic >= 3 * units || !is_utf8(start.substr(0, start.size() - unfinished_utf8(start)));
}

/// Reads until `room` is full or the input ends; a pipe gives little at a time.
std::size_t fill(const Descriptor& file, char* room, std::size_t size, const std::string& path) {
  std::size_t filled = 0;
  while (filled < size) {
    const ssize_t count = ::read(file.get(), room + filled, size - filled);
    if (count < 0 && errno == EINTR) continue;
    require(count >= 0, "{} can't be read: {}", name_of_input(path), system_reason());
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  return filled;
}

Descriptor open_input(const std::string& path) {
  Descriptor file{path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  require(file.valid(), "{} can't be read: {}", name_of_input(path), system_reason());
  return file;
}

void refuse_other_encodings(TextStart start, const std::string& path) {
  const auto name = name_of_input(path);
  require(start != TextStart::utf32, "{} is UTF-32, which is not read; convert it first: iconv -f UTF-32 -t UTF-8",
          name);
  const bool big = start == TextStart::utf16_unmarked_big;
  require(!big && start != TextStart::utf16_unmarked_little,
          "{} looks like UTF-16 ({}-endian) without a mark at its start, so it is not read; convert it first: iconv -f "
          "UTF-16{} -t UTF-8",
          name, big ? "big" : "little", big ? "BE" : "LE");
}

constexpr auto kBinary = "NUL bytes, so no text";

bool is_utf16(TextStart start) { return start == TextStart::utf16_little || start == TextStart::utf16_big; }

ByteOrder order_of(TextStart start) { return start == TextStart::utf16_big ? ByteOrder::big : ByteOrder::little; }

std::size_t mark_bytes(TextStart start) {
  if (start == TextStart::marked) return 3;
  return is_utf16(start) ? 2 : 0;
}

}  // namespace

std::string name_of_input(const std::string& path) { return path == "-" ? "standard input" : path; }

TextStart text_start(std::string_view start) {
  start = start.substr(0, kTextStartBytes);
  if (start.starts_with("\xEF\xBB\xBF")) return TextStart::marked;
  // UTF-32's mark starts with that of UTF-16.
  if (start.starts_with("\xFF\xFE\0\0"sv) || start.starts_with("\0\0\xFE\xFF"sv)) return TextStart::utf32;
  if (start.starts_with("\xFF\xFE")) return TextStart::utf16_little;
  if (start.starts_with("\xFE\xFF")) return TextStart::utf16_big;
  if (start.find('\0') == std::string_view::npos) return TextStart::plain;
  if (is_unmarked_utf16(start, ByteOrder::little)) return TextStart::utf16_unmarked_little;
  if (is_unmarked_utf16(start, ByteOrder::big)) return TextStart::utf16_unmarked_big;
  return TextStart::binary;
}

std::string why_no_text(const std::string& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file.valid()) return {};
  std::array<char, kTextStartBytes> buffer;
  const ssize_t count = ::read(file.get(), buffer.data(), buffer.size());
  if (count <= 0) return {};
  const std::string_view start(buffer.data(), static_cast<std::size_t>(count));
  const TextStart kind = text_start(start);
  switch (kind) {
    case TextStart::plain:
    case TextStart::marked:
      return {};
    case TextStart::utf16_little:
    case TextStart::utf16_big: {  // some other files happen to start with the mark
      std::string text;
      Utf16Decoder(order_of(kind)).push(start.substr(mark_bytes(kind)), text);
      return text.find('\0') == std::string::npos ? "" : kBinary;
    }
    case TextStart::utf16_unmarked_little:
    case TextStart::utf16_unmarked_big:
      return "UTF-16 without a mark";
    case TextStart::utf32:
      return "UTF-32";
    case TextStart::binary:
      return kBinary;
  }
  return {};
}

TextReading read_text(const std::string& path, const std::function<void(std::string_view)>& sink) {
  const Descriptor file = open_input(path);
  std::string piece(kPiece, '\0'), converted;
  std::size_t filled = fill(file, piece.data(), piece.size(), path);
  TextReading reading{.start = text_start(std::string_view(piece).substr(0, filled))};
  refuse_other_encodings(reading.start, path);
  const bool utf16 = is_utf16(reading.start);
  Utf16Decoder decoder(order_of(reading.start));
  const auto give = [&](std::string_view text) {
    if (!text.empty()) sink(text);
  };
  for (std::size_t skipped = mark_bytes(reading.start); filled > 0; skipped = 0) {
    const auto bytes = std::string_view(piece).substr(skipped, filled - skipped);
    if (utf16) {
      converted.clear();
      decoder.push(bytes, converted);
    }
    give(utf16 ? std::string_view(converted) : bytes);
    filled = filled < piece.size() ? 0 : fill(file, piece.data(), piece.size(), path);
  }
  converted.clear();
  decoder.finish(converted);
  give(converted);
  reading.replaced = decoder.replaced();
  return reading;
}

std::string remark_of(const TextReading& reading) {
  switch (reading.start) {
    case TextStart::marked:
      return "the UTF-8 mark at its start is dropped";
    case TextStart::utf16_little:
    case TextStart::utf16_big: {
      const auto order = reading.start == TextStart::utf16_big ? "big" : "little";
      auto text = formatted("UTF-16 ({}-endian), converted to UTF-8", order);
      if (reading.replaced > 0)
        text += formatted("; {} broken {} became U+FFFD", reading.replaced,
                          reading.replaced == 1 ? "character" : "characters");
      return text;
    }
    case TextStart::binary:
      return "holds NUL bytes, which text does not have; they are taken as they are";
    default:
      return {};
  }
}

}  // namespace linformer
