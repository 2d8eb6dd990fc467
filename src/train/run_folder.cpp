#include "linformer/train/run_folder.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

#include "linformer/config/io.hpp"
#include "linformer/config/output_folder.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/folder_lock.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/nn/model_file.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

bool is_checkpoint(const fs::path& folder) { return fs::exists(folder / "state.json"); }

const std::string kDamaged = "damaged-";

std::vector<fs::path> damaged_of(const fs::path& run) {
  std::vector<fs::path> found;
  if (!fs::is_directory(run / "checkpoints")) return found;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints")) {
    if (entry.path().filename().string().starts_with(kDamaged + "step-")) found.push_back(entry.path());
  }
  return found;
}

// The step of "step-000100", or −1.
std::int64_t step_of(const std::string& name) {
  constexpr std::string_view kPrefix = "step-";
  if (!name.starts_with(kPrefix)) return -1;
  std::int64_t step = -1;
  const char* end = name.data() + name.size();
  const auto result = std::from_chars(name.data() + kPrefix.size(), end, step);
  return result.ptr == end ? step : -1;
}

}  // namespace

std::vector<FieldHandle> fields_of(RunConfig& config) {
  auto fields = fields_of(config.model);
  auto train = fields_of(config.train);
  fields.insert(fields.end(), train.begin(), train.end());
  auto data = fields_of(config.data);
  fields.insert(fields.end(), data.begin(), data.end());
  return fields;
}

namespace {

void drop(json& section, std::initializer_list<const char*> keys) {
  for (const auto* key : keys) section.erase(key);
}

}  // namespace

json run_sections(RunConfig config) {
  json sections = to_json(fields_of(config.train));
  const bool text = config.data.source == DataSource::text;
  sections["data"] = to_json(fields_of(config.data))["data"];
  // Writes only the fields that are used.
  if (text) {
    sections["data"] = {{"source", "text"}, {"folder", config.data.folder}};
    if (config.data.order != DataOrder::random) sections["data"]["order"] = enum_name(config.data.order);
  }
  if (config.data.source == DataSource::recall) drop(sections["data"], {"key_length", "depth"});
  if (config.data.source == DataSource::passkey) drop(sections["data"], {"pairs", "power", "scatter"});
  sections["data"].update({{"vocabulary_hash", config.identity.vocabulary_hash},
                           {"train_tokens", config.identity.train_tokens},
                           {"validation_tokens", config.identity.validation_tokens}});
  sections["seed"] = config.seed;
  if (config.from) sections["from"] = {{"folder", config.from->folder}, {"weights_sha256", config.from->sha256}};
  return sections;
}

void write_run_config(const fs::path& run, const RunConfig& config, const json& tokenizer) {
  const auto object = config_json(config.model, tokenizer, run_sections(config));
  write_atomically(run / "config.json", object.dump(2) + "\n");
}

bool holds_files(const fs::path& folder) {
  return std::any_of(fs::directory_iterator(folder), {}, [](const fs::directory_entry& entry) {
    const auto name = entry.path().filename().string();
    return name != FolderLock::kFile && !name.starts_with(".config.json.tmp-");
  });
}

bool is_run(const fs::path& folder) {
  if (!fs::is_regular_file(folder / "config.json") || is_checkpoint(folder)) return false;
  return is_run_config(read_json(folder / "config.json"));
}

RunConfig read_run_config(const fs::path& run) {
  require(fs::exists(run), "{}: there is no run to resume; leave out --resume to start one", run.string());
  require(is_run(run),
          "{}: holds no training run to resume (expected a config.json with the sections train, data and seed)",
          run.string());
  return read_config_file(run / "config.json");
}

RunConfig read_config_file(const fs::path& path) {
  const auto source = path.string();
  const auto object = read_json(path);
  RunConfig config;
  try {
    auto fields = object;
    auto& data = fields.at("data");
    config.identity = {.vocabulary_hash = data.at("vocabulary_hash").get<std::string>(),
                       .train_tokens = data.at("train_tokens").get<std::int64_t>(),
                       .validation_tokens = data.at("validation_tokens").get<std::int64_t>()};
    for (const auto* key : {"vocabulary_hash", "train_tokens", "validation_tokens"}) data.erase(key);
    from_json(fields_of(config), fields, source, {"format_version", "tokenizer", "seed", "from"});
    require(object.at("seed").is_number_unsigned(), "{}: seed is {}, expected a whole number from 0 to {}", source,
            json_excerpt(object["seed"]), std::numeric_limits<std::uint64_t>::max());
    config.seed = object["seed"].get<std::uint64_t>();
    if (const auto from = object.find("from"); from != object.end())
      config.from = {.folder = from->at("folder").get<std::string>(),
                     .sha256 = from->at("weights_sha256").get<std::string>()};
  } catch (const json::exception& error) {
    fail("{}: sections data, seed and from can't be read: {}", source, error.what());
  }
  return config;
}

