// Byte-pair encoding of one piece of text, by the ranks of a vocabulary.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace linformer {

/// The 64-bit hash that Ranks and the piece cache both use.
std::uint64_t hash_piece(std::string_view piece);

/// Finds tokens by their bytes. The id of a token is its rank: tokens with a low rank are merged first.
class Ranks {
 public:
  static constexpr std::int32_t kNone = -1;
  /// `tokens[id]`. The last `special` ids can't be found by their bytes. UserError when a token is empty or comes
  /// twice, or when one of the 256 single bytes is missing.
  Ranks(std::vector<std::string> tokens, std::size_t special);

  std::int32_t find(std::string_view bytes) const { return find(bytes, hash_piece(bytes)); }
  std::int32_t find(std::string_view bytes, std::uint64_t hash) const;
  std::int32_t byte(unsigned char value) const { return byte_ids_[value]; }
  const std::vector<std::string>& tokens() const { return tokens_; }

  /// Appends the ids of `piece`. If the piece is a token, that is its id; else its bytes are merged, lowest rank first,
  /// and leftmost first among equals.
  void encode(std::string_view piece, std::vector<std::int32_t>& ids) const;
  /// The ids of `piece` when only merges of a rank below `limit` are used. With the token's own rank as limit, the
  /// result is the two parts of its last merge.
  std::vector<std::int32_t> merge(std::string_view piece, std::int32_t limit) const;

 private:
  struct Slot {
    std::uint32_t tag = 0;  // upper half of the hash; saves most comparisons of the bytes
    std::int32_t id = kNone;
  };
  void merge_short(std::string_view piece, std::int32_t limit, std::vector<std::int32_t>& ids) const;
  void merge_long(std::string_view piece, std::int32_t limit, std::vector<std::int32_t>& ids) const;
  std::int32_t pair_rank(std::string_view bytes, std::int32_t limit) const;

  std::vector<std::string> tokens_;
  std::vector<Slot> slots_;
  std::int32_t byte_ids_[256];
  std::size_t longest_ = 0;
};

}  // namespace linformer
