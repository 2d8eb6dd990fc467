// Reads the folders of results into one JSON document. The page, the pictures and `watch` draw from it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "linformer/core/json_fwd.hpp"

namespace linformer {

struct ReportOptions {
  std::string version, command;  ///< shown under "How to regenerate"
  /// The largest number of points in one loss curve. Many runs together share 60 000 points, so that the page opens
  /// quickly.
  std::size_t points = 800;
};

/// Reads folders of runs, benchmarks, ablations and inspections (docs/formats.md), in any mix. It recognises a folder
/// by the files in it, and searches any other folder three levels deep.
///
/// Returns {"version", "command", "time", "runs": […], "benchmarks": […], "ablations": […], "inspections": […],
/// "remarks": [{"path", "text"}]}. What can't be read becomes a remark, and the rest is still read: missing folders,
/// damaged or incomplete lines, files of another format version.
json read_report(const std::vector<std::filesystem::path>& folders, const ReportOptions& options);

/// True when the document holds nothing to draw.
bool is_empty_report(const json& document);

}  // namespace linformer
