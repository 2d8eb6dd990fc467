#include "linformer/train/checkpoint.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/hash.hpp"
#include "linformer/core/json.hpp"
#include "linformer/nn/state_file.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

json number_or_null(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

json state_json(const TrainState& state, const RunConfig& config) {
  return {{"format_version", 1},
          {"step", state.step},
          {"loss", state.loss ? json(*state.loss) : json(nullptr)},
          {"best_loss", number_or_null(state.best_loss)},
          {"next_batch", state.step * config.train.accumulate},
          {"seed", config.seed},
          {"dtype", enum_name(config.train.dtype)},
          {"threads", at::get_num_threads()},
          {"train_seconds", state.train_seconds},
          {"seconds", state.seconds}};
}

// Thrown when a checkpoint's files are not what was saved. Only then is a checkpoint skipped. A good one that can't be
// read at the moment must not be skipped, because training would go on from an older state.
class Damage : public UserError {
 public:
  using UserError::UserError;
};

void check_present(const fs::path& path) {
  std::error_code ignored;
  if (fs::status(path, ignored).type() == fs::file_type::not_found)
    throw Damage(formatted("{}: is missing", path.string()));
}

json parse_state(const fs::path& source) {
  check_present(source);
  const auto text = read_file(source);
  try {
    return parse_json(text, source.string());
  } catch (const UserError& error) {
    throw Damage(error.what());
  }
}

constexpr const char* kText = "text_state.safetensors";  // with train.carry_state
constexpr std::array kHashed{"config.json", "model.safetensors", "tokenizer.json", "optimizer.safetensors", kText};

// Writes state.json, which holds the hashes of the files beside it, and a hash of itself.
void write_state(const fs::path& folder, json object) {
  for (const auto* name : kHashed) {
    if (fs::exists(folder / name)) object["files"][name] = hash_of_file(folder / name);
  }
  object["sha256"] = sha256(object.dump());
  write_atomically(folder / "state.json", object.dump(2) + "\n");
}

// A changed bit in a weight would go unnoticed in training, so every file is compared with its hash.
json read_state(const fs::path& folder) {
  const auto source = folder / "state.json";
  auto object = parse_state(source);
  try {
    const auto version = object.at("format_version").get<std::int64_t>();
    require(version <= 1, "{}: format_version is {}, this program reads 1; resume with the program that made it",
            source.string(), version);
    const auto own = object.at("sha256").get<std::string>();
    object.erase("sha256");
    if (own != sha256(object.dump()))
      throw Damage(formatted("{}: is damaged: its sha256 is not the one it holds", source.string()));
    for (const auto& [name, expected] : object.at("files").items()) {
      // A name such as ../other would lead out of the folder.
      if (std::ranges::find(kHashed, name) == kHashed.end())
        throw Damage(
            formatted("{}: is damaged: it names {}, which no checkpoint holds", source.string(), excerpt(name)));
      const auto file = folder / name;
      check_present(file);
      const auto found = hash_of_file(file);
      const auto saved = expected.get<std::string>();
      if (found != saved)
        throw Damage(formatted("{}: is damaged: its sha256 is {}, expected {}", file.string(), found,
                               excerpt(saved, found.size())));
    }
  } catch (const json::exception& error) {
    throw Damage(formatted("{}: is damaged: {}", source.string(), error.what()));
  }
  return object;
}

// Where the texts of a batch have got to.
void save_text(const fs::path& folder, const DecodeState& text) {
  if (text.batch() == 0) return;
  write_safetensors(folder / kText, {.tensors = named_tensors(text),
                                     .metadata = {{"batch", formatted("{}", text.batch())},
                                                  {"position", formatted("{}", text.positions().front())}}});
}

DecodeState load_text(const fs::path& folder, const LanguageModel& model) {
  if (!fs::exists(folder / kText)) return {};
  const auto file = read_safetensors(folder / kText);
  const auto number = [&](const std::string& key) {
    const auto found = file.metadata.find(key);
    require(found != file.metadata.end(), "{}: '{}' is missing", (folder / kText).string(), key);
    return parse_json(found->second, (folder / kText).string()).get<std::int64_t>();
  };
  return state_of(model, number("batch"), number("position"), file);
}

// Removes older checkpoints beyond the `keep` latest. The newest one always stays, because a resume needs it.
void remove_old_checkpoints(const fs::path& run, std::int64_t keep) {
  const auto all = checkpoints_of(run);
  for (std::size_t i = static_cast<std::size_t>(std::max<std::int64_t>(keep, 1)); i < all.size(); ++i)
    fs::remove_all(all[i].second);
}

void note_threads(int threads, const std::function<void(const std::string&)>& note) {
  if (threads == at::get_num_threads()) return;
  note(formatted("the run used {} threads, now there are {}: results will differ by rounding (--threads {} avoids it)",
                 threads, at::get_num_threads(), threads));
}

TrainState load_checkpoint(const fs::path& folder, std::int64_t step, const RunConfig& config, at::Device device,
                           const std::function<void(const std::string&)>& note) {
  const auto object = read_state(folder);
  check_resumable(read_config_file(folder / "config.json"), config);
  auto loaded = load_model(folder);
  loaded.model.to(device, at::kFloat);
  TrainState state(std::move(loaded.model));
  state.optimizer.load_moments(read_safetensors(folder / "optimizer.safetensors"));
  state.text = load_text(folder, state.model);
  const auto source = (folder / "state.json").string();
  try {
    state.step = object.at("step").get<std::int64_t>();
    require(state.step == step, "{}: step is {}, expected {}, the folder's", source, state.step, step);
    if (!object.at("loss").is_null()) state.loss = object["loss"].get<double>();
    if (!object.at("best_loss").is_null()) state.best_loss = object["best_loss"].get<double>();
    state.train_seconds = object.at("train_seconds").get<double>();
    state.seconds = object.at("seconds").get<double>();
    note_threads(object.at("threads").get<int>(), note);
  } catch (const json::exception& error) {
    fail("{}: can't be read: {}", source, error.what());
  }
  return state;
}

}  // namespace

