// The part of run_benchmark() that measures: groups of points, and searches for the largest size that fits.
#pragma once

#include <functional>
#include <vector>

#include "linformer/core/progress.hpp"
#include "linformer/study/benchmark.hpp"
#include "study/benchmark_log.hpp"

namespace linformer {

/// Points on disk that needn't be measured again: measured within this budget, or too large for at least this budget.
bool is_settled(const json& line, std::int64_t budget_bytes);

class BenchmarkSession {
 public:
  BenchmarkSession(BenchmarkLog& log, const BenchmarkPlan& plan, const BenchmarkOptions& options,
                   std::int64_t budget_bytes);
  /// Measures everything that isn't on disk yet. Throws BenchmarkStopped.
  void run(BenchmarkResult& result);
  void finish() { progress_.finish(); }

 private:
  struct Entrant;
  void run_group(const std::vector<BenchmarkPoint>& points);
  void measure(const std::vector<BenchmarkPoint>& points, int rounds, bool alone);
  void build(Entrant& entrant, bool alone);
  void start(Entrant& entrant);
  void run_rounds(std::vector<Entrant>& entrants, int rounds, bool alone);
  void record(const Entrant& entrant);
  bool trains(const BenchmarkPoint& point);
  json search(const MemorySearch& search);
  void advance(const BenchmarkPoint& point, double share, const std::string& what);

  BenchmarkLog& log_;
  const BenchmarkPlan& plan_;
  const BenchmarkOptions& options_;
  std::int64_t budget_;
  double total_work_ = 0, done_work_ = 0;
  std::size_t measured_ = 0;
  Progress progress_;
};

/// Lines computed from measured points: savings, crossovers, times of many steps.
std::vector<json> summarise_benchmark(const BenchmarkPlan& plan, const std::vector<json>& points,
                                      std::int64_t budget_bytes);

}  // namespace linformer
