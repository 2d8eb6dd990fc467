// By what checkpoints and given weights are known again.
#pragma once

#include <filesystem>
#include <string>

#include "linformer/core/file.hpp"
#include "linformer/core/hash.hpp"

namespace linformer {

/// The SHA-256 of a whole file as 64 hexadecimal digits. UserError when it can't be read.
inline std::string hash_of_file(const std::filesystem::path& path) { return sha256(MappedFile(path).bytes()); }

}  // namespace linformer
