// linformer info: shows facts about a model, prepared text or this machine.
#include <ATen/ATen.h>
#include <ATen/Version.h>

#include <filesystem>
#include <memory>
#include <string_view>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/data/token_file.hpp"
#include "linformer/infer/generate.hpp"
#include "linformer/nn/automatic.hpp"
#include "linformer/nn/device.hpp"
#include "linformer/nn/model_file.hpp"
#include "linformer/study/machine.hpp"
#include "linformer/train/run_folder.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

namespace fs = std::filesystem;

struct InfoFlags {
  Common common;
  std::string path;
};

/// Which part of a model a parameter belongs to, by its name (docs/model_format.md).
std::string part_of(std::string_view name) {
  const auto holds = [&](std::string_view piece) { return name.find(piece) != std::string_view::npos; };
  if (name.starts_with("token_embedding")) return "token_embedding";
  if (name.starts_with("position_embedding")) return "position_embedding";
  if (name.starts_with("output")) return "output";
  for (const auto* rule : {"projection", "decay", "gate", "codebook", "sharpness"}) {
    if (holds(std::string(".attention.") + rule)) return "projections";
  }
  if (holds(".attention.")) return "attention";
  if (holds(".feed_forward.")) return "feed_forward";
  return "norms";
}

json parameters_of(const LanguageModel& model) {
  json parts = {{"total", model.parameter_count()}};
  for (const auto* part :
       {"token_embedding", "position_embedding", "attention", "projections", "feed_forward", "norms", "output"}) {
    parts[part] = 0;
  }
  for (const auto& [name, tensor] : model.parameters()) {
    auto& count = parts[part_of(name)];
    count = count.get<std::int64_t>() + tensor.numel();
  }
  return parts;
}

const char* name_of(Form form) {
  switch (form) {
    case Form::softmax:
      return "softmax, causal";
    case Form::bidirectional_softmax:
      return "softmax, bidirectional";
    case Form::bidirectional:
      return "linformer, bidirectional";
    case Form::prefix:
      return "linformer, prefix";
    case Form::running:
    case Form::block:
      break;  // which of them, `summary` says
  }
  return "linformer, window";
}

json layer_of(const ModelConfig& config, std::int64_t layer) {
  const auto& attention = config.attention;
  const auto form = form_of(config, layer);
  if (config.is_softmax(layer)) return {{"layer", layer}, {"form", name_of(form)}};
  const auto window = config.window();
  json object = {{"layer", layer},
                 {"form", name_of(form)},
                 {"slots", config.slots_of(layer)},
                 {"sharing", enum_name(attention.sharing)},
                 {"projection", enum_name(attention.projection)}};
  if (window == 0) return object;
  object["window"] = window;
  if (attention.sinks > 0) object["sinks"] = attention.sinks;
  object["summary"] = enum_name(attention.summary);
  if (form == Form::block) object["slots_a_block"] = config.block_slots_of(layer);
  object["normalise"] = enum_name(config.normalise());
  object["slot_bias"] = config.slot_bias() ? json(*config.slot_bias()) : json("none");
  return object;
}

/// How far a run or a checkpoint has been trained.
json training_of(const fs::path& folder) {
  const auto run = read_run_config(folder);
  json object = {{"data", run.data.folder}, {"steps_asked", run.train.steps}, {"seed", run.seed}};
  if (run.from) object["from"] = run.from->folder;
  std::int64_t step = -1;
  if (fs::exists(folder / "state.json")) {
    const auto state = read_json(folder / "state.json");
    if (state.is_object() && state.contains("step") && state["step"].is_number_integer())
      step = state["step"].get<std::int64_t>();
  } else if (const auto checkpoints = checkpoints_of(folder); !checkpoints.empty()) {
    step = checkpoints.front().first;
  }
  if (step >= 0) {
    object["steps"] = step;
    object["tokens"] = step * run.train.batch * run.train.accumulate * run.model.length;
  }
  return object;
}

json model_info(const fs::path& folder) {
  const auto loaded = load_model(folder);
  const auto& config = loaded.model.config();
  json object = {{"kind", "model"},
                 {"path", folder.string()},
                 {"model", loaded.config["model"]},
                 {"attention", loaded.config["attention"]}};
  if (loaded.config.contains("tokenizer")) object["tokenizer"] = loaded.config["tokenizer"];
  object["parameters"] = parameters_of(loaded.model);
  for (std::int64_t layer = 0; layer < config.layers; ++layer) object["layers"].push_back(layer_of(config, layer));
  if (config.causal)
    object["decode_state_bytes"] = {{"first_token", decode_state_bytes(loaded.model, 1)},
                                    {"full_length", decode_state_bytes(loaded.model, config.length)}};
  if (is_run(folder)) object["training"] = training_of(folder);
  return object;
}

