// The GPT-2 tokenizer, for any vocabulary of ranked tokens.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "data/bpe.hpp"
#include "linformer/data/tokenizer.hpp"

namespace linformer {

constexpr std::string_view kEndOfText = "<|endoftext|>";

/// `tokens[id]`. If there is an end-of-text token, it is the last one, and text never encodes to it.
struct BpeVocabulary {
  std::string name;
  std::vector<std::string> tokens;
  bool end_of_text = false;
};

class PieceCache;

class BpeTokenizer final : public Tokenizer {
 public:
  explicit BpeTokenizer(BpeVocabulary vocabulary);
  ~BpeTokenizer() override;
  std::int64_t size() const override { return static_cast<std::int64_t>(ranks_.tokens().size()); }
  std::vector<std::int32_t> encode(std::string_view text) const override;
  std::size_t safe_cut(std::string_view text, std::size_t from) const override;
  std::string_view bytes_of(std::int32_t id) const override;
  std::string name() const override { return name_; }
  std::string hash() const override { return hash_; }
  json to_json() const override;
  std::optional<std::int32_t> end_of_text() const override;
  const Ranks& ranks() const { return ranks_; }
  std::size_t ordinary() const { return ranks_.tokens().size() - (end_of_text_ ? 1 : 0); }

 private:
  void encode_part(std::string_view text, std::vector<std::int32_t>& ids) const;
  std::unique_ptr<PieceCache> take_cache() const;

  std::string name_;
  bool end_of_text_;
  Ranks ranks_;
  std::string hash_;
  mutable std::mutex mutex_;
  // one for each thread that encoded at the same time as others
  mutable std::vector<std::unique_ptr<PieceCache>> idle_;
};

/// Writes the vocabulary as a .tiktoken rank file: one line "base64 rank" for each token that can come from text.
std::string rank_file(const std::vector<std::string>& tokens, std::size_t ordinary);

/// Read the different forms of vocabulary files. UserError names the file and what is wrong.
BpeVocabulary read_rank_file(const std::filesystem::path& path);
BpeVocabulary read_encoder_and_merges(const std::filesystem::path& folder);
BpeVocabulary bpe_from_json(const json& object);

std::string base64_encode(std::string_view bytes);
std::optional<std::string> base64_decode(std::string_view text);  ///< nothing when `text` is not base64

}  // namespace linformer
