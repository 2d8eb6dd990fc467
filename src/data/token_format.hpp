// The layout of tokens.bin (docs/formats.md).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace linformer {

constexpr std::size_t kTokenHeaderBytes = 256;
constexpr std::uint32_t kTokenVersion = 1;

struct TokenHeader {
  std::uint32_t id_bytes = 2;  ///< 2 or 4
  std::uint64_t vocabulary = 0;
  std::uint64_t train_tokens = 0, validation_tokens = 0;
  std::uint64_t train_bytes = 0, validation_bytes = 0;  ///< of text
  std::uint64_t separators = 0;                         ///< end-of-text tokens between texts
  std::string tokenizer, hash;
};

std::array<char, kTokenHeaderBytes> pack(const TokenHeader& header);
/// UserError when the file is not a token file, has another version, is damaged or was cut short. `source` names it.
TokenHeader unpack(std::span<const std::byte> file, const std::string& source);

}  // namespace linformer
