// What a benchmark is to measure: the user's grid or a preset.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "linformer/study/benchmark_point.hpp"

namespace linformer {

/// Every combination is a point; combinations that make no model are left out and told.
struct BenchmarkGrid {
  std::vector<BenchmarkTask> tasks{BenchmarkTask::forward};
  std::vector<BenchmarkForm> forms{BenchmarkForm::softmax, BenchmarkForm::running};
  std::vector<BenchmarkDecode> decodes{BenchmarkDecode::stream};
  std::vector<Sharing> sharings{Sharing::headwise};
  std::vector<std::int64_t> lengths{512, 2048}, slots{64}, windows{64}, batches{1}, widths{384}, layers{2};
  std::vector<std::int64_t> heads{0};  ///< 0 = a head for each 64 of the width
  std::vector<std::string> dtypes{"float32"};
  std::int64_t vocabulary = 256, tokens = 128;
};

/// The largest length or width that trains within the budget; `start` has the smallest, values are multiples of `step`
/// up to `most`.
struct MemorySearch {
  std::string what;  ///< "length" or "width"
  BenchmarkPoint start;
  std::int64_t step = 0, most = 0;
};

struct BenchmarkPlan {
  std::string preset = {};  ///< empty: a grid
  std::vector<std::vector<BenchmarkPoint>> groups =
      {};  ///< the points of a group are compared: measured in turn, round by round
  std::vector<MemorySearch> searches = {};
  std::vector<std::string> left_out = {};  ///< combinations without a model, and why
  double default_budget_gib = 0;           ///< 0 = three quarters of the machine's memory, at most 16
  std::size_t points() const;
  /// A rough guess from the multiply-adds, where a matrix product makes `rate` of them a second. Searches aren't in it.
  double expected_seconds(int rounds, double rate) const;
};

struct PlanOptions {
  int threads = 1;
  bool quick = false;           ///< small models and few points, to see that it works
  std::int64_t max_length = 0;  ///< leaves longer points out; 0 = none
};

std::vector<std::string> benchmark_presets();
/// UserError on an unknown name.
BenchmarkPlan plan_preset(const std::string& name, const PlanOptions& options);
/// UserError when no combination is left.
BenchmarkPlan plan_grid(const BenchmarkGrid& grid, const PlanOptions& options);

}  // namespace linformer
