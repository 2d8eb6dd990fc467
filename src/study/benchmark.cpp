#include "linformer/study/benchmark.hpp"

#include <algorithm>
#include <ctime>

#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/stop_signal.hpp"
#include "linformer/study/machine.hpp"
#include "study/benchmark_child.hpp"
#include "study/benchmark_log.hpp"
#include "study/benchmark_session.hpp"

namespace linformer {
namespace {

constexpr double kGib = 1 << 30;

std::int64_t budget_of(const BenchmarkPlan& plan, const BenchmarkOptions& options, const json& machine) {
  const auto memory = machine.at("memory_bytes").get<double>();
  require(options.budget_gib * kGib <= memory,
          "--budget-memory {}: this machine has {:.1f} GiB of memory; use a smaller one", options.budget_gib,
          memory / kGib);
  if (options.budget_gib > 0) return static_cast<std::int64_t>(options.budget_gib * kGib);
  if (plan.default_budget_gib > 0) return static_cast<std::int64_t>(plan.default_budget_gib * kGib);
  return static_cast<std::int64_t>(std::min(16 * kGib, 0.75 * memory));
}

// Times of two machines, of other kernels or of another LibTorch in one file would be compared as if they came from
// one.
void check_machine(const BenchmarkLog& log, const json& machine, const std::string& folder) {
  for (const auto& line : log.lines()) {
    if (line.at("type") != "machine") continue;
    for (const auto* key : {"processor", "cores", "isa", "libtorch"}) {
      require(!line.contains(key) || line.at(key) == machine.at(key),
              "{} was measured on another machine or build ({} {}, here {}): use another --out, or --new to start over",
              folder, key, json_excerpt(line.at(key)), json_excerpt(machine.at(key)));
    }
  }
}

json machine_line(const BenchmarkPlan& plan, const BenchmarkOptions& options, const json& machine) {
  json line = {{"type", "machine"}};
  line.update(machine);
  line["version"] = options.version;
  line["preset"] = plan.preset.empty() ? json() : json(plan.preset);
  line["command"] = options.command;
  line["time"] = static_cast<std::int64_t>(std::time(nullptr));
  return line;
}

std::vector<json> points_of(const BenchmarkPlan& plan, const BenchmarkLog& log) {
  std::vector<json> lines;
  for (const auto& group : plan.groups) {
    for (const auto& point : group) {
      if (auto line = log.find(point)) lines.push_back(std::move(*line));
    }
  }
  return lines;
}

// The trials of a search, and what it found.
void add_search_lines(const BenchmarkPlan& plan, const BenchmarkLog& log, std::int64_t budget,
                      std::vector<json>& lines) {
  if (plan.searches.empty()) return;
  for (const auto& line : log.lines()) {
    const bool wanted = line.at("type") == "point" || line.at("type") == "largest";
    if (!wanted || line.value("preset", json()) != plan.preset || line.value("budget_bytes", std::int64_t{0}) != budget)
      continue;
    const auto is_older = [&](const json& other) {
      return line.at("type") == "largest" && other.at("type") == "largest" && other.at("form") == line.at("form") &&
             other.at("what") == line.at("what") && other.value("fields", "") == line.value("fields", "");
    };
    std::erase_if(lines, is_older);
    lines.push_back(line);
  }
}

}  // namespace

BenchmarkResult run_benchmark(const BenchmarkPlan& plan, const BenchmarkOptions& options) {
  require(options.rounds >= 1 && options.rounds <= 1000, "--rounds {}: expected 1 to 1000", options.rounds);
  require(options.budget_gib >= 0 && options.budget_gib < 1e6, "--budget-memory {}: expected gibibytes, such as 8",
          options.budget_gib);
  const StopSignal stop_signal;
  const auto machine = describe_machine();
  const auto budget = budget_of(plan, options, machine);
  BenchmarkLog log(options.out, options.fresh);
  for (const auto& remark : log.remarks()) say("linformer: {}\n", remark);
  check_machine(log, machine, options.out.string());
  log.append(machine_line(plan, options, machine));

  BenchmarkResult result;
  result.kept = static_cast<std::size_t>(
      std::ranges::count_if(points_of(plan, log), [&](const auto& line) { return is_settled(line, budget); }));
  BenchmarkSession session(log, plan, options, budget);
  try {
    session.run(result);
  } catch (const BenchmarkStopped& stopped) {
    result.stop_signal = stopped.signal;
  }
  session.finish();
  result.lines = points_of(plan, log);
  if (result.stop_signal == 0) {
    for (const auto& line : summarise_benchmark(plan, result.lines, budget)) {
      log.append_result(line);
      result.lines.push_back(line);
    }
  }
  add_search_lines(plan, log, budget, result.lines);
  result.failed = static_cast<std::size_t>(
      std::ranges::count_if(result.lines, [](const auto& line) { return line.value("status", "") == "failed"; }));
  return result;
}

}  // namespace linformer
