// Text to ids and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "linformer/core/json.hpp"

namespace linformer {

/// A reversible map between bytes and ids. Const members may be called from several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::int64_t size() const = 0;                                     ///< number of ids
  virtual std::vector<std::int32_t> encode(std::string_view text) const = 0;
  virtual std::string_view bytes_of(std::int32_t id) const = 0;              ///< UserError when id is outside the vocabulary
  virtual std::string name() const = 0;                                      ///< "gpt2", "bytes", "gpt2-corpus"
  virtual std::string hash() const = 0;                                      ///< SHA-256 of the vocabulary, for token files and models
  virtual json to_json() const = 0;                                          ///< whole vocabulary, for tokenizer.json of a model folder
  std::string decode(const std::vector<std::int32_t>& ids) const;
};

/// "bytes", "gpt2" (the vocabulary files that `make setup` fetched), or a path: .tiktoken, a folder with encoder.json and vocab.bpe, or a tokenizer.json.
std::shared_ptr<const Tokenizer> load_tokenizer(const std::string& name_or_path);
std::shared_ptr<const Tokenizer> tokenizer_from_json(const json& object);

}  // namespace linformer
