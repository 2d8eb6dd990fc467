// SHA-256. File formats use it to name the data that a file was made from.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace linformer {

/// The SHA-256 of `bytes` as 64 hexadecimal digits (FIPS 180-4).
std::string sha256(std::span<const std::byte> bytes);
std::string sha256(std::string_view text);
/// Of a whole file. UserError when it can't be read.
std::string hash_of_file(const std::filesystem::path& path);

}  // namespace linformer
