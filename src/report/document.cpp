#include "linformer/report/document.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <map>
#include <set>

#include "linformer/core/file.hpp"
#include "linformer/core/json.hpp"
#include "report/json_lines.hpp"
#include "report/readers.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kSharedPoints = 60'000;  // of all runs together
constexpr int kDepth = 3;
constexpr std::array kSections{"runs", "benchmarks", "ablations", "inspections", "evaluations"};

struct Found {
  std::vector<fs::path> runs, benchmarks, ablations, inspections, evaluations;
  std::set<fs::path> seen;
};

bool holds(const fs::path& folder, const char* file) {
  std::error_code ignored;
  return fs::exists(folder / file, ignored);
}

// Sorts the folder by what it holds; false when it is nothing of ours.
bool recognise(const fs::path& folder, Found& found) {
  const bool run = holds(folder, "metrics.jsonl") && holds(folder, "config.json");
  const bool benchmark = holds(folder, "benchmark.jsonl"), ablation = holds(folder, "ablation.json"),
             inspection = holds(folder, "inspect.jsonl"), evaluation = holds(folder, "evaluate.jsonl");
  if (run) found.runs.push_back(folder);
  if (benchmark) found.benchmarks.push_back(folder);
  if (ablation) found.ablations.push_back(folder);
  if (inspection) found.inspections.push_back(folder);
  if (evaluation) found.evaluations.push_back(folder);
  return run || benchmark || ablation || inspection || evaluation;
}

bool search(const fs::path& folder, int depth, Found& found) {
  std::error_code ignored;
  if (!found.seen.insert(fs::weakly_canonical(folder, ignored)).second) return true;
  bool any = recognise(folder, found);
  if (any || depth == 0) return any;
  std::vector<fs::path> parts;
  for (fs::directory_iterator entry(folder, fs::directory_options::skip_permission_denied, ignored), end;
       !ignored && entry != end; entry.increment(ignored)) {
    const auto name = entry->path().filename().string();
    std::error_code unreadable;
    if (entry->is_directory(unreadable) && !name.starts_with(".") && name != "checkpoints")
      parts.push_back(entry->path());
  }
  std::ranges::sort(parts);
  for (const auto& part : parts) any = search(part, depth - 1, found) || any;
  return any;
}

void find(const fs::path& folder, Found& found, report::Remarks& remarks) {
  std::error_code ignored;
  if (!fs::exists(folder, ignored)) {
    remarks.add(folder, "there is no such folder");
  } else if (!fs::is_directory(folder, ignored)) {
    remarks.add(folder, "is a file; expected the folder of a run, benchmark, ablation, inspection or evaluation");
  } else if (!search(folder, kDepth, found)) {
    remarks.add(
        folder,
        holds(folder, "config.json")
            ? "a run without metrics.jsonl: nothing is trained yet, or this is a checkpoint; give the run's folder"
            : "holds no run, benchmark, ablation, inspection or evaluation; left out");
  }
}

std::string ending(const fs::path& path, std::size_t parts) {
  fs::path result;
  auto rest = path.lexically_normal();
  if (!rest.has_filename()) rest = rest.parent_path();
  for (std::size_t i = 0; i < parts && rest.has_filename(); ++i, rest = rest.parent_path())
    result = result.empty() ? rest.filename() : rest.filename() / result;
  return result.empty() ? path.string() : result.string();
}

// The last parts of each path, as many as tell it from the others.
void name_by_path(json& list) {
  for (std::size_t parts = 1; parts <= 8; ++parts) {
    std::map<std::string, std::set<std::string>> paths;
    for (const auto& one : list)
      paths[ending(one["path"].get<std::string>(), parts)].insert(one["path"].get<std::string>());
    for (auto& one : list) {
      const auto name = ending(one["path"].get<std::string>(), parts);
      if (one["name"] == "" && (paths[name].size() == 1 || parts == 8)) one["name"] = name;
    }
  }
}

template <class Read>
json read_all(const std::vector<fs::path>& folders, Read&& read) {
  json list = json::array();
  for (const auto& folder : folders) {
    if (auto one = read(folder); one.is_object()) list.push_back(std::move(one));
  }
  name_by_path(list);
  return list;
}

}  // namespace

json read_report(const std::vector<fs::path>& folders, const ReportOptions& options) {
  Found found;
  report::Remarks remarks;
  for (const auto& folder : folders) find(folder, found, remarks);
  const auto points =
      std::clamp<std::size_t>(kSharedPoints / std::max<std::size_t>(found.runs.size(), 1), 60, options.points);
  json document = {{"version", options.version}, {"command", options.command}, {"time", std::time(nullptr)}};
  document["runs"] =
      read_all(found.runs, [&](const fs::path& folder) { return report::read_run(folder, points, remarks); });
  document["benchmarks"] =
      read_all(found.benchmarks, [&](const fs::path& folder) { return report::read_benchmark(folder, remarks); });
  document["ablations"] =
      read_all(found.ablations, [&](const fs::path& folder) { return report::read_ablation(folder, remarks); });
  document["inspections"] =
      read_all(found.inspections, [&](const fs::path& folder) { return report::read_inspection(folder, remarks); });
  document["evaluations"] =
      read_all(found.evaluations, [&](const fs::path& folder) { return report::read_evaluation(folder, remarks); });
  document["remarks"] = remarks.list();
  return document;
}

bool is_empty_report(const json& document) {
  return std::ranges::all_of(kSections, [&](const char* section) { return document.at(section).empty(); });
}

}  // namespace linformer
