// Token files: ids on disk, mapped into memory (format: docs/formats.md).
#pragma once

#include <filesystem>
#include <memory>

#include "linformer/core/file.hpp"
#include "linformer/data/tokenizer.hpp"

namespace linformer {

/// A prepared folder: `tokens.bin` and `tokenizer.json`. Training ids come first, validation ids after them.
class TokenData {
 public:
  /// Opens a prepared folder. UserError when a file is cut short or has another format version, or when tokens.bin was
  /// made with another vocabulary than the one in tokenizer.json.
  static TokenData open(const std::filesystem::path& folder);
  /// The numbers of ids in the two parts.
  std::int64_t train_size() const;
  std::int64_t validation_size() const;
  std::int64_t separators() const;  ///< end-of-text tokens that prepare() put between texts
  /// Copies `count` ids, from `offset` in that part on, to `out`. UserError for ids outside the vocabulary.
  void copy_train(std::int64_t offset, std::int64_t count, std::int64_t* out) const;
  void copy_validation(std::int64_t offset, std::int64_t count, std::int64_t* out) const;
  double validation_bytes_per_token() const;  ///< needed to compute bits per byte
  std::shared_ptr<const Tokenizer> tokenizer() const;
  std::string vocabulary_hash() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace linformer
