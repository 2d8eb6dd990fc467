// Ablations: trains many runs that differ in a few named fields, and compares them in one table (docs/formats.md).
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "linformer/train/run.hpp"

namespace linformer {

struct AblationPoint {
  std::string name;
  json changes;      ///< {"attention.kind":"softmax",…}: the fields that differ from the grid's base
  RunConfig config;  ///< complete, except for the seed
  std::string from;  ///< the point before it whose weights, of the same seed, its runs begin with; "" for new weights
};

/// The content of a grid file. Every point has been checked.
struct AblationGrid {
  std::string name, title, base;  ///< base: the point with which the others are compared
  std::vector<std::uint64_t> seeds;
  std::vector<AblationPoint> points;
  json file;  ///< the file as it was read
};

/// Reads a grid file. If `data_folder` is not empty, it replaces data.folder in every point; if `dtype` is not
/// automatic, it replaces train.dtype. UserError for unknown, missing and impossible fields; it names the file, the
/// point and the field.
AblationGrid read_grid(const std::filesystem::path& file, const std::string& data_folder = "",
                       DType dtype = DType::automatic);

struct AblationOptions {
  std::filesystem::path out;
  std::string command;  ///< written to ablation.json
  at::Device device = at::kCPU;
  bool quiet = false;                              ///< no progress on standard error
  std::function<void(const std::string&)> remark;  ///< called for each run that is left out
};
struct AblationResult {
  std::vector<json> rows;                               ///< the rows of table.jsonl
  std::int64_t trained = 0, skipped = 0, left_out = 0;  ///< numbers of runs
  int stop_signal = 0;  ///< SIGINT or SIGTERM when it was stopped early; the same call continues
};
/// Trains every point with every seed, one after the other, each in OUT/POINT/seed-S. Finished runs are skipped,
/// unfinished ones are resumed. Writes OUT/ablation.json first, and OUT/table.jsonl again after each run. A run that
/// can't be read, resumed or trained is left out, with a remark. UserError when `out` is used by something else.
AblationResult run_ablation(const AblationGrid& grid, const AblationOptions& options);

/// The rows as a table for people to read.
std::string ablation_table(const AblationGrid& grid, const std::vector<json>& rows);

}  // namespace linformer
