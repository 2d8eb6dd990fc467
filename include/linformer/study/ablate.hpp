// Ablations: many runs that differ in named fields, and what came of them in one table (docs/formats.md).
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "linformer/train/trainer.hpp"

namespace linformer {

struct AblationPoint {
  std::string name;
  json changes;      ///< {"attention.kind":"softmax",…}: the fields in which it differs from the grid's base
  RunConfig config;  ///< complete but for the seed
};

/// What a grid file says, every point checked.
struct AblationGrid {
  std::string name, title, base;  ///< base: the point that the others are compared with
  std::vector<std::uint64_t> seeds;
  std::vector<AblationPoint> points;
  json file;  ///< as it was read
};

/// Reads a grid file. `data_folder`, where not empty, and `dtype`, where not automatic, take the place of data.folder
/// and train.dtype in what all points share. UserError on unknown, missing and impossible fields of any point, naming
/// file, point and field.
AblationGrid read_grid(const std::filesystem::path& file, const std::string& data_folder = "",
                       DType dtype = DType::automatic);

struct AblationOptions {
  std::filesystem::path out;
  std::string command;  ///< for ablation.json
  at::Device device = at::kCPU;
  bool quiet = false;                              ///< no progress on standard error
  std::function<void(const std::string&)> remark;  ///< told of runs that are left out
};
struct AblationResult {
  std::vector<json> rows;                               ///< of table.jsonl
  std::int64_t trained = 0, skipped = 0, left_out = 0;  ///< runs
  int stop_signal = 0;  ///< SIGINT or SIGTERM: stopped before the end; the same call goes on
};
/// Trains every point with every seed into OUT/POINT/seed-S, one after the other; skips what is finished and resumes
/// what is half-finished. Writes OUT/ablation.json first, and OUT/table.jsonl anew after each run. A run that can't be
/// read, resumed or trained is left out, with a remark. UserError when `out` is in use by something else.
AblationResult run_ablation(const AblationGrid& grid, const AblationOptions& options);

/// The rows as a table for people.
std::string ablation_table(const AblationGrid& grid, const std::vector<json>& rows);

}  // namespace linformer
