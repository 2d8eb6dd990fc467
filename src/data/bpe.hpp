// Byte-pair encoding of one piece of text by the ranks of a vocabulary.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace linformer {

/// The 64-bit hash that Ranks and the piece cache share.
std::uint64_t hash_piece(std::string_view piece);

/// Tokens by their bytes; a token's id is its rank: the lower, the earlier it merges.
class Ranks {
 public:
  static constexpr std::int32_t kNone = -1;
  /// `tokens[id]`; ids at or above `ordinary` are not found by their bytes. UserError on an empty or repeated token and
  /// unless each single byte is one.
  Ranks(std::vector<std::string> tokens, std::size_t ordinary);

  std::int32_t find(std::string_view bytes) const { return find(bytes, hash_piece(bytes)); }
  std::int32_t find(std::string_view bytes, std::uint64_t hash) const;
  std::int32_t byte(unsigned char value) const { return byte_ids_[value]; }
  const std::vector<std::string>& tokens() const { return tokens_; }

  /// Appends the ids of `piece`: the token that it is, else its bytes merged lowest rank first, leftmost of equals.
  void encode(std::string_view piece, std::vector<std::int32_t>& ids) const;
  /// The ids of `piece` by merges of rank below `limit` alone: for limit = a token's own rank, the parts of its last
  /// merge.
  std::vector<std::int32_t> merge(std::string_view piece, std::int32_t limit) const;

 private:
  struct Slot {
    std::uint32_t tag = 0;  // upper half of the hash, against needless comparisons
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
