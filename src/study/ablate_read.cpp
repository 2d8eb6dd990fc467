#include "study/ablate_read.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/hash.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/lenient_json.hpp"
#include "linformer/infer/generate.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

// Reads only complete lines. A kill may leave an incomplete last line.
std::vector<json> metrics_of(const fs::path& run) {
  std::vector<json> lines;
  const auto text = read_file(run / "metrics.jsonl");
  for (std::size_t start = 0, end; (end = text.find('\n', start)) != std::string::npos; start = end + 1) {
    auto line = parse_json_or_discard(std::string_view(text).substr(start, end - start));
    if (line.is_object() && line.contains("step") && line["step"].is_number_integer()) lines.push_back(std::move(line));
  }
  return lines;
}

// By layer, of each head; of a layer without one nothing. Empty where no layer has one.
json slot_biases(const LanguageModel& model) {
  auto layers = json::array();
  bool any = false;
  for (std::int64_t layer = 0; layer < model.config().layers; ++layer) {
    const auto name = formatted("blocks.{}.attention.slot_bias", layer);
    auto heads = json::array();
    for (const auto& [parameter, value_H] : model.parameters()) {
      if (parameter != name) continue;
      any = true;
      for (std::int64_t head = 0; head < value_H.size(0); ++head) heads.push_back(value_H[head].item<double>());
    }
    layers.push_back(std::move(heads));
  }
  return any ? layers : json::array();
}

// Runs `work`. When the run's files must be mended by the user, the error also says what else can be done.
template <class Work>
auto or_train_anew(const fs::path& run, const Work& work) {
  try {
    return work();
  } catch (const UserError& error) {
    fail("{}; to keep the run, correct that (in the grid, if it is a field); or remove the folder {} to train it again",
         error.what(), run.string());
  }
}

void check_same_run(const fs::path& run, RunConfig config, const fs::path& from) {
  require(is_run(run), "{}: holds no run (its config.json is missing or damaged)", run.string());
  const auto object = read_json(run / "config.json");
  require(object.contains("format_version") && object["format_version"] == 1,
          "{}: format_version is {}, this program reads 1", (run / "config.json").string(),
          json_excerpt(object.value("format_version", json())));
  const auto stored = read_run_config(run);
  require(stored.seed == config.seed, "{}: was trained with seed {}", run.string(), stored.seed);
  if (!from.empty() && stored.from) {  // by what they are: the folder of all runs may have moved
    config.from = stored.from;
    require(stored.from->sha256 == hash_of_file(from / "model.safetensors"),
            "{}: was begun with other weights than {} has now", run.string(), from.string());
  }
  check_resumable(stored, config);
}

bool has_final_evaluation(const fs::path& run, std::int64_t steps) {
  if (!fs::exists(run / "metrics.jsonl")) return false;
  const auto lines = metrics_of(run);
  return !lines.empty() && lines.back()["step"] == steps && lines.back().contains("validation_loss");
}

}  // namespace

RunState state_of(const fs::path& run, const RunConfig& config, const fs::path& from) {
  if (!fs::exists(run)) return RunState::absent;
  require(fs::is_directory(run), "{}: is a file, expected the folder of a run", run.string());
  if (!holds_files(run)) return RunState::absent;
  or_train_anew(run, [&] { check_same_run(run, config, from); });
  const auto checkpoints = checkpoints_of(run);
  const bool last = !checkpoints.empty() && checkpoints.front().first == config.train.steps;
  // What is missing beside a good checkpoint is written again when the run resumes.
  const bool whole = last && fs::exists(checkpoint_path(run, config.train.steps) / "state.json") &&
                     fs::exists(run / "model.safetensors");
  return whole && has_final_evaluation(run, config.train.steps) ? RunState::finished : RunState::half;
}

namespace {

RunReading read_finished(const fs::path& run, const RunConfig& config) {
  const auto steps = config.train.steps;
  const auto lines = metrics_of(run);
  require(has_final_evaluation(run, steps), "{}: holds no evaluation at step {}", (run / "metrics.jsonl").string(),
          steps);
  const auto loaded = load_model(run);
  RunReading reading;
  reading.parameters = loaded.model.parameter_count();
  const auto state_file = checkpoint_path(run, steps) / "state.json";
  try {
    reading.seconds = read_json(state_file).at("train_seconds").get<double>();
    for (const auto& line : lines) {
      if (line.contains("validation_loss") && line.contains("train_seconds"))
        reading.losses.push_back({line["train_seconds"].get<double>(), line["validation_loss"].get<double>()});
    }
  } catch (const json::exception& error) {
    fail("{}: train_seconds or validation_loss can't be read: {}", run.string(), error.what());
  }
  const auto tokens = static_cast<double>(tokens_of(config));
  reading.seed = {{"seed", config.seed}, {"steps", steps}};
  const auto& last = lines.back();
  for (const auto* key :
       {"validation_loss", "bits_per_byte", "accuracy", "accuracy_by_distance", "found", "accuracy_by_depth"}) {
    if (last.contains(key)) reading.seed[key] = last[key];
  }
  reading.seed["tokens_per_second"] = tokens / std::max(reading.seconds, 1e-9);
  reading.seed["seconds"] = reading.seconds;
  if (auto biases = slot_biases(loaded.model); !biases.empty()) reading.seed["slot_bias"] = std::move(biases);
  if (config.model.causal) reading.seed["state_bytes"] = decode_state_bytes(loaded.model, config.model.length);
  return reading;
}

}  // namespace

RunReading read_run(const fs::path& run, const RunConfig& config) {
  return or_train_anew(run, [&] { return read_finished(run, config); });
}

std::int64_t tokens_of(const RunConfig& config) {
  return config.train.steps * config.train.batch * config.train.accumulate * config.model.length;
}

std::optional<double> loss_at(const std::vector<TimedLoss>& losses, double seconds) {
  if (losses.empty() || seconds < losses.front().seconds) return std::nullopt;
  for (std::size_t i = 1; i < losses.size(); ++i) {
    const auto &before = losses[i - 1], &after = losses[i];
    if (seconds >= after.seconds) continue;
    const auto share = (seconds - before.seconds) / std::max(after.seconds - before.seconds, 1e-9);
    return before.loss + share * (after.loss - before.loss);
  }
  return losses.back().loss;
}

}  // namespace linformer
