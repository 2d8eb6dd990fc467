// The audit as JSON.
#include "linformer/core/json.hpp"
#include "linformer/study/audit.hpp"

namespace linformer {
namespace {

// JSON has no infinity. The difference from a NaN is infinite.
json finite(double value) { return value < 1e300 ? json(value) : json(1e300); }

json to_json(const AuditLeak& leak) {
  return {
      {"length", leak.length}, {"changed", leak.changed}, {"seen_at", leak.seen_at}, {"change", finite(leak.change)}};
}

json to_json(const AuditGradient& gradient) {
  if (!gradient.obstacle.empty()) return {{"obstacle", gradient.obstacle}};
  return {{"largest", finite(gradient.largest)},
          {"threshold", gradient.threshold},
          {"length", gradient.length},
          {"output", gradient.output},
          {"input", gradient.input}};
}

json to_json(const AuditStreaming& way) {
  return {{"way", way.way},
          {"largest_difference", finite(way.largest_difference)},
          {"threshold", way.threshold},
          {"position", way.position},
          {"loss_streamed", finite(way.loss_streamed)},
          {"loss_teacher_forced", finite(way.loss_teacher_forced)}};
}

json to_json(const AuditPass& pass) {
  json object = {{"verdict", pass.leaks() ? "leaks" : "clean"}, {"dtype", pass.dtype}};
  if (!pass.path.empty()) object["path"] = pass.path;
  object["lengths"] = pass.lengths;
  object["changes"] = pass.changes;
  object["first_leak"] = pass.first_leak ? to_json(*pass.first_leak) : json();
  object["largest_change"] = finite(pass.largest_change);
  object["threshold"] = pass.threshold;
  object["by_distance"] = json::array();
  for (const auto& entry : pass.by_distance)
    object["by_distance"].push_back({{"distance", entry.distance}, {"change", finite(entry.change)}});
  object["layers_checked"] = pass.by_layer.size();
  for (std::size_t layer = 0; layer < pass.by_layer.size(); ++layer) {
    object["by_layer"].push_back({{"layer", layer}, {"change", finite(pass.by_layer[layer])}});
  }
  object["gradient"] = to_json(pass.gradient);
  for (const auto& way : pass.streaming) object["streaming_ways"].push_back(to_json(way));
  // One of them for a table: the one furthest from what it may differ by.
  const AuditStreaming* worst = nullptr;
  for (const auto& way : pass.streaming) {
    if (!worst || way.largest_difference / way.threshold > worst->largest_difference / worst->threshold) worst = &way;
  }
  if (worst) object["streaming"] = to_json(*worst);
  return object;
}

}  // namespace

json to_json(const AuditReport& report) {
  // The finest pass is shown, unless it is clean and another one leaks.
  const AuditPass* chosen = &report.passes.front();
  for (const auto& pass : report.passes) {
    if (pass.leaks() && !chosen->leaks()) chosen = &pass;
  }
  auto object = to_json(*chosen);
  for (const auto& pass : report.passes) object["passes"].push_back(to_json(pass));
  object["remarks"] = report.remarks;
  return object;
}

}  // namespace linformer
