// Pictures for papers, through gnuplot.
#pragma once

#include <filesystem>
#include <vector>

#include "linformer/core/json.hpp"

namespace linformer {

/// Draws what `document` (of read_report()) holds into `folder`: the loss of its runs, time and memory against N for
/// each benchmark, each ablation with its spread, recall against distance, the spectrum. Each as NAME.svg, NAME.png and
/// NAME.pdf beside NAME.gnuplot, the script that drew it. Returns the paths of the pictures. UserError when gnuplot is
/// missing or fails, or the folder can't be written.
std::vector<std::filesystem::path> draw_pictures(const json& document, const std::filesystem::path& folder);

}  // namespace linformer
