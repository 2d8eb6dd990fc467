// SHA-256 of whole blocks: portable, and with the processor's own instructions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace linformer {

inline constexpr std::size_t kSha256Block = 64;
using Sha256State = std::array<std::uint32_t, 8>;

/// Both add `blocks` blocks at `data` to `state` and give the same result.
void sha256_portable(Sha256State& state, const unsigned char* data, std::size_t blocks);
/// With the SHA extensions of x86; only where has_sha_extensions().
void sha256_extended(Sha256State& state, const unsigned char* data, std::size_t blocks);
bool has_sha_extensions();

}  // namespace linformer
