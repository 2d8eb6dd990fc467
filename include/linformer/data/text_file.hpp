// Text from files and standard input, as UTF-8.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace linformer {

/// What the first bytes of a text say about the rest.
enum class TextStart {
  plain,                  ///< UTF-8, or bytes that are read as if they were
  marked,                 ///< UTF-8 behind the mark EF BB BF
  utf16_little,           ///< behind the mark FF FE
  utf16_big,              ///< behind the mark FE FF
  utf16_unmarked_little,  ///< no mark, but it is clean text when read so
  utf16_unmarked_big,
  utf32,  ///< behind the mark FF FE 00 00 or 00 00 FE FF
  binary  ///< NUL characters, so most likely no text
};

constexpr std::size_t kTextStartBytes = 4096;  ///< that text_start() looks at

TextStart text_start(std::string_view start);

/// Why a file that nobody named, one of a folder, is not taken for text; empty when it is, or when it can't be read,
/// since reading it will say why.
std::string why_no_text(const std::string& path);

/// What read_text() met.
struct TextReading {
  TextStart start = TextStart::plain;
  std::int64_t replaced = 0;  ///< parts of UTF-16 that are no character and became U+FFFD
};

/// Calls sink(text) with the content of `path` ("-": standard input) as UTF-8, piece by piece: a mark at the start is
/// dropped and UTF-16 with a mark converted; other bytes come as they are. UserError when it can't be read, on UTF-32,
/// and on what looks like UTF-16 without a mark.
TextReading read_text(const std::string& path, const std::function<void(std::string_view)>& sink);

/// What a user should know of a reading, such as "UTF-16 (little-endian), converted to UTF-8"; empty when nothing.
std::string remark_of(const TextReading& reading);

/// "standard input" for "-".
std::string name_of_input(const std::string& path);

}  // namespace linformer
