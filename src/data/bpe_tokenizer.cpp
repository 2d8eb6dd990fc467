#include "data/bpe_tokenizer.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <future>

#include "data/split.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/hash.hpp"
#include "linformer/core/json.hpp"

namespace linformer {

/// The ids of recent pieces that have more than one token. The table has a fixed size; a newer piece replaces an older
/// one.
class PieceCache {
 public:
  /// Appends the ids of `piece`.
  void encode(const Ranks& ranks, std::string_view piece, std::vector<std::int32_t>& ids) {
    if (piece.size() > kBytes) return ranks.encode(piece, ids);
    const std::uint64_t hash = hash_piece(piece);
    Entry& entry = entries_[(hash >> 20) % kEntries];
    if (entry.length == piece.size() && std::memcmp(entry.bytes, piece.data(), piece.size()) == 0) {
      ids.insert(ids.end(), entry.ids, entry.ids + entry.count);
      return;
    }
    const std::size_t before = ids.size();
    if (const std::int32_t id = ranks.find(piece, hash); id != Ranks::kNone) {
      ids.push_back(id);
    } else {
      ranks.encode(piece, ids);
    }
    const std::size_t count = ids.size() - before;
    if (count > kIds) return;
    entry.length = static_cast<std::uint8_t>(piece.size());
    entry.count = static_cast<std::uint8_t>(count);
    std::memcpy(entry.bytes, piece.data(), piece.size());
    std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(before), count, entry.ids);
  }

 private:
  static constexpr std::size_t kBytes = 22, kIds = 6, kEntries = 1 << 14;
  struct Entry {  // 48 bytes
    std::uint8_t length = 0, count = 0;
    char bytes[kBytes] = {};
    std::int32_t ids[kIds] = {};
  };
  std::vector<Entry> entries_ = std::vector<Entry>(kEntries);
};

namespace {

constexpr std::size_t kSection = 256 * 1024;  // bytes of text that one thread takes at a time

/// The ends of sections of about `length` bytes that can each be encoded on their own.
std::vector<std::size_t> section_ends(std::string_view text, std::size_t length) {
  std::vector<std::size_t> ends;
  std::size_t start = 0, searched = 0;
  for (std::size_t limit = length; limit < text.size(); limit += length) {
    const std::size_t cut = last_safe_cut(text.substr(0, limit), std::max(start, searched));
    searched = limit - std::min<std::size_t>(limit, 4);
    if (cut > start) ends.push_back(start = cut);
  }
  ends.push_back(text.size());
  return ends;
}

}  // namespace

BpeTokenizer::BpeTokenizer(BpeVocabulary vocabulary)
    : name_(std::move(vocabulary.name)),
      end_of_text_(vocabulary.end_of_text),
      ranks_(std::move(vocabulary.tokens), end_of_text_ ? 1 : 0),
      hash_(sha256(rank_file(ranks_.tokens(), ordinary()))) {}

BpeTokenizer::~BpeTokenizer() = default;

std::unique_ptr<PieceCache> BpeTokenizer::take_cache() const {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<PieceCache>();
  auto cache = std::move(idle_.back());
  idle_.pop_back();
  return cache;
}

void BpeTokenizer::encode_part(std::string_view text, std::vector<std::int32_t>& ids) const {
  auto cache = take_cache();
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = piece_end(text, start);
    cache->encode(ranks_, text.substr(start, end - start), ids);
    start = end;
  }
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(cache));
}

