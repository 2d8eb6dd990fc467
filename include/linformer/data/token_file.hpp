// Token files: ids on disk, memory-mapped (format: docs/formats.md).
#pragma once

#include <filesystem>
#include <memory>

#include "linformer/core/file.hpp"
#include "linformer/data/tokenizer.hpp"

namespace linformer {

/// A prepared folder: `tokens.bin`, `tokenizer.json`. Train and validation ids are contiguous; the last part validates.
class TokenData {
 public:
  /// Opens a prepared folder. UserError when truncated, of another version, or made with another vocabulary than its
  /// tokenizer.json.
  static TokenData open(const std::filesystem::path& folder);
  std::int64_t train_size() const;
  std::int64_t validation_size() const;
  std::int64_t separators() const;  ///< end-of-text tokens that prepare() put between texts
  /// Copies `count` ids from `offset` of the split. UserError on ids outside the vocabulary.
  void copy_train(std::int64_t offset, std::int64_t count, std::int64_t* out) const;
  void copy_validation(std::int64_t offset, std::int64_t count, std::int64_t* out) const;
  double validation_bytes_per_token() const;  ///< for bits per byte
  std::shared_ptr<const Tokenizer> tokenizer() const;
  std::string vocabulary_hash() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace linformer
