// Tokenizers: text to ids, and ids to text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "linformer/core/json_fwd.hpp"

namespace linformer {

/// A map from bytes to ids that can be reversed. Several threads may call const members at the same time.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::int64_t size() const = 0;  ///< number of ids
  /// The ids of `text`, which may hold any bytes. Long text is divided among LibTorch's threads (at::get_num_threads).
  virtual std::vector<std::int32_t> encode(std::string_view text) const = 0;
  /// The last place after `from` where `text` can be cut in two without a change of its ids, whatever text follows. 0
  /// when there is no such place.
  virtual std::size_t safe_cut(std::string_view text, std::size_t from = 0) const = 0;
  virtual std::string_view bytes_of(std::int32_t id) const = 0;  ///< UserError when id is outside the vocabulary
  virtual std::string name() const = 0;                          ///< "gpt2", "bytes", "gpt2-corpus", "bpe", "numbers"
  /// SHA-256 of the vocabulary as a .tiktoken rank file. Token files and models store it.
  virtual std::string hash() const = 0;
  virtual json to_json() const = 0;  ///< the whole vocabulary, as it is written to tokenizer.json
  /// The id that stands for the end of a text and for no bytes of it; no text encodes to it. bytes_of() shows it as
  /// "<|endoftext|>".
  virtual std::optional<std::int32_t> end_of_text() const { return std::nullopt; }
  std::string decode(const std::vector<std::int32_t>& ids) const;
};

/// Whether both give each text the same ids, and each id the same text. The hash alone does not know the end of text.
bool same_ids(const Tokenizer& one, const Tokenizer& other);

/// "bytes", "gpt2" (the vocabulary files that `make setup` fetched), or a path: .tiktoken, a folder with encoder.json
/// and vocab.bpe, or a tokenizer.json that prepare() wrote. UserError on the files of other programs, which it names.
std::shared_ptr<const Tokenizer> load_tokenizer(const std::string& name_or_path);
/// For ids that don't stand for text. The text of an id is its number and a space; numbers are below `size`. encode()
/// throws UserError for any other text.
std::shared_ptr<const Tokenizer> numbers_tokenizer(std::int64_t size);
/// Makes the tokenizer that to_json() wrote. UserError for anything else.
std::shared_ptr<const Tokenizer> tokenizer_from_json(const json& object);

/// The part of `base` that a corpus needs: the ids with used[id], the 256 bytes, and both halves of every merge behind
/// them, in rank order; the end of text is the last if used. The corpus has the same tokens under both; other text
/// encodes by the merges that remain. `renumbered` (may be null) gets the new id of each old one, -1 where it is gone.
/// UserError when `base` has no merges.
std::shared_ptr<const Tokenizer> corpus_tokenizer(const Tokenizer& base, const std::vector<bool>& used,
                                                  std::vector<std::int32_t>* renumbered = nullptr);

/// Encodes a stream piece by piece, to the same ids as the whole text. It holds one piece in memory, and any text that
/// can't be cut safely yet.
class StreamEncoder {
 public:
  using Sink = std::function<void(std::span<const std::int32_t>)>;
  StreamEncoder(const Tokenizer& tokenizer, Sink sink) : tokenizer_(tokenizer), sink_(std::move(sink)) {}
  void push(std::string_view text);
  /// Call this when the text is complete.
  void finish();

 private:
  const Tokenizer& tokenizer_;
  Sink sink_;
  std::string pending_;
  std::size_t searched_ = 0;  // pending_ has no safe cut before this place
};

}  // namespace linformer
