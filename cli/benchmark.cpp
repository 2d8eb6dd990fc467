// linformer benchmark: time and memory of forward passes, training steps and generation, next to the Transformer.
#include "linformer/study/benchmark.hpp"

#include <ATen/Parallel.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>

#include "benchmark_table.hpp"
#include "linformer/config/enum_text.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/shell.hpp"
#include "linformer/nn/device.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

using Texts = std::vector<std::string>;

struct BenchmarkFlags {
  Common common;
  BenchmarkOptions options;
  BenchmarkGrid grid;
  Texts fields{"none"}, tasks{"forward"}, forms{"softmax", "running"}, decodes{"stream"}, sharings{"headwise"};
  std::string preset, out;
  bool quick = false, dry_run = false, point = false;
  std::int64_t max_length = 0;
  std::vector<CLI::Option*> of_grids;  // the options that a preset decides itself
};

template <class Enum>
std::vector<Enum> enums_of(const Texts& texts, std::string_view what) {
  std::vector<Enum> values;
  for (const auto& text : texts) values.push_back(enum_of<Enum>(text, what));
  return values;
}

std::string command_line() {
  auto text = read_file("/proc/self/cmdline");  // each argument ends with a zero byte
  std::string line = "linformer";
  for (auto start = text.find('\0') + 1; start < text.size();) {
    const auto end = text.find('\0', start);
    line += " " + quoted(text.substr(start, end - start));
    start = end + 1;
  }
  return line;
}

// The process is the child of another benchmark. It ends when its parent ends, for whatever reason.
void serve() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() == 1) return;
  serve_point(std::cin, std::cout);
}

void check(const CLI::App& verb, const BenchmarkFlags& flags) {
  for (const auto* name : {"--config", "--seed"}) {
    require(verb.count(name) == 0,
            "{}: benchmark takes its sizes from its own flags or from --preset, and uses random numbers of its own; "
            "leave it out",
            name);
  }
  require(parse_device(flags.common.device).is_cpu(), "--device {}: benchmark measures the processor; leave it out",
          flags.common.device);
  require(verb.count("--dtype") == 0, "--dtype: benchmark takes a list instead; give --dtypes");
  require(flags.max_length >= 0, "--max-length is {}, expected a length", flags.max_length);
  require(flags.dry_run || !flags.out.empty(), "--out is missing: the folder for benchmark.jsonl (or give --dry-run)");
  if (flags.preset.empty()) return;
  for (const auto* option : flags.of_grids) {
    require(option->count() == 0, "{}: the preset {} decides this itself; leave out one of the two", option->get_name(),
            flags.preset);
  }
}

// A comma also stands inside of a value, such as attention.softmax_layers=0,3: what names nothing goes with what is
// before it.
Texts joined_fields(const Texts& given) {
  Texts fields;
  for (const auto& text : given) {
    const bool begins = text == "none" || text.starts_with("model.") || text.starts_with("attention.");
    if (begins || fields.empty()) {
      fields.push_back(text);
    } else {
      fields.back() += "," + text;
    }
  }
  return fields;
}

BenchmarkPlan plan_of(BenchmarkFlags& flags) {
  const PlanOptions options{.threads = at::get_num_threads(), .quick = flags.quick, .max_length = flags.max_length};
  if (!flags.preset.empty()) return plan_preset(flags.preset, options);
  require(!flags.quick, "--quick makes a preset smaller; with a grid, give smaller sizes");
  auto& grid = flags.grid;
  grid.fields = joined_fields(flags.fields);
  std::ranges::replace(grid.fields, "none", "");
  grid.tasks = enums_of<BenchmarkTask>(flags.tasks, "--tasks");
  grid.forms = enums_of<BenchmarkForm>(flags.forms, "--forms");
  grid.decodes = enums_of<BenchmarkDecode>(flags.decodes, "--decodes");
  grid.sharings = enums_of<Sharing>(flags.sharings, "--sharings");
  return plan_grid(grid, options);
}

void print(const BenchmarkResult& result, const BenchmarkFlags& flags) {
  if (!flags.common.json) return put(benchmark_table(result.lines));
  for (const auto& line : result.lines) put(dump(line) + '\n');
}

