// linformer ablate: trains a grid of models that differ in named fields, and compares them.
#include "linformer/study/ablate.hpp"

#include <memory>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/shell.hpp"
#include "linformer/nn/device.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

struct AblateFlags {
  Common common;
  std::string grid, out, data;
};

void ablate(const CLI::App& verb, const AblateFlags& flags) {
  apply(flags.common);
  for (const auto& [flag, instead] : {std::pair{"--config", "config = \"FILE.toml\""}, {"--seed", "seeds = [0, 1]"}}) {
    require(verb.count(flag) == 0, "{} is not used here: the grid file says it, with {}", flag, instead);
  }
  const auto& dtype = flags.common.dtype;
  require(verb.count("--dtype") == 0 || dtype != "auto",
          "--dtype is auto, but a comparison must not depend on the processor; give float32 or bfloat16");
  const auto grid = read_grid(flags.grid, flags.data,
                              dtype == "bfloat16"  ? DType::bfloat16
                              : dtype == "float32" ? DType::float32
                                                   : DType::automatic);
  auto command = formatted("linformer ablate --grid {} --out {}", quoted(flags.grid), quoted(flags.out));
  if (!flags.data.empty()) command += " --data " + quoted(flags.data);
  if (dtype != "auto") command += " --dtype " + dtype;
  if (flags.common.threads > 0) command += formatted(" --threads {}", flags.common.threads);
  const auto result = run_ablation(grid, {.out = flags.out,
                                          .command = command,
                                          .device = parse_device(flags.common.device),
                                          .remark = [](const std::string& line) { say("linformer: {}\n", line); }});
  if (flags.common.json) {
    for (const auto& row : result.rows) put(dump(row) + "\n");
  } else {
    put(ablation_table(grid, result.rows));
  }
  flush();
  if (result.stop_signal) {
    say("linformer: stopped; continue with: {}\n", command);
    throw Exit{128 + result.stop_signal};
  }
  if (result.left_out > 0) {
    say("linformer: {} of {} runs are not in the table\n", result.left_out, grid.points.size() * grid.seeds.size());
    throw Exit{1};
  }
}

}  // namespace

void add_ablate(CLI::App& app) {
  auto flags = std::make_shared<AblateFlags>();
  auto* verb = app.add_subcommand(
      "ablate", "Train a grid of models that differ in named fields, and compare them; continues where it stopped");
  add_common(*verb, flags->common,
             {.help = "float32 or bfloat16, instead of the grid's train.dtype", .flag = "--dtype,--train.dtype"});
  verb->add_option("--grid", flags->grid, "grid file, such as configs/ablations/sharing.toml")->required();
  verb->add_option("--out", flags->out, "folder of the runs and of table.jsonl")->required();
  verb->add_option("--data,--data.folder", flags->data,
                   "folder that `linformer prepare` made, instead of the grid's data.folder");
  verb->callback([verb, flags] { ablate(*verb, *flags); });
}

}  // namespace linformer::cli
