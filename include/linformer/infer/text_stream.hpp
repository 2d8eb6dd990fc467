// Bytes as they are generated to text that may be shown.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace linformer {

/// The number of bytes at the end of `text` that begin a UTF-8 character and do not finish it (RFC 3629); 0
/// when the end is whole or invalid.
std::size_t unfinished_utf8(std::string_view text);

/// Lets text through in whole UTF-8 characters and ends it before the first stop text. Stop texts are looked
/// for byte by byte, so that the result does not depend on where tokens end; the match that ends first
/// counts, of two the one that starts first. Bytes are held back while they could begin a stop text or an
/// unfinished character; bytes that can't be UTF-8 pass as they are.
class TextStream {
 public:
  explicit TextStream(std::vector<std::string> stop);
  /// Adds bytes; returns what may now be shown. Nothing is added once a stop text was met.
  std::string push(std::string_view bytes);
  /// No more bytes will come: returns what was held back.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::size_t held_for_stop() const;
  std::vector<std::string> stop_;
  std::string pending_;
  bool stopped_ = false;
};

}  // namespace linformer
