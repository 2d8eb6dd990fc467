// The report as one HTML file.
#pragma once

#include <string>

#include "linformer/core/json.hpp"

namespace linformer {

/// A page that needs no other file and no network: style, ECharts, the drawing code and `document` as read_report()
/// gives it. Text of users can't leave its place: `<` is escaped in the JSON, and the code writes text nodes only.
///
/// `live`: the page asks /data.json for a new document every few seconds, as `watch` serves it.
std::string render_page(const json& document, bool live = false);

}  // namespace linformer
