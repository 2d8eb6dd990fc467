// Runs a benchmark. Each point runs in its own process, points that are compared take turns, and results go to
// DIR/benchmark.jsonl.
#pragma once

#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

#include "linformer/core/json_fwd.hpp"
#include "linformer/study/benchmark_plan.hpp"

namespace linformer {

struct BenchmarkOptions {
  std::filesystem::path out;     ///< folder of benchmark.jsonl; created if it is missing
  bool fresh = false;            ///< start again instead of continuing
  int rounds = 5;                ///< number of measured rounds; one more comes first, as a warm-up
  double budget_gib = 0;         ///< memory a process may take beyond what it uses when idle; 0 = the plan's value
  std::string command, version;  ///< written into the line about the machine
  std::filesystem::path program = "/proc/self/exe";  ///< the program whose `benchmark --point` measures
  bool quiet = false;
};

struct BenchmarkResult {
  /// the lines of this plan, in its order, measured now or earlier; then the lines computed from them
  std::vector<json> lines;
  std::size_t measured = 0, kept = 0, failed = 0;
  int stop_signal = 0;  ///< SIGINT or SIGTERM when it was stopped early; finished points are on disk
};

/// Continues a benchmark if the folder holds an earlier part of it. Points on disk are not measured again, except those
/// that failed, and those that ran out of memory under a smaller budget. UserError when the folder can't be written, is
/// in use, or holds measurements of another machine.
BenchmarkResult run_benchmark(const BenchmarkPlan& plan, const BenchmarkOptions& options);

/// The process that measures: it answers requests about one point (src/study/measure_serve.cpp) until its input ends.
void serve_point(std::istream& in, std::ostream& out);

}  // namespace linformer
