// UTF-16 to UTF-8, in pieces.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace linformer {

enum class ByteOrder { little, big };

/// The text may be cut anywhere between two calls. What is no character (half a surrogate pair, a last odd byte)
/// becomes U+FFFD.
class Utf16Decoder {
 public:
  explicit Utf16Decoder(ByteOrder order) : order_(order) {}
  /// Appends to `text` the characters that `bytes` completes.
  void push(std::string_view bytes, std::string& text);
  /// The text ends here.
  void finish(std::string& text);
  std::int64_t replaced() const { return replaced_; }  ///< how many became U+FFFD

 private:
  void add_unit(char16_t unit, std::string& text);
  void replace(std::string& text);

  ByteOrder order_;
  std::optional<char> odd_;  // the first half of a unit
  char16_t high_ = 0;        // the first half of a surrogate pair; 0: none
  std::int64_t replaced_ = 0;
};

/// Whether `bytes`, the start of a text, read as UTF-16 are characters of text throughout: no control characters beside
/// white space, no half of a pair.
bool is_clean_utf16(std::string_view bytes, ByteOrder order);

}  // namespace linformer
