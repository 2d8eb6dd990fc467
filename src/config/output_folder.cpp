#include "linformer/config/output_folder.hpp"

#include <fstream>
#include <string>
#include <system_error>

#include "linformer/core/error.hpp"
#include "linformer/core/json.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

// What the program writes is far smaller; a user's own file of the same name may be any size.
constexpr std::uintmax_t kMostBytes = 1 << 20;

bool holds(const fs::path& folder, const char* name) {
  std::error_code ignored;
  return fs::is_regular_file(folder / name, ignored);
}

// null where there is no such file, or none that can be read.
json small_json(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error || size > kMostBytes) return nullptr;
  try {
    return read_json(path);
  } catch (const UserError&) {
    return nullptr;
  }
}

}  // namespace

bool is_run_config(const json& config) {
  return config.is_object() && config.contains("train") && config.contains("data") && config.contains("seed");
}

FolderKind folder_kind(const fs::path& folder) {
  if (holds(folder, "tokens.bin")) return FolderKind::prepared;
  if (holds(folder, "ablation.json")) {
    const auto object = small_json(folder / "ablation.json");
    if (object.is_object() && object.contains("type") && object["type"] == "ablation") return FolderKind::ablation;
  }
  if (!holds(folder, "config.json")) return FolderKind::other;
  const bool checkpoint = holds(folder, "state.json");
  if (is_run_config(small_json(folder / "config.json"))) return checkpoint ? FolderKind::model : FolderKind::run;
  return holds(folder, "model.safetensors") ? FolderKind::model : FolderKind::other;
}

bool is_results_file(const fs::path& path) {
  const auto name = path.filename();
  if (name != "benchmark.jsonl" && name != "inspect.jsonl" && name != "evaluate.jsonl") return false;
  constexpr std::string_view kStart = "{\"type\":\"";  // of every line
  std::string start(kStart.size(), '\0');
  std::ifstream(path, std::ios::binary).read(start.data(), static_cast<std::streamsize>(start.size()));
  return start == kStart;
}

}  // namespace linformer
