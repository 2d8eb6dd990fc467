// Shows the lines of a benchmark as text.
#pragma once

#include <string>
#include <vector>

#include "linformer/core/json.hpp"
#include "linformer/study/benchmark_plan.hpp"

namespace linformer::cli {

/// Points come first, then the lines computed from them.
std::string benchmark_table(const std::vector<json>& lines);
/// Shows what a plan would measure, without measuring it.
std::string plan_table(const BenchmarkPlan& plan, int rounds, double multiply_adds_per_second);

}  // namespace linformer::cli
