// The tokenizer of BERT's uncased models.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace linformer {

/// WordPiece for lower-case models. It separates words and punctuation, then takes the longest known pieces from the
/// left. It removes accents from the letters U+00C0 to U+00FF, and accents that are separate characters. Other scripts
/// are not changed to lower case, so some of their words become [UNK].
class WordPiece {
 public:
  /// Reads vocab.txt: one token per line; the id is the line's number, from 0. UserError when there is no [UNK].
  explicit WordPiece(const std::filesystem::path& vocabulary);
  std::vector<std::int64_t> encode(std::string_view text) const;
  std::int64_t id(const std::string& token) const;  ///< UserError when there is no such token
  std::int64_t size() const { return static_cast<std::int64_t>(ids_.size()); }

 private:
  void encode_word(std::string_view word, std::vector<std::int64_t>& out) const;
  std::unordered_map<std::string, std::int64_t> ids_;
  std::int64_t unknown_ = 0;
};

}  // namespace linformer
