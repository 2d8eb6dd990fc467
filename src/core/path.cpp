#include "linformer/core/path.hpp"

#include <algorithm>
#include <system_error>

namespace linformer {

namespace fs = std::filesystem;

fs::path resolved_path(const fs::path& path) {
  std::error_code error;
  auto found = fs::weakly_canonical(fs::absolute(path), error);
  if (error) found = fs::absolute(path).lexically_normal();
  return found.has_filename() ? found : found.parent_path();
}

bool is_inside(const fs::path& path, const fs::path& folder) {
  const auto inner = resolved_path(path), outer = resolved_path(folder);
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

}  // namespace linformer