void save_checkpoint(const fs::path& run, const TrainState& state, const RunConfig& config, const json& tokenizer) {
  fs::create_directories(run / "checkpoints");
  const auto sections = run_sections(config);
  write_folder_atomically(checkpoint_path(run, state.step), [&](const fs::path& folder) {
    save_model(folder, state.model, tokenizer, sections);
    write_safetensors(folder / "optimizer.safetensors", {.tensors = state.optimizer.moments(), .metadata = {}});
    save_text(folder, state.text);
    write_state(folder, state_json(state, config));
  });
  remove_old_checkpoints(run, config.train.keep);
  // The run's config.json and tokenizer.json have been there since its start.
  save_weights(run / "model.safetensors", state.model);
}

void save_best(const fs::path& run, const TrainState& state, const RunConfig& config, const json& tokenizer) {
  fs::create_directories(run / "checkpoints");
  write_folder_atomically(best_path(run), [&](const fs::path& folder) {
    save_model(folder, state.model, tokenizer, run_sections(config));
    write_state(folder, state_json(state, config));
  });
}

std::optional<TrainState> load_newest_checkpoint(const fs::path& run, const RunConfig& config, at::Device device,
                                                 const std::function<void(const std::string&)>& note) {
  const auto all = checkpoints_of(run);
  std::string reason;
  for (const auto& [step, path] : all) {
    try {
      return load_checkpoint(path, step, config, device, note);
    } catch (const Damage& error) {
      reason = error.what();
      note(formatted("checkpoint of step {} can't be used: {}", step, reason));
    }
  }
  if (all.empty()) return std::nullopt;
  throw LostCheckpoints(formatted(
      "{}: none of the {} checkpoints can be read; restore one, or start again with --overwrite. The oldest: {}",
      run.string(), all.size(), reason));
}

}  // namespace linformer
