// linformer evaluate: loss, perplexity and bits per byte of a model over prepared data or a text.
#include "linformer/infer/evaluate.hpp"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "linformer/config/output_folder.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/progress.hpp"
#include "linformer/core/shell.hpp"
#include "linformer/train/run_folder.hpp"
#include "open_model.hpp"
#include "text_input.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

struct EvaluateFlags {
  Common common;
  std::string model, data, out;
  std::int64_t batch = 16, length = 0, sequences = 0;
  bool by_position = false;
  DataConfig fields;
  std::unique_ptr<FieldFlags> field_flags;
  std::vector<std::string> given;  // of the fields of data, as they were spelled
};

// Of the run that the model belongs to.
DataConfig own_data(const std::string& folder) {
  const auto config = std::filesystem::path(folder) / "config.json";
  const auto object = read_json(config);
  require(object.is_object() && object.contains("data"), "{}: names no data; give a folder or a text file with --data",
          config.string());
  return read_config_file(config).data;
}

// As the flags of fields say; what they leave open is as in the run.
DataConfig asked_data(EvaluateFlags& flags) {
  const auto is_given = [&](const char* name) { return std::ranges::count(flags.given, name) > 0; };
  const bool own = flags.data.empty() && is_run_config(read_json(std::filesystem::path(flags.model) / "config.json"));
  flags.fields = own ? own_data(flags.model) : DataConfig();
  if (!is_given("data.order")) flags.fields.order = DataOrder::random;
  if (!flags.data.empty()) flags.fields.folder = flags.data;
  flags.field_flags->merge(flags.common.config);
  auto data = flags.fields;
  require(flags.data.empty() || data.folder == flags.data,
          "--data is {}, but --data.folder, which sets the same, is {}; give one of them", flags.data, data.folder);
  if (data.source == DataSource::recall && flags.data.empty() && !is_given("data.folder")) data.folder.clear();
  return data;
}

void check_tokenizer(const Tokenizer& own, const Tokenizer& of_data, const std::string& name) {
  require(same_ids(of_data, own),
          "{} was prepared with another vocabulary ('{}', {} ids, hash {}) than the model's ('{}', {} ids, hash {}): "
          "prepare the text again with --tokenizer MODEL/tokenizer.json, or give the text file itself",
          name, of_data.name(), of_data.size(), of_data.hash(), own.name(), own.size(), own.hash());
}

Evaluation evaluate_fields(const OpenedModel& opened, const DataConfig& config, const EvaluateOptions& options) {
  const auto length = options.length > 0 ? options.length : opened.model.config().length;
  const auto data = open_dataset(config, length);
  if (!config.folder.empty()) check_tokenizer(*opened.tokenizer, *data->tokenizer(), config.folder);
  return evaluate(opened.model, *data, options);
}

Evaluation evaluate_path(const OpenedModel& opened, const std::string& path, const EvaluateOptions& options) {
  if (!std::filesystem::is_directory(path)) return evaluate(opened.model, *opened.tokenizer, read_input(path), options);
  const auto data = TokenData::open(path);
  check_tokenizer(*opened.tokenizer, *data.tokenizer(), path);
  return evaluate(opened.model, data, options);
}

json json_of(const Evaluation& result) {
  json object = to_json(result);
  object.update({{"tokens", result.tokens}, {"seconds", result.seconds}});
  return object;
}

// The command that makes the same line again.
std::string command_of(const EvaluateFlags& flags) {
  auto text = "linformer evaluate --model " + quoted(flags.model);
  if (!flags.data.empty()) text += " --data " + quoted(flags.data);
  if (flags.length > 0) text += formatted(" --length {}", flags.length);
  auto fields = flags.fields;
  for (const auto& field : fields_of(fields)) {
    if (std::ranges::count(flags.given, field.name) > 0)
      text += formatted(" --{} {}", field.name, quoted(field.text()));
  }
  if (flags.sequences > 0) text += formatted(" --sequences {}", flags.sequences);
  if (flags.by_position) text += " --by-position";
  if (flags.common.dtype == "bfloat16") text += " --dtype bfloat16";
  if (flags.common.products != "auto") text += " --products " + flags.common.products;
  return text + " --out " + quoted(flags.out);
}

// Evaluations of one name stand in one chart.
std::string name_of_data(const DataConfig& data) {
  if (data.source == DataSource::text) return data.folder;
  return formatted("{}{}{}", enum_name(data.source), data.folder.empty() ? "" : " in ", data.folder);
}

