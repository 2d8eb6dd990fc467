// Runs a benchmark: each point in a process of its own, rounds of compared points in turn, results in
// DIR/benchmark.jsonl.
#pragma once

#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

#include "linformer/core/json.hpp"
#include "linformer/study/benchmark_plan.hpp"

namespace linformer {

struct BenchmarkOptions {
  std::filesystem::path out;                         ///< folder of benchmark.jsonl; made where missing
  bool fresh = false;                                ///< starts over instead of going on
  int rounds = 5;                                    ///< measured ones, after one for warming up
  double budget_gib = 0;                             ///< of a process above what it has idle; 0 = the plan's
  std::string command, version;                      ///< for the machine's line
  std::filesystem::path program = "/proc/self/exe";  ///< whose `benchmark --point` measures
  bool quiet = false;
};

struct BenchmarkResult {
  std::vector<json> lines;  ///< of this plan: measured now or before, in its order, then what follows from them
  std::size_t measured = 0, kept = 0, failed = 0;
  int stop_signal = 0;  ///< SIGINT or SIGTERM: what was finished is on disk
};

/// Goes on where an earlier run of the same folder stopped: points on disk are not measured again, but those that
/// failed or lacked memory under a smaller budget. UserError: the folder can't be written, is in use, or was measured
/// on another machine.
BenchmarkResult run_benchmark(const BenchmarkPlan& plan, const BenchmarkOptions& options);

/// The other side: answers requests about one point (src/study/measure_serve.cpp) until the input ends.
void serve_point(std::istream& in, std::ostream& out);

}  // namespace linformer
