// What the program itself wrote into a folder, told by the files that make it so (docs/formats.md).
#pragma once

#include <filesystem>
#include <string_view>

#include "linformer/core/json.hpp"

namespace linformer {

/// model: a checkpoint too, and models of other programs in the same files. other: none of these.
enum class FolderKind { other, prepared, run, model, ablation };

/// Looks at the folder alone, not at the folders in it. A file that can't be read or is damaged tells nothing.
FolderKind folder_kind(const std::filesystem::path& folder);

/// Whether a config.json with this content makes its folder a run (or a run's checkpoint).
bool is_run_config(const json& config);

/// Whether a file is of those that `benchmark`, `inspect` and `evaluate` write into a folder that may hold other
/// things: benchmark.jsonl, inspect.jsonl and evaluate.jsonl.
bool is_results_file(const std::filesystem::path& path);

}  // namespace linformer