// What was evaluated stands before what came out.
void keep(const EvaluateFlags& flags, const OpenedModel& opened, const DataConfig& data, const Evaluation& result) {
  auto config = opened.model.config();
  json object = {{"type", "evaluation"}, {"model", flags.model}};
  object["data"] = name_of_data(data);
  object["length"] = flags.length > 0 ? flags.length : config.length;
  object.update(json_of(result));
  object["config"] = to_json(fields_of(config));
  object["tokenizer"] = {{"name", opened.tokenizer->name()}, {"hash", opened.tokenizer->hash()}};
  object.update({{"version", LINFORMER_VERSION}, {"command", command_of(flags)}, {"time", std::time(nullptr)}});
  append_line(std::filesystem::path(flags.out) / "evaluate.jsonl", dump(object));
}

void print(const Evaluation& result, bool as_json) {
  if (as_json) {
    put("{}\n", json_of(result).dump());
  } else {
    put("loss           {:.4f} nats a token\nperplexity     {:.2f}\n", result.loss, result.perplexity);
    if (result.bits_per_byte) put("bits per byte  {:.4f}\n", *result.bits_per_byte);
    put("tokens         {}\n", result.tokens);
    if (result.accuracy) put("accuracy       {:.2f} %\n", 100 * *result.accuracy);
    if (result.found) put("keys found     {:.2f} %\n", 100 * *result.found);
    for (const auto& [from, to, keys, accuracy, found] : result.accuracy_by_depth)
      put("  depth {:>3.0f} to {:<3.0f} %  {:6.2f} % of {} keys found, {:6.2f} % of their tokens\n", 100 * from,
          100 * to, 100 * found, keys, 100 * accuracy);
    for (const auto& [first, last, queries, accuracy] : result.accuracy_by_distance)
      put("  {:>5} to {:<5} positions back  {:6.2f} % of {}\n", first, last, 100 * accuracy, queries);
    for (const auto& [from, to, tokens, loss, error] : result.loss_by_position)
      put("  positions {:>8} to {:<8} loss {:.4f}{} over {} tokens\n", from, to, loss,
          error ? formatted(" ± {:.4f}", *error) : "", tokens);
  }
}

void run(EvaluateFlags& flags) {
  apply(flags.common);
  if (!flags.given.empty()) flags.field_flags->merge(flags.common.config);  // what is no value is said first
  make_out_folder(flags.out);
  const auto opened = open_model(flags.model, flags.common);
  const ProductGuard products(products_of(flags.common));
  announce(flags.common, opened.dtype);
  Progress progress("evaluate", 0);
  EvaluateOptions options{.batch = flags.batch,
                          .sequences = flags.sequences,
                          .length = flags.length,
                          .by_position = flags.by_position,
                          .dtype = opened.dtype};
  options.progress = [&](std::int64_t done, std::int64_t total) {
    progress.update(done, formatted("of {} batches", total));
  };
  DataConfig data{.folder = flags.data};
  if (!flags.given.empty())
    data = asked_data(flags);
  else if (flags.data.empty())
    data = own_data(flags.model);
  const bool path_alone = flags.given.empty() && !flags.data.empty();
  const auto result = path_alone ? evaluate_path(opened, flags.data, options) : evaluate_fields(opened, data, options);
  progress.finish();
  require(std::isfinite(result.loss),
          "the loss is {}: the model's weights are damaged or its training has diverged; use an earlier "
          "checkpoint",
          result.loss);
  print(result, flags.common.json);
  if (!flags.out.empty()) keep(flags, opened, data, result);
  say_path(flags.common);
}

}  // namespace

void add_evaluate(CLI::App& app) {
  auto flags = std::make_shared<EvaluateFlags>();
  auto* verb = app.add_subcommand("evaluate", "Loss, perplexity and bits per byte of a model");
  add_common(*verb, flags->common);
  add_verbose(*verb, flags->common);
  add_products(*verb, flags->common);
  verb->add_option("--model", flags->model, "run or checkpoint folder")->required();
  verb->add_option("--data", flags->data,
                   "prepared folder (its validation part), or a text file (all of it); default: the data of the run");
  verb->add_option("--batch", flags->batch, "sequences at once; changes the result only by rounding")
      ->capture_default_str();
  verb->add_option("--length", flags->length,
                   "tokens of a window, also more than the model was trained on if it has no table of positions; "
                   "0: model.length")
      ->capture_default_str();
  verb->add_option("--sequences", flags->sequences, "windows to read, from the first on; 0: all of them")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40))
      ->capture_default_str();
  verb->add_flag("--by-position", flags->by_position,
                 "also the loss by octaves of the position in the window: 0 to 127, 128 to 255, 256 to 511, …");
  verb->add_option("--out", flags->out, "folder for evaluate.jsonl, to which a line is added; `report` shows it");
  flags->field_flags = std::make_unique<FieldFlags>(*verb, fields_of(flags->fields));
  verb->callback([flags, verb] {
    for (const auto& field : fields_of(flags->fields)) {
      if (verb->count("--" + field.name) > 0) flags->given.push_back(field.name);
    }
    run(*flags);
  });
}

}  // namespace linformer::cli