std::vector<std::int32_t> BpeTokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> ids;
  if (text.size() < 2 * kSection || at::get_num_threads() < 2) {
    ids.reserve(text.size() / 3);
    encode_part(text, ids);
    return ids;
  }
  const std::vector<std::size_t> ends = section_ends(text, kSection);
  std::vector<std::vector<std::int32_t>> parts(ends.size());
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < ends.size(); i = next++) {
      const std::size_t start = i == 0 ? 0 : ends[i - 1];
      parts[i].reserve((ends[i] - start) / 3);
      encode_part(text.substr(start, ends[i] - start), parts[i]);
    }
  };
  {
    // The threads are our own: at::parallel_for is OpenMP code in a header, which runs on one thread when compiled
    // without OpenMP.
    std::vector<std::future<void>> helpers;
    for (int i = 1; i < at::get_num_threads(); ++i) helpers.push_back(std::async(std::launch::async, work));
    work();
    for (auto& helper : helpers) helper.get();
  }
  std::size_t count = 0;
  for (const auto& part : parts) count += part.size();
  ids.reserve(count);
  for (const auto& part : parts) ids.insert(ids.end(), part.begin(), part.end());
  return ids;
}

std::size_t BpeTokenizer::safe_cut(std::string_view text, std::size_t from) const { return last_safe_cut(text, from); }

std::string_view BpeTokenizer::bytes_of(std::int32_t id) const {
  require(id >= 0 && id < size(), "id {} is outside the vocabulary of {} ids (0 to {})", id, size(), size() - 1);
  return ranks_.tokens()[static_cast<std::size_t>(id)];
}

json BpeTokenizer::to_json() const {
  json tokens = json::array();
  for (std::size_t id = 0; id < ordinary(); ++id) tokens.push_back(base64_encode(ranks_.tokens()[id]));
  return {
      {"format_version", 1},        {"name", name_}, {"kind", "bpe"}, {"hash", hash()}, {"end_of_text", end_of_text_},
      {"tokens", std::move(tokens)}};
}

std::optional<std::int32_t> BpeTokenizer::end_of_text() const {
  return end_of_text_ ? std::optional(static_cast<std::int32_t>(ordinary())) : std::nullopt;
}

std::string rank_file(const std::vector<std::string>& tokens, std::size_t ordinary) {
  std::string text;
  for (std::size_t id = 0; id < ordinary; ++id) text += base64_encode(tokens[id]) + " " + std::to_string(id) + "\n";
  return text;
}

std::shared_ptr<const Tokenizer> corpus_tokenizer(const Tokenizer& base, const std::vector<bool>& used,
                                                  std::vector<std::int32_t>* renumbered) {
  const auto* bpe = dynamic_cast<const BpeTokenizer*>(&base);
  require(bpe != nullptr, "--vocabulary corpus: the tokenizer \"{}\" has no merges to leave out; use full",
          base.name());
  const std::vector<std::string>& tokens = bpe->ranks().tokens();
  std::vector<bool> kept(bpe->ordinary());
  // The parts of a token have lower ranks than the token, so one pass from high to low reaches every needed token.
  for (std::size_t id = kept.size(); id-- > 0;) {
    kept[id] = kept[id] || (id < used.size() && used[id]) || tokens[id].size() == 1;
    if (!kept[id] || tokens[id].size() == 1) continue;
    for (const std::int32_t part : bpe->ranks().merge(tokens[id], static_cast<std::int32_t>(id))) {
      kept[static_cast<std::size_t>(part)] = true;
    }
  }
  BpeVocabulary vocabulary{.name = base.name().ends_with("-corpus") ? base.name() : base.name() + "-corpus",
                           .tokens = {}};
  if (renumbered != nullptr) renumbered->assign(tokens.size(), -1);
  for (std::size_t id = 0; id < kept.size(); ++id) {
    if (!kept[id]) continue;
    if (renumbered != nullptr) (*renumbered)[id] = static_cast<std::int32_t>(vocabulary.tokens.size());
    vocabulary.tokens.push_back(tokens[id]);
  }
  if (const auto end = base.end_of_text();
      end && static_cast<std::size_t>(*end) < used.size() && used[static_cast<std::size_t>(*end)]) {
    if (renumbered != nullptr) {
      (*renumbered)[static_cast<std::size_t>(*end)] = static_cast<std::int32_t>(vocabulary.tokens.size());
    }
    vocabulary.end_of_text = true;
    vocabulary.tokens.emplace_back(kEndOfText);
  }
  return std::make_shared<BpeTokenizer>(std::move(vocabulary));
}

}  // namespace linformer
