// Draws pictures for papers with gnuplot.
#pragma once

#include <filesystem>
#include <vector>

#include "linformer/core/json_fwd.hpp"

namespace linformer {

/// Draws the contents of `document` (from read_report()) into `folder`: the loss of the runs, time and memory against N
/// for each benchmark, each ablation with its spread, recall against distance, the spectrum. Each picture is written as
/// NAME.svg, NAME.png and NAME.pdf, with the script that drew it, NAME.gnuplot. Returns the paths of the pictures.
/// UserError when gnuplot is missing or fails, or when the folder can't be written.
std::vector<std::filesystem::path> draw_pictures(const json& document, const std::filesystem::path& folder);

}  // namespace linformer
