#include "linformer/study/ablate.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "linformer/core/disk_full.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/folder_lock.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/lenient_json.hpp"
#include "linformer/core/memory.hpp"
#include "linformer/core/stop_signal.hpp"
#include "linformer/study/machine.hpp"
#include "linformer/train/checkpoint.hpp"
#include "study/ablate_read.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

constexpr double kDiffer = 0.1;  // of the base's parameters
// Between the seed of a run and that of one which goes on from it: with the same it would read the same text again.
constexpr std::uint64_t kSeedsApart = 1000;

// {"mean","low","high"} of what each seed has under `key`; null where one has none.
json spread(const std::vector<double>& values) {
  if (values.empty()) return nullptr;
  double sum = 0;
  for (const auto value : values) sum += value;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return {{"mean", sum / static_cast<double>(values.size())}, {"low", *low}, {"high", *high}};
}

json spread_of(const std::vector<RunReading>& readings, const std::string& key) {
  std::vector<double> values;
  for (const auto& reading : readings) {
    if (!reading.seed.contains(key) || !reading.seed[key].is_number()) return nullptr;
    values.push_back(reading.seed[key].get<double>());
  }
  return spread(values);
}

class Ablation {
 public:
  Ablation(const AblationGrid& grid, const AblationOptions& options) : grid_(grid), options_(options) {}

  AblationResult run() {
    const StopSignal stop_signal;
    start_folder();
    for (const auto seed : grid_.seeds) {  // the first seed of every point comes before the second of any
      for (const auto& point : grid_.points) {
        take(point, seed);
        write_table();
        // Run::train() takes signals itself and tells; this is for those between two runs.
        if (!result_.stop_signal) result_.stop_signal = StopSignal::received();
        if (result_.stop_signal) return std::move(result_);
      }
    }
    return std::move(result_);
  }

 private:
  void start_folder() {
    const auto& out = options_.out;
    require(!fs::exists(out) || fs::is_directory(out),
            "{}: is a file, expected a folder for the runs; choose another --out", out.string());
    std::error_code error;
    fs::create_directories(out, error);
    require(!error, "{}: the folder can't be made: {}", out.string(), error.message());
    lock_.emplace(out);
    check_same_ablation();
    remove_stale_temporaries(out);
    const json object = {{"type", "ablation"},           {"name", grid_.name}, {"title", grid_.title},
                         {"grid", grid_.file},           {"base", grid_.base}, {"command", options_.command},
                         {"machine", describe_machine()}};
    write_atomically(out / "ablation.json", dump(object) + "\n");
  }

  void check_same_ablation() const {
    const auto& out = options_.out;
    const auto file = out / "ablation.json";
    if (!fs::exists(file)) {
      // Its damaged file may have been removed by hand. Then what is left belongs to this grid.
      const bool ours = std::all_of(fs::directory_iterator(out), {}, [&](const auto& entry) {
        const auto name = entry.path().filename().string();
        return name == "table.jsonl" || name == FolderLock::kFile || name.starts_with(".table.jsonl.tmp-") ||
               name.starts_with(".ablation.json.tmp-") || is_point(entry.path());
      });
      require(ours, "{}: is not empty and holds no ablation; choose another --out", out.string());
      return;
    }
    const auto there = parse_json_or_discard(read_file(file));
    require(there.is_object() && there.contains("name"),
            "{}: is damaged; remove it, and the next start writes it again and continues", file.string());
    require(there["name"] == grid_.name, "{}: holds the ablation {}, not \"{}\"; choose another --out", out.string(),
            json_excerpt(there["name"]), excerpt(grid_.name));
  }

  // The folder of a point holds folders of seeds. An ordinary run may have the same name.
  bool is_point(const fs::path& folder) const {
    const auto is_named = [&](const auto& point) { return point.name == folder.filename().string(); };
    const auto is_seed = [](const auto& entry) { return entry.path().filename().string().starts_with("seed-"); };
    return std::any_of(grid_.points.begin(), grid_.points.end(), is_named) && fs::is_directory(folder) &&
           std::all_of(fs::directory_iterator(folder), {}, is_seed);
  }

  void take(const AblationPoint& point, std::uint64_t seed) {
    const auto run = options_.out / point.name / formatted("seed-{}", seed);
    auto config = point.config;
    config.seed = seed + kSeedsApart * runs_before(point);
    try {
      const auto from = weights_of(point, seed);
      auto state = state_of(run, config, from);
      if (state == RunState::finished) {
        ++result_.skipped;
      } else if (!train(run, config, from, state)) {
        return;
      }
      auto reading = read_run(run, config);  // before the list, which must not stay behind empty
      reading.seed["seed"] = seed;
      readings_[point.name].push_back(std::move(reading));
    } catch (const DiskFull& error) {  // each later run would train up to its first save, and fail too
      fail("{}; make room, or raise the limit, then give the same command again", error.what());
    } catch (const UserError& error) {
      leave_out(point, seed, error.what());
    } catch (const std::exception& error) {  // LibTorch's, of memory above all: the other points may do better
      const std::string message = error.what();
      leave_out(point, seed,
                is_out_of_memory(message) ? "out of memory; use a smaller train.batch, model.length or model.width"
                                          : message.substr(0, message.find('\n')));
    }
  }

