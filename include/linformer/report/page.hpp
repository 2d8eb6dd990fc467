// Writes the report as one HTML file.
#pragma once

#include <string>

#include "linformer/core/json_fwd.hpp"

namespace linformer {

/// Returns a page that needs no other file and no network. It contains the style, ECharts, the drawing code and
/// `document` (from read_report()). Text from users can't act as HTML: `<` is escaped in the JSON, and the code writes
/// only text nodes.
///
/// With `live`, the page asks /data.json for a new document every few seconds; `watch` serves it.
std::string render_page(const json& document, bool live = false);

}  // namespace linformer
