// Tokenizer files of other programs, which are not read: what they are, and what to do.
#pragma once

#include <filesystem>
#include <string>

#include "linformer/core/json_fwd.hpp"

namespace linformer {

/// What the file is, such as "is the tokenizer.json of …"; empty when it is none of those known here.
std::string foreign_tokenizer_file(const std::filesystem::path& path);
/// The same of a folder without the files that load_tokenizer() reads.
std::string foreign_tokenizer_folder(const std::filesystem::path& folder);
/// The same of the content of a JSON file.
std::string foreign_tokenizer(const json& object);

/// What a user can do instead, behind each of these.
inline constexpr auto kReadableTokenizers =
    "Use --tokenizer gpt2 or bytes, a .tiktoken file, or the tokenizer.json that `linformer prepare` wrote";

}  // namespace linformer
