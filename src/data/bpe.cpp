#include "data/bpe.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <queue>

#include "linformer/core/error.hpp"

namespace linformer {
namespace {

constexpr std::size_t kShort = 64;  // up to this length, a scan over the few pairs is faster than a heap
constexpr std::int32_t kNever = std::numeric_limits<std::int32_t>::max();

}  // namespace

std::uint64_t hash_piece(std::string_view piece) {
  constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15;
  std::uint64_t hash = piece.size() * kMultiplier;
  const auto mix = [&](std::uint64_t word) {
    hash = (hash ^ word) * 0xD6E8FEB86659FD93;
    hash ^= hash >> 32;
  };
  const char* bytes = piece.data();
  std::size_t left = piece.size();
  for (; left >= 8; left -= 8, bytes += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes, 8);
    mix(word);
  }
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < left; ++i) {
    word |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  mix(word);
  return hash * kMultiplier;
}

Ranks::Ranks(std::vector<std::string> tokens, std::size_t special) : tokens_(std::move(tokens)) {
  const auto ordinary = tokens_.size() - special;
  slots_.resize(std::bit_ceil(std::max<std::size_t>(tokens_.size() * 2, 512)));
  std::fill(std::begin(byte_ids_), std::end(byte_ids_), kNone);
  for (std::size_t id = 0; id < std::min(ordinary, tokens_.size()); ++id) {
    const std::string& token = tokens_[id];
    require(!token.empty(), "vocabulary: token {} is empty; expected one byte or more", id);
    const std::uint64_t hash = hash_piece(token);
    require(find(token, hash) == kNone, "vocabulary: tokens {} and {} have the same bytes", find(token, hash), id);
    std::size_t place = hash & (slots_.size() - 1);
    while (slots_[place].id != kNone) place = (place + 1) & (slots_.size() - 1);
    slots_[place] = {static_cast<std::uint32_t>(hash >> 32), static_cast<std::int32_t>(id)};
    longest_ = std::max(longest_, token.size());
    if (token.size() == 1) byte_ids_[static_cast<unsigned char>(token[0])] = static_cast<std::int32_t>(id);
  }
  for (int value = 0; value < 256; ++value) {
    require(byte_ids_[value] != kNone,
            "vocabulary: byte {} is not a token; expected all 256 bytes, so that any text can be encoded", value);
  }
}

std::int32_t Ranks::find(std::string_view bytes, std::uint64_t hash) const {
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  for (std::size_t place = hash & (slots_.size() - 1);; place = (place + 1) & (slots_.size() - 1)) {
    const Slot slot = slots_[place];
    if (slot.id == kNone) return kNone;
    if (slot.tag == tag && tokens_[static_cast<std::size_t>(slot.id)] == bytes) return slot.id;
  }
}

std::int32_t Ranks::pair_rank(std::string_view bytes, std::int32_t limit) const {
  if (bytes.size() > longest_) return kNever;
  const std::int32_t id = find(bytes);
  return id == kNone || id >= limit ? kNever : id;
}

void Ranks::encode(std::string_view piece, std::vector<std::int32_t>& ids) const {
  if (piece.size() <= longest_) {
    if (const std::int32_t id = find(piece); id != kNone) {
      ids.push_back(id);
      return;
    }
  }
  piece.size() <= kShort ? merge_short(piece, kNever, ids) : merge_long(piece, kNever, ids);
}

std::vector<std::int32_t> Ranks::merge(std::string_view piece, std::int32_t limit) const {
  std::vector<std::int32_t> ids;
  piece.size() <= kShort ? merge_short(piece, limit, ids) : merge_long(piece, limit, ids);
  return ids;
}

void Ranks::merge_short(std::string_view piece, std::int32_t limit, std::vector<std::int32_t>& ids) const {
  std::array<std::size_t, kShort + 1> start;  // start[i]: where part i begins; start[count] is the end
  std::array<std::int32_t, kShort + 1> rank;  // rank[i]: of parts i and i + 1 joined
  std::size_t count = piece.size();
  const auto joined = [&](std::size_t i) {
    return i + 2 <= count ? pair_rank(piece.substr(start[i], start[i + 2] - start[i]), limit) : kNever;
  };
  for (std::size_t i = 0; i <= count; ++i) start[i] = i;
  for (std::size_t i = 0; i < count; ++i) rank[i] = joined(i);
  while (count > 1) {
    const auto lowest = std::min_element(rank.begin(), rank.begin() + static_cast<std::ptrdiff_t>(count) - 1);
    if (*lowest == kNever) break;
    const auto i = static_cast<std::size_t>(lowest - rank.begin());
    std::copy(start.begin() + static_cast<std::ptrdiff_t>(i) + 2,
              start.begin() + static_cast<std::ptrdiff_t>(count) + 1,
              start.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    std::copy(lowest + 2, rank.begin() + static_cast<std::ptrdiff_t>(count), lowest + 1);
    --count;
    rank[i] = joined(i);
    if (i > 0) rank[i - 1] = joined(i - 1);
  }
  for (std::size_t i = 0; i < count; ++i) ids.push_back(find(piece.substr(start[i], start[i + 1] - start[i])));
}

void Ranks::merge_long(std::string_view piece, std::int32_t limit, std::vector<std::int32_t>& ids) const {
  struct Pair {
    std::int32_t rank;
    std::size_t left, end;
    bool operator>(const Pair& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
  };
  const std::size_t size = piece.size();
  std::vector<std::size_t> end(size), before(size);  // by the start of a part; end 0 = no part starts here any more
  std::priority_queue<Pair, std::vector<Pair>, std::greater<>> pairs;
  const auto offer = [&](std::size_t left) {
    if (end[left] == size) return;
    const std::size_t right_end = end[end[left]];
    const std::int32_t rank = pair_rank(piece.substr(left, right_end - left), limit);
    if (rank != kNever) pairs.push({rank, left, right_end});
  };
  for (std::size_t i = 0; i < size; ++i) end[i] = i + 1, before[i] = i - 1;
  for (std::size_t i = 0; i < size; ++i) offer(i);
  while (!pairs.empty()) {
    const Pair pair = pairs.top();
    pairs.pop();
    // Skip a pair whose parts have changed since it was stored: its left part is gone or longer, or another part
    // follows it.
    if (end[pair.left] == 0 || end[pair.left] >= pair.end || end[end[pair.left]] != pair.end) continue;
    end[end[pair.left]] = 0;
    end[pair.left] = pair.end;
    if (pair.end < size) before[pair.end] = pair.left;
    offer(pair.left);
    if (pair.left > 0) offer(before[pair.left]);
  }
  for (std::size_t i = 0; i < size; i = end[i]) ids.push_back(find(piece.substr(i, end[i] - i)));
}

}  // namespace linformer