  std::uint64_t runs_before(const AblationPoint& point) const {
    if (point.from.empty()) return 0;
    const auto before = std::ranges::find(grid_.points, point.from, &AblationPoint::name);
    return 1 + runs_before(*before);
  }

  // The run whose weights this one begins with; "" when they are new.
  fs::path weights_of(const AblationPoint& point, std::uint64_t seed) const {
    if (point.from.empty()) return {};
    const auto trained = readings_.find(point.from);
    const bool there = trained != readings_.end() &&
                       std::ranges::any_of(trained->second, [&](const auto& one) { return one.seed["seed"] == seed; });
    require(there, "it begins with the weights of point {}, which was not trained with this seed", point.from);
    return options_.out / point.from / formatted("seed-{}", seed);
  }

  void leave_out(const AblationPoint& point, std::uint64_t seed, const std::string& reason) {
    ++result_.left_out;
    if (options_.remark) options_.remark(formatted("point {}, seed {} is left out: {}", point.name, seed, reason));
  }

  // False: stopped by a signal.
  bool train(const fs::path& run, const RunConfig& config, const fs::path& from, RunState state) {
    if (!options_.quiet) say("{}:\n", run.string());
    const auto existing = state == RunState::half ? ExistingRun::resume : ExistingRun::refuse;
    std::optional<Run> training;
    try {
      training.emplace(config, RunOptions{.out = run,
                                          .existing = existing,
                                          .from = state == RunState::half ? fs::path() : from,
                                          .device = options_.device,
                                          .quiet = options_.quiet});
    } catch (const LostCheckpoints&) {  // whose message names flags that this command lacks
      fail(
          "{}: can't be resumed, since its checkpoints are missing or damaged; put them back, or remove the folder {} "
          "to train it again",
          run.string(), run.string());
    }
    result_.stop_signal = training->train().stop_signal;
    if (!result_.stop_signal) ++result_.trained;
    return !result_.stop_signal;
  }

  void write_table() {
    result_.rows.clear();
    const auto time = shortest_time();
    std::int64_t base = 0;
    if (const auto found = readings_.find(grid_.base); found != readings_.end())
      base = found->second.front().parameters;
    std::string text;
    for (const auto& point : grid_.points) {
      const auto found = readings_.find(point.name);
      if (found == readings_.end()) continue;
      auto row = row_of(point, found->second, base, time);
      mark_inequality(point, row);
      result_.rows.push_back(std::move(row));
      text += dump(result_.rows.back()) + "\n";
    }
    write_atomically(options_.out / "table.jsonl", text);
  }

  // Losses per token can't be compared between two vocabularies.
  bool same_vocabulary(const AblationPoint& point) const {
    return point.config.identity.vocabulary_hash == base_point().config.identity.vocabulary_hash;
  }

  const AblationPoint& base_point() const {
    return *std::find_if(grid_.points.begin(), grid_.points.end(),
                         [&](const auto& point) { return point.name == grid_.base; });
  }

  void mark_inequality(const AblationPoint& point, json& row) const {
    row["tokens"] = tokens_of(point.config);
    row["tokens_differ"] = tokens_of(point.config) != tokens_of(base_point().config);
    row["vocabulary_differs"] = !same_vocabulary(point);
    if (!same_vocabulary(point)) row.erase("equal_time");
  }

  // The mean training time, over its seeds, of the fastest point.
  double shortest_time() const {
    double shortest = INFINITY;
    for (const auto& point : grid_.points) {
      const auto found = readings_.find(point.name);
      if (found == readings_.end() || !same_vocabulary(point)) continue;
      const auto& readings = found->second;
      double sum = 0;
      for (const auto& reading : readings) sum += reading.seconds;
      shortest = std::min(shortest, sum / static_cast<double>(readings.size()));
    }
    return shortest;
  }

  static json row_of(const AblationPoint& point, const std::vector<RunReading>& readings, std::int64_t base,
                     double time) {
    const auto parameters = readings.front().parameters;
    const auto difference = static_cast<double>(std::abs(parameters - base));
    json row = {
        {"type", "ablation-row"}, {"point", point.name}, {"changes", point.changes}, {"parameters", parameters}};
    row["parameters_differ"] = base > 0 && difference > kDiffer * static_cast<double>(base);
    for (const auto& reading : readings) row["seeds"].push_back(reading.seed);
    for (const auto* key : {"validation_loss", "bits_per_byte", "accuracy"}) {
      if (auto values = spread_of(readings, key); !values.is_null()) row[key] = std::move(values);
    }
    std::vector<double> losses;
    for (const auto& reading : readings) {
      if (const auto loss = loss_at(reading.losses, time)) losses.push_back(*loss);
    }
    // A mean without the seeds that had no evaluation by then would be a mean of other runs.
    if (losses.size() == readings.size()) row["equal_time"] = {{"seconds", time}, {"validation_loss", spread(losses)}};
    return row;
  }

