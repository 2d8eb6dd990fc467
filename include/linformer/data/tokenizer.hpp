// Text to ids and back.
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

#include "linformer/core/json.hpp"

namespace linformer {

/// A reversible map between bytes and ids. Const members may be called from several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::int64_t size() const = 0;  ///< number of ids
  /// The ids of `text`, of any bytes; long text is shared among the engine's threads (at::get_num_threads).
  virtual std::vector<std::int32_t> encode(std::string_view text) const = 0;
  /// The last place after `from` at which `text` can be cut so that the ids of the halves are the ids of the whole,
  /// whatever text follows; 0 when there is none.
  virtual std::size_t safe_cut(std::string_view text, std::size_t from = 0) const = 0;
  virtual std::string_view bytes_of(std::int32_t id) const = 0;  ///< UserError when id is outside the vocabulary
  virtual std::string name() const = 0;                          ///< "gpt2", "bytes", "gpt2-corpus", "bpe", "numbers"
  virtual std::string hash()
      const = 0;                     ///< SHA-256 of the vocabulary as a .tiktoken rank file, for token files and models
  virtual json to_json() const = 0;  ///< whole vocabulary, for tokenizer.json of a model folder
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
/// For ids that stand for no text: a number and a space is the id of that number, below `size`. encode() is a UserError
/// on other text.
std::shared_ptr<const Tokenizer> numbers_tokenizer(std::int64_t size);
/// The tokenizer that to_json() wrote. UserError on anything else.
std::shared_ptr<const Tokenizer> tokenizer_from_json(const json& object);

/// The part of `base` that a corpus needs: the ids with used[id], the 256 bytes, and both halves of every merge behind
/// them, in rank order; the end of text is the last if used. The corpus has the same tokens under both; other text
/// encodes by the merges that remain. `renumbered` (may be null) gets the new id of each old one, -1 where it is gone.
/// UserError when `base` has no merges.
std::shared_ptr<const Tokenizer> corpus_tokenizer(const Tokenizer& base, const std::vector<bool>& used,
                                                  std::vector<std::int32_t>* renumbered = nullptr);

/// Encodes a stream in pieces with the ids of the whole. Memory: one piece given, and what has no safe cut yet.
class StreamEncoder {
 public:
  using Sink = std::function<void(std::span<const std::int32_t>)>;
  StreamEncoder(const Tokenizer& tokenizer, Sink sink) : tokenizer_(tokenizer), sink_(std::move(sink)) {}
  void push(std::string_view text);
  /// The text ends here.
  void finish();

 private:
  const Tokenizer& tokenizer_;
  Sink sink_;
  std::string pending_;
  std::size_t searched_ = 0;  // no safe cut in pending_ up to here
};

}  // namespace linformer