json data_info(const fs::path& folder) {
  const auto data = TokenData::open(folder);
  const auto train = data.train_size(), validation = data.validation_size();
  return {{"kind", "prepared text"},
          {"path", folder.string()},
          {"tokenizer", data.tokenizer()->name()},
          {"vocabulary", data.tokenizer()->size()},
          {"vocabulary_hash", data.vocabulary_hash()},
          {"train_tokens", train},
          {"validation_tokens", validation},
          {"validation_share",
           train + validation > 0 ? static_cast<double>(validation) / static_cast<double>(train + validation) : 0.0},
          {"separators", data.separators()},
          {"bytes_per_token", validation > 0 ? json(data.validation_bytes_per_token()) : json(nullptr)}};
}

// What `auto` takes here: by tables, whatever was measured above.
json choices_of(at::Device device) {
  return {{"train.dtype", dtype_name(choose_dtype(DType::automatic, device).value)},
          {"products", enum_name(choose_products(ProductLibrary::automatic).value)},
          {"large_model_weights", kernels::weight_format_name(automatic_weights(this_processor(), kLargeModel))},
          {"reason", choose_dtype(DType::automatic, device).reason}};
}

json machine_info(const Common& common) {
  const auto rates = measure_products(parse_device(common.device));
  const auto gflops = [](double multiply_adds) { return 2e-9 * multiply_adds; };
  json object = {{"kind", "machine"}, {"version", LINFORMER_VERSION}};
  object.update(describe_machine());
  object.update({{"capability", at::get_cpu_capability()},
                 {"device", common.device},
                 {"float32_gflops", gflops(rates.float32)},
                 {"bfloat16_gflops", gflops(rates.bfloat16)},
                 {"auto", choices_of(parse_device(common.device))}});
  return object;
}

json info_of(const std::string& path, const Common& common) {
  if (path.empty()) return machine_info(common);
  require(fs::exists(path),
          "{}: no such file or folder; give a run, a checkpoint or a folder that `linformer prepare` made", path);
  const bool is_token_file = fs::is_regular_file(path) && fs::path(path).filename() == "tokens.bin";
  if (is_token_file) return data_info(fs::absolute(path).parent_path());
  if (fs::is_regular_file(fs::path(path) / "tokens.bin")) return data_info(path);
  require(fs::is_regular_file(fs::path(path) / "config.json"),
          "{} is neither a model (a folder with config.json and model.safetensors) nor prepared text (a folder with "
          "tokens.bin and "
          "tokenizer.json); give a run, a checkpoint or a folder that `linformer prepare` made",
          path);
  return model_info(path);
}

/// One line per value; sections are indented.
void print(const json& object, int indent = 0) {
  for (const auto& [key, value] : object.items()) {
    const bool section = value.is_object() || (value.is_array() && !value.empty() && value[0].is_object());
    if (!section) {
      const auto text = value.is_string()         ? value.get<std::string>()
                        : value.is_number_float() ? formatted("{:.4g}", value.get<double>())
                                                  : value.dump();
      put("{:{}}{:{}}{}\n", "", indent, key, 24 - indent, text);
    } else if (value.is_object()) {
      put("{:{}}{}\n", "", indent, key);
      print(value, indent + 2);
    } else {
      put("{:{}}{}\n", "", indent, key);
      for (const auto& element : value) put("{:{}}{}\n", "", indent + 2, element.dump());
    }
  }
}

void run(const InfoFlags& flags) {
  apply(flags.common);
  const auto object = info_of(flags.path, flags.common);
  if (flags.common.json) {
    put("{}\n", dump(object));
  } else {
    print(object);
  }
}

}  // namespace

void add_info(CLI::App& app) {
  auto flags = std::make_shared<InfoFlags>();
  auto* verb = app.add_subcommand("info", "Show facts about a model, prepared text or this machine");
  add_common(*verb, flags->common);
  verb->add_option("path", flags->path, "run, checkpoint or prepared folder, or tokens.bin; default: this machine");
  verb->callback([flags] { run(*flags); });
}

}  // namespace linformer::cli
