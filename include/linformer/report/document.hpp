// Folders of the study, read into one JSON document: what the page, the pictures and `watch` draw.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "linformer/core/json.hpp"

namespace linformer {

struct ReportOptions {
  std::string version, command;  ///< shown under "How to regenerate"
  std::size_t points = 800;  ///< of a loss curve at most; many runs share 60 000 points, so that the page opens at once
};

/// Reads runs, benchmark, ablation and inspection folders (docs/formats.md), each found by the files it holds, in any
/// mix; a folder that is none of these is searched three levels deep.
///
/// {"version", "command", "time", "runs": […], "benchmarks": […], "ablations": […], "inspections": […], "remarks":
/// [{"path", "text"}]}. What can't be read (missing folders, cut or damaged lines, files of another format version)
/// becomes a remark; the rest is still read.
json read_report(const std::vector<std::filesystem::path>& folders, const ReportOptions& options);

/// True when the document holds nothing to draw.
bool is_empty_report(const json& document);

}  // namespace linformer
