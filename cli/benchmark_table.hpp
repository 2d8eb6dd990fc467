// The lines of a benchmark as text.
#pragma once

#include <string>
#include <vector>

#include "linformer/core/json.hpp"
#include "linformer/study/benchmark_plan.hpp"

namespace linformer::cli {

/// Points first, then what follows from them.
std::string benchmark_table(const std::vector<json>& lines);
/// What a plan would measure, without measuring.
std::string plan_table(const BenchmarkPlan& plan, int rounds, double multiply_adds_per_second);

}  // namespace linformer::cli
