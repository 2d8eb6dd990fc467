// Where paths lead.
#pragma once

#include <filesystem>

namespace linformer {

/// One spelling for each place, so that "./books", "books/" and a link to it are one. The path need not exist.
std::filesystem::path resolved_path(const std::filesystem::path& path);

/// Whether `path` leads to `folder` or into it.
bool is_inside(const std::filesystem::path& path, const std::filesystem::path& folder);

}  // namespace linformer
