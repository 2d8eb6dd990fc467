// What a benchmark measures: a grid that the user gives, or a preset.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "linformer/study/benchmark_point.hpp"

namespace linformer {

/// Every combination of these values is a point. Combinations that make no valid model are left out, and listed.
struct BenchmarkGrid {
  std::vector<BenchmarkTask> tasks{BenchmarkTask::forward};
  std::vector<BenchmarkForm> forms{BenchmarkForm::softmax, BenchmarkForm::running};
  std::vector<BenchmarkDecode> decodes{BenchmarkDecode::stream};
  std::vector<Sharing> sharings{Sharing::headwise};
  std::vector<std::int64_t> lengths{512, 2048}, slots{64}, windows{64}, batches{1}, widths{384}, layers{2};
  std::vector<std::int64_t> heads{0};  ///< 0 = one head for each 64 of the width
  std::vector<std::string> dtypes{"float32"};
  std::vector<std::string> fields{""};  ///< BenchmarkPoint::fields
  std::int64_t vocabulary = 256, tokens = 128;
};

/// A search for the largest length or width that can be trained within the budget. `start` holds the smallest value.
/// Values are multiples of `step`, up to `most`.
struct MemorySearch {
  std::string what;  ///< "length" or "width"
  BenchmarkPoint start;
  std::int64_t step = 0, most = 0;
};

struct BenchmarkPlan {
  std::string preset = {};  ///< empty: a grid of the user's
  /// The points of one group are compared, so they are measured in turn, round by round.
  std::vector<std::vector<BenchmarkPoint>> groups = {};
  std::vector<MemorySearch> searches = {};
  std::vector<std::string> left_out = {};  ///< combinations that make no valid model, and why
  double default_budget_gib = 0;           ///< 0 = three quarters of the machine's memory, but at most 16 GiB
  std::size_t points() const;
  /// A rough estimate from the number of multiply-adds, for a machine that does `rate` of them per second. Doesn't
  /// include searches.
  double expected_seconds(int rounds, double rate) const;
};

struct PlanOptions {
  int threads = 1;
  bool quick = false;           ///< small models and few points, for a quick check
  std::int64_t max_length = 0;  ///< leaves out longer points; 0 = no limit
};

std::vector<std::string> benchmark_presets();
/// The points of a preset. UserError for an unknown name.
BenchmarkPlan plan_preset(const std::string& name, const PlanOptions& options);
/// The points of a grid. UserError when no valid combination is left.
BenchmarkPlan plan_grid(const BenchmarkGrid& grid, const PlanOptions& options);

}  // namespace linformer