std::optional<FieldDifference> first_difference(const std::vector<FieldHandle>& first,
                                                const std::vector<FieldHandle>& second,
                                                const std::set<std::string>& free) {
  for (std::size_t i = 0; i < first.size(); ++i) {
    if (free.contains(first[i].name)) continue;
    auto one = first[i].text(), other = second[i].text();
    if (one != other)
      return FieldDifference{.name = first[i].name, .first = std::move(one), .second = std::move(other)};
  }
  return std::nullopt;
}

void check_resumable(RunConfig stored, RunConfig given) {
  static const std::set<std::string> kFree = {"train.evaluate_every",         "train.save_every", "train.keep",
                                              "train.checkpoint_activations", "train.products",   "data.folder"};
  // Runs that were made before there were chunks read the whole text at once.
  if (stored.train.chunk.value_or(0) == given.train.chunk.value_or(0)) given.train.chunk = stored.train.chunk;
  // Standard attention has no use for the other fields of its section.
  if (stored.model.attention.kind == AttentionKind::softmax && given.model.attention.kind == AttentionKind::softmax)
    given.model.attention = stored.model.attention;
  if (const auto different = first_difference(fields_of(stored), fields_of(given), kFree))
    fail(
        "{} is {}, but the run was started with {}; a resumed run keeps it: leave it out, or start a new run in "
        "another folder",
        different->name, excerpt(different->second), excerpt(different->first));
  require(stored.seed == given.seed, "seed is {}, but the run was started with {}; leave out --seed to resume it",
          given.seed, stored.seed);
  const auto origin = [](const RunConfig& config) { return config.from ? config.from->folder : "none"; };
  require(stored.from == given.from,
          "the weights to begin with are {}, but the run was started with {}; start a new run", origin(given),
          origin(stored));
  require(stored.identity.vocabulary_hash == given.identity.vocabulary_hash,
          "{}: was made with another vocabulary than the data that the run was started with ({}); name that data, or "
          "start a new run",
          given.data.folder, stored.data.folder);
  require(stored.identity.train_tokens == given.identity.train_tokens &&
              stored.identity.validation_tokens == given.identity.validation_tokens,
          "{}: is other data than the run was started with ({}): {} + {} tokens, expected {} + {}; name that data, or "
          "start a new run",
          given.data.folder, stored.data.folder, given.identity.train_tokens, given.identity.validation_tokens,
          stored.identity.train_tokens, stored.identity.validation_tokens);
}

void check_run_folder(const fs::path& run, ExistingRun existing) {
  require(!fs::exists(run) || fs::is_directory(run),
          "{}: is a file, expected a folder for the run; choose another --out", run.string());
  const bool occupied = fs::exists(run) && holds_files(run);
  const bool run_there = occupied && is_run(run);
  if (existing == ExistingRun::resume) {
    require(run_there, "{}: there is no training run to resume; leave out --resume to start one", run.string());
    return;
  }
  if (!occupied) return;
  require(run_there, "{}: the folder is not empty and holds no training run; choose another --out, or empty it",
          run.string());
  require(existing == ExistingRun::overwrite,
          "{}: holds a run already; continue it with --resume, replace it with --overwrite, or choose another --out",
          run.string());
}

void remove_run_files(const fs::path& run) {
  for (const auto& [step, path] : checkpoints_of(run)) fs::remove_all(path);
  for (const auto& path : damaged_of(run)) fs::remove_all(path);
  fs::remove_all(best_path(run));
  if (fs::is_directory(run / "tensorboard")) {
    for (const auto& entry : std::vector<fs::directory_entry>(fs::directory_iterator(run / "tensorboard"), {})) {
      if (entry.path().filename().string().starts_with("events.out.tfevents.")) fs::remove(entry.path());
    }
  }
  // config.json, which makes the folder a run, is not removed: the new run replaces it. After a kill in between, the
  // folder is still a run that can be overwritten.
  for (const auto* name : {"metrics.jsonl", "model.safetensors", "tokenizer.json"}) fs::remove(run / name);
}

void remove_leftovers(const fs::path& run) {
  for (const auto& folder : {run, run / "checkpoints", run / "tensorboard"}) remove_stale_temporaries(folder);
}

void set_damaged_aside(const fs::path& run, std::int64_t step) {
  for (const auto& [later, path] : checkpoints_of(run)) {
    if (later <= step) continue;
    const auto name = kDamaged + path.filename().string();
    auto aside = path.parent_path() / name;
    for (int count = 2; fs::exists(aside); ++count) aside = path.parent_path() / formatted("{}-{}", name, count);
    std::error_code error;
    fs::rename(path, aside, error);
    require(!error, "{}: can't be renamed to {}: {}", path.string(), aside.filename().string(), error.message());
  }
}

fs::path checkpoint_path(const fs::path& run, std::int64_t step) {
  return run / "checkpoints" / formatted("step-{:06}", step);
}

fs::path best_path(const fs::path& run) { return run / "checkpoints" / "best"; }

std::vector<std::pair<std::int64_t, fs::path>> checkpoints_of(const fs::path& run) {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  if (!fs::is_directory(run / "checkpoints")) return found;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints")) {
    const auto step = step_of(entry.path().filename().string());
    if (step >= 0 && entry.is_directory()) found.emplace_back(step, entry.path());
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

}  // namespace linformer
