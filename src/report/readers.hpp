// The reader of each kind of folder.
#pragma once

#include <filesystem>

#include "linformer/core/json_fwd.hpp"
#include "report/json_lines.hpp"

namespace linformer::report {

/// {"path", "name", "config", "status", "command", "parameters", "curve": {"step", "loss", "learning_rate",
/// "tokens_per_second", "seconds": […]}, "evaluations": {"step", "loss", "bits_per_byte", "seconds": […]}, "summary":
/// {…}, "audit", "samples": […]}; null, with a remark, when the folder holds nothing to draw. `points`: of a curve at
/// most.
json read_run(const std::filesystem::path& folder, std::size_t points, Remarks& remarks);

/// {"path", "name", "machines", "points", "savings", "crossovers", "largest": the lines of benchmark.jsonl by type}; of
/// points measured twice the later counts.
json read_benchmark(const std::filesystem::path& folder, Remarks& remarks);

/// {"path", "name", … the keys of ablation.json, "rows": [… of table.jsonl], "curves": [{"point", "seed", "step",
/// "loss", "seconds"}]}
json read_ablation(const std::filesystem::path& folder, Remarks& remarks);

/// {"path", "name", "spectra", "projections", "weights", "attention": the lines of inspect.jsonl by type}
json read_inspection(const std::filesystem::path& folder, Remarks& remarks);

/// {"path", "name", "lines": those of evaluate.jsonl}; of evaluations of the same model, data and length the last
/// counts.
json read_evaluation(const std::filesystem::path& folder, Remarks& remarks);

}  // namespace linformer::report
