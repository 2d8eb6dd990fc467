// Where the project's own files are, for tests that read them.
#pragma once

#include <string>

namespace linformer::test {

/// The file or folder `name` of the project, such as "configs/seed.toml".
std::string source_path(const std::string& name);

}  // namespace linformer::test