  const AblationGrid& grid_;
  const AblationOptions& options_;
  std::optional<FolderLock> lock_;  // as long as this lives
  AblationResult result_;
  std::map<std::string, std::vector<RunReading>> readings_;
};

std::string value_of(const json& row, const std::string& key, int digits) {
  if (!row.contains(key)) return "";
  const auto& values = row[key];
  const auto one = [&](const char* part) { return formatted("{:.{}f}", values[part].get<double>(), digits); };
  if (row["seeds"].size() == 1) return one("mean");
  return formatted("{} [{}, {}]", one("mean"), one("low"), one("high"));
}

bool marked(const json& row, const char* key) { return row.contains(key) && row[key] == true; }

// Mean over the heads of each layer, and over the seeds.
std::string biases_of(const json& row) {
  std::vector<double> layers;
  const json* last = nullptr;
  for (const auto& seed : row["seeds"]) {
    if (!seed.contains("slot_bias")) return "";
    last = &seed["slot_bias"];
    layers.resize(seed["slot_bias"].size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
      for (const auto& head : seed["slot_bias"][i]) {
        layers[i] += head.get<double>() / static_cast<double>(seed["slot_bias"][i].size() * row["seeds"].size());
      }
    }
  }
  std::string text;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const bool none = (*last)[i].empty();  // a layer of a hybrid
    text += formatted("{}{}", text.empty() ? "" : " ", none ? "-" : formatted("{:.2f}", layers[i]));
  }
  return text;
}

}  // namespace

AblationResult run_ablation(const AblationGrid& grid, const AblationOptions& options) {
  return Ablation(grid, options).run();
}

std::string ablation_table(const AblationGrid& grid, const std::vector<json>& rows) {
  std::vector<std::vector<std::string>> cells{{"point", "parameters", "validation loss", "bits per byte", "accuracy",
                                               "at equal time", "tokens/s", "state bytes", "slot bias by layer"}};
  for (const auto& row : rows) {
    const auto& seeds = row["seeds"];
    double speed = 0;
    for (const auto& seed : seeds) speed += seed["tokens_per_second"].get<double>() / static_cast<double>(seeds.size());
    const json* equal = row.contains("equal_time") ? &row["equal_time"] : nullptr;
    json at_equal = {{"seeds", seeds}};
    if (equal) at_equal["loss"] = (*equal)["validation_loss"];
    cells.push_back(
        {row["point"].get<std::string>() + (row["point"] == grid.base ? " (base)" : "") +
             (marked(row, "tokens_differ") ? " †" : "") + (marked(row, "vocabulary_differs") ? " ‡" : ""),
         formatted("{}{}", row["parameters"].get<std::int64_t>(), row["parameters_differ"] == true ? " *" : ""),
         value_of(row, "validation_loss", 4), value_of(row, "bits_per_byte", 4), value_of(row, "accuracy", 4),
         value_of(at_equal, "loss", 4), formatted("{:.0f}", speed),
         seeds[0].contains("state_bytes") ? formatted("{}", seeds[0]["state_bytes"].get<std::int64_t>()) : "",
         biases_of(row)});
  }
  std::string text = grid.title + "\n";
  std::vector<std::size_t> widths(cells[0].size());
  for (std::size_t column = 0; column < widths.size(); ++column) {
    bool filled = false;  // a column without values is left out
    for (std::size_t i = 0; i < cells.size(); ++i) {
      filled = filled || (i > 0 && !cells[i][column].empty());
      widths[column] = std::max(widths[column], cells[i][column].size());
    }
    if (!filled) widths[column] = 0;
  }
  for (const auto& line : cells) {
    std::string printed;
    for (std::size_t column = 0; column < widths.size(); ++column) {
      if (widths[column] > 0) printed += formatted("{:<{}}  ", line[column], widths[column]);
    }
    text += printed.substr(0, printed.find_last_not_of(' ') + 1) + "\n";
  }
  for (const auto& [key, note] :
       {std::pair{"parameters_differ", "* more than 10 % more or fewer parameters than the base"},
        {"tokens_differ", "† other number of tokens than the base"},
        {"vocabulary_differs", "‡ other vocabulary: compare bits per byte"}}) {
    if (std::any_of(rows.begin(), rows.end(), [&](const json& row) { return marked(row, key); }))
      text += formatted("{}\n", note);
  }
  return text;
}

}  // namespace linformer
