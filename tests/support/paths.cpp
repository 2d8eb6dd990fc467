#include "support/paths.hpp"

namespace linformer::test {

std::string source_path(const std::string& name) { return LINFORMER_SOURCE_DIR "/" + name; }

}  // namespace linformer::test
