#include <map>

#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "report/readers.hpp"

namespace linformer::report {
namespace {

namespace fs = std::filesystem;

json named(const fs::path& folder) { return {{"path", folder.string()}, {"name", ""}}; }

// Lines of `file` by their type, each type under the key that `keys` gives; other types are counted in one remark.
void sort_lines(const fs::path& file, const std::map<std::string, std::string>& keys, json& into, Remarks& remarks) {
  for (const auto& [type, key] : keys) into[key] = json::array();
  std::map<std::string, int> unknown;
  read_lines(file, remarks, [&](json& line) {
    const auto type = line.at("type").get<std::string>();
    const auto key = keys.find(type);
    if (key == keys.end()) {
      ++unknown[type];
    } else {
      into[key->second].push_back(rounded_all(std::move(line)));
    }
  });
  for (const auto& [type, count] : unknown) {
    remarks.add(file,
                formatted("{} lines of type '{}', which this version doesn't know; left out", count, excerpt(type)));
  }
}

// What was measured or asked: all of a line but its result.
std::string identity(const json& line) {
  json key = json::object();
  for (const auto* name : {"preset", "task", "form", "decode", "sharing", "length", "slots", "window", "batch", "width",
                           "layers", "heads", "vocabulary", "dtype", "threads", "fields", "what", "steps", "against"}) {
    if (line.contains(name)) key[name] = line[name];
  }
  if (line.contains("what") && line.contains("budget_bytes")) key["budget_bytes"] = line["budget_bytes"];
  return dump(key);
}

// What was evaluated: all of a line but its result.
std::string evaluation_identity(const json& line) {
  json key = {{"by_position", line.contains("loss_by_position")}};
  for (const auto* name : {"model", "data", "length", "config"}) key[name] = line.value(name, json());
  return dump(key);
}

json latest(const json& points, std::string (*identity_of)(const json&) = identity) {
  std::map<std::string, std::size_t> places;
  json result = json::array();
  for (const auto& point : points) {
    const auto [place, is_new] = places.try_emplace(identity_of(point), result.size());
    if (is_new) {
      result.push_back(point);
    } else {
      result[place->second] = point;
    }
  }
  return result;
}

// Validation losses of DIR/POINT/seed-S/, for the curves of an ablation.
json validation_curves(const fs::path& folder, const json& rows, Remarks& remarks) {
  json curves = json::array();
  for (const auto& row : rows) {
    const auto point = text(row, "point");
    for (const auto& seed : row.value("seeds", json::array())) {
      if (!seed.is_object()) continue;
      const auto run = folder / point / formatted("seed-{:.0f}", number(seed, "seed", 0));
      std::error_code ignored;
      if (!fs::exists(run / "metrics.jsonl", ignored)) continue;
      const auto read = read_run(run, 60, remarks);
      if (!read.is_object() || read["evaluations"]["step"].size() < 2) continue;
      auto curve = read["evaluations"];
      curve["point"] = point;
      curve["seed"] = seed.value("seed", json());
      curves.push_back(std::move(curve));
    }
  }
  return curves;
}

}  // namespace

json read_benchmark(const fs::path& folder, Remarks& remarks) {
  auto benchmark = named(folder);
  sort_lines(folder / "benchmark.jsonl",
             {{"machine", "machines"},
              {"point", "points"},
              {"saving", "savings"},
              {"crossover", "crossovers"},
              {"largest", "largest"},
              {"steps", "steps"}},
             benchmark, remarks);
  // A benchmark that goes on writes again what it measured, and found, anew.
  for (const auto* key : {"points", "crossovers", "largest", "steps"}) benchmark[key] = latest(benchmark[key]);
  if (benchmark["points"].empty() && benchmark["savings"].empty() && benchmark["largest"].empty()) {
    remarks.add(folder, "no point is measured yet; left out");
    return nullptr;
  }
  return benchmark;
}

json read_ablation(const fs::path& folder, Remarks& remarks) {
  auto ablation = named(folder);
  if (auto head = read_or_remark(folder / "ablation.json", remarks); head.is_object()) {
    ablation["grid_name"] = text(head, "name");
    head.erase("name");
    head.erase("path");
    ablation.update(head);
  }
  std::error_code ignored;
  const bool has_table = fs::exists(folder / "table.jsonl", ignored);
  if (has_table) sort_lines(folder / "table.jsonl", {{"ablation-row", "rows"}}, ablation, remarks);
  if (!has_table || ablation["rows"].empty()) {
    remarks.add(folder, "no run of the grid has ended yet; left out");
    return nullptr;
  }
  ablation["curves"] = validation_curves(folder, ablation["rows"], remarks);
  return ablation;
}

json read_inspection(const fs::path& folder, Remarks& remarks) {
  auto inspection = named(folder);
  sort_lines(
      folder / "inspect.jsonl",
      {{"spectrum", "spectra"}, {"projection", "projections"}, {"weights", "weights"}, {"attention", "attention"}},
      inspection, remarks);
  const auto empty = inspection["spectra"].empty() && inspection["projections"].empty() &&
                     inspection["weights"].empty() && inspection["attention"].empty();
  if (!empty) return inspection;
  remarks.add(folder, "nothing is inspected yet; left out");
  return nullptr;
}

json read_evaluation(const fs::path& folder, Remarks& remarks) {
  auto evaluation = named(folder);
  sort_lines(folder / "evaluate.jsonl", {{"evaluation", "lines"}}, evaluation, remarks);
  evaluation["lines"] = latest(evaluation["lines"], evaluation_identity);
  if (!evaluation["lines"].empty()) return evaluation;
  remarks.add(folder, "nothing is evaluated yet; left out");
  return nullptr;
}

}  // namespace linformer::report