void run(const CLI::App& verb, BenchmarkFlags& flags) {
  if (flags.point) return serve();
  apply(flags.common);
  check(verb, flags);
  const auto plan = plan_of(flags);
  const auto rate = measure_products().float32;
  const auto summary = plan_table(plan, flags.options.rounds, rate);
  if (flags.dry_run) {
    if (!flags.common.json) return put(summary);
    for (const auto& group : plan.groups) {
      for (const auto& point : group) put(dump(to_json(point)) + '\n');
    }
    return;
  }
  for (const auto& text : plan.left_out) say("linformer: left out {}\n", text);
  say("linformer: {}", summary.substr(summary.rfind('\n', summary.size() - 2) + 1));
  flags.options.out = flags.out;
  flags.options.command = command_line();
  flags.options.version = LINFORMER_VERSION;
  const auto result = run_benchmark(plan, flags.options);
  print(result, flags);
  flush();
  say("linformer: {} points measured now, {} kept from before, {} failed; {}/benchmark.jsonl\n", result.measured,
      result.kept, result.failed, flags.out);
  if (result.stop_signal) throw Exit{128 + result.stop_signal};
  if (result.failed > 0) throw Exit{1};
}

void add_grid(CLI::App& verb, BenchmarkFlags& flags) {
  const auto list = [&](const char* name, auto& values, const std::string& help) {
    flags.of_grids.push_back(verb.add_option(name, values, help)->delimiter(',')->capture_default_str()->group("Grid"));
  };
  auto& grid = flags.grid;
  list("--tasks", flags.tasks, "forward (hidden states), train (a step), generate");
  list("--forms", flags.forms, joined(EnumNames<BenchmarkForm>::names, ", "));
  list("--decodes", flags.decodes,
       "for generate: stream (one step per token), reread (the whole window for each token)");
  list("--sharings", flags.sharings, "none, headwise, key-value, layerwise");
  list("--lengths", grid.lengths, "N: positions");
  list("--slots", grid.slots, "K");
  list("--windows", grid.windows, "W of running, block and window-only");
  list("--batches", grid.batches, "B: sequences at once");
  list("--widths", grid.widths, "d");
  list("--layers", grid.layers, "number of blocks");
  list("--heads", grid.heads, "number of heads; 0: one for each 64 of the width");
  list("--fields", flags.fields,
       "other fields of the models, and train.chunk and train.checkpoint_activations, by the names that train has, "
       "such as none,model.norm=rms+model.position=rotary: "
       "alternatives that are compared, each with its fields joined by +; none: as they are by default");
  list("--dtypes", grid.dtypes, "float32, bfloat16; int8 for generate by stream");
  const auto single = [&](const char* name, auto& value, const std::string& help) {
    flags.of_grids.push_back(
        verb.add_option(name, value, help)->check(CLI::Range(1, 1 << 24))->capture_default_str()->group("Grid"));
  };
  single("--vocabulary", grid.vocabulary, "V: token ids");
  single("--tokens", grid.tokens, "tokens that generate makes");
}

}  // namespace

void add_benchmark(CLI::App& app) {
  auto flags = std::make_shared<BenchmarkFlags>();
  auto* verb = app.add_subcommand(
      "benchmark", "Time and memory of forward passes, training steps and generation, next to the Transformer");
  add_common(*verb, flags->common);
  verb->add_option("--out", flags->out, "folder for benchmark.jsonl; one that exists is continued");
  verb->add_option("--preset", flags->preset, formatted("instead of a grid: {}", joined(benchmark_presets(), ", ")));
  add_grid(*verb, *flags);
  verb->add_option("--rounds", flags->options.rounds, "measured rounds of each point, after one for warming up")
      ->capture_default_str();
  verb->add_option("--budget-memory", flags->options.budget_gib,
                   "GiB that a point may use; points that need more are recorded as too large. 0: three quarters of "
                   "the machine's memory, at most 16; for seed-memory 4");
  verb->add_option("--max-length", flags->max_length, "leave out longer points");
  verb->add_flag("--quick", flags->quick, "small models and few points of the preset, to see that it works");
  verb->add_flag("--new", flags->options.fresh, "start again instead of continuing");
  verb->add_flag("--dry-run", flags->dry_run, "list the points and stop");
  verb->add_flag("--point", flags->point, "measures one point for another benchmark")->group("");
  verb->callback([flags, verb] { run(*verb, *flags); });
}

}  // namespace linformer::cli
