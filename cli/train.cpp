// linformer train: trains a language model on prepared data, or continues a run.
#include <array>
#include <cmath>
#include <fstream>
#include <memory>
#include <utility>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/nn/device.hpp"
#include "linformer/nn/model_file.hpp"
#include "linformer/report/curve.hpp"
#include "linformer/train/run.hpp"
#include "open_model.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

struct TrainOptions {
  Common common;
  RunConfig config;
  std::string data, out, from;
  bool resume = false, overwrite = false;
};

// The training losses of the run's metrics.jsonl, which has just been written.
std::vector<double> losses_of(const std::filesystem::path& run) {
  std::vector<double> losses;
  std::ifstream lines(run / "metrics.jsonl");
  for (std::string line; std::getline(lines, line);)
    losses.push_back(parse_json(line, "metrics.jsonl").value("loss", std::nan("")));
  return losses;
}

void print_summary(const TrainSummary& summary, const TrainOptions& options) {
  const auto& validation = summary.validation;
  if (options.common.json) {
    json object = {{"steps", summary.steps},
                   {"loss", summary.loss},
                   {"tokens_per_second", summary.tokens_per_second},
                   {"parameters", summary.parameters},
                   {"peak_memory_bytes", summary.peak_memory_bytes},
                   {"seconds", summary.seconds}};
    if (validation) object.update(to_json(*validation, "validation_"));
    put("{}\n", object.dump());
    return;
  }
  put("{}: {} steps, {}\n", options.out, summary.steps,
      validation ? "validation " + description_of(*validation) : formatted("loss {:.4f}, not evaluated", summary.loss));
  put("{} parameters, {:.0f} tokens/s in training, {:.0f} MB peak memory, {:.1f} s\n", summary.parameters,
      summary.tokens_per_second, static_cast<double>(summary.peak_memory_bytes) / 1e6, summary.seconds);
  const auto curve = draw_curve(losses_of(options.out));
  if (!curve.empty()) put("training loss by step\n" + curve);
}

// Flags of every verb that set a field of training.
const std::array<std::pair<std::string, std::string>, 2> kFlagsOfFields{
    {{"dtype", "train.dtype"}, {"products", "train.products"}}};

// Two flags of one field.
void refuse_two_values(const CLI::App& verb, const std::string& first, const std::string& second) {
  if (verb.count(first) == 0 || verb.count(second) == 0) return;
  const auto one = verb.get_option(first)->results().back(), other = verb.get_option(second)->results().back();
  require(one == other, "{} is {}, but {}, which sets the same, is {}; give one of them", first, one, second, other);
}

// Of the model that a run begins with, fields that only its own projection has say nothing about another one.
void leave_to_the_rule(AttentionConfig& given, const AttentionConfig& from) {
  if (given.projection == from.projection) return;
  if (given.period == from.period) given.period = AttentionConfig().period;
  if (given.projection_start == from.projection_start) given.projection_start = AttentionConfig().projection_start;
}

void train(const CLI::App& verb, TrainOptions& options, FieldFlags& flags) {
  for (const auto& [flag, field] : kFlagsOfFields) refuse_two_values(verb, "--" + flag, "--" + field);
  refuse_two_values(verb, "--data", "--data.folder");
  apply(options.common);
  // The config of the run replaces the defaults, so --resume needs no other flag.
  if (options.resume) options.config = read_run_config(options.out);
  if (!options.from.empty()) options.config.model = read_model_config(options.from);
  const auto from = options.config.model.attention;
  flags.merge(options.common.config);
  auto& config = options.config;
  if (!options.from.empty()) leave_to_the_rule(config.model.attention, from);
  for (auto& field : fields_of(config.train)) {
    for (const auto& [flag, name] : kFlagsOfFields) {
      if (field.name == name && verb.count("--" + flag) > 0)
        field.parse(verb.get_option("--" + flag)->as<std::string>());
    }
  }
  if (!options.resume || verb.count("--seed") > 0) config.seed = options.common.seed;
  if (!options.data.empty()) config.data.folder = options.data;
  require(config.data.source != DataSource::text || !config.data.folder.empty(),
          "--data is missing: expected the folder that `linformer prepare` made");
  const auto existing = options.resume      ? ExistingRun::resume
                        : options.overwrite ? ExistingRun::overwrite
                                            : ExistingRun::refuse;
  Run run(
      config,
      {.out = options.out, .existing = existing, .from = options.from, .device = parse_device(options.common.device)});
  const auto summary = run.train();
  if (summary.stop_signal) {
    say("linformer: stopped at step {} of {}; continue with: linformer train --resume --out {}\n", summary.steps,
        run.config().train.steps, options.out);
    throw Exit{128 + summary.stop_signal};
  }
  print_summary(summary, options);
  say_path(options.common);
}

}  // namespace

void add_train(CLI::App& app) {
  auto& verb = *app.add_subcommand("train", "train a language model, or continue a run");
  auto options = std::make_shared<TrainOptions>();
  add_common(verb, options->common);
  add_products(verb, options->common);
  add_verbose(verb, options->common);
  verb.add_option("--data", options->data, "folder that `linformer prepare` made; not needed with --resume");
  verb.add_option("--out", options->out, "folder of the run")->required();
  auto* resume = verb.add_flag("--resume", options->resume, "continue the run in --out from its newest checkpoint");
  verb.add_flag("--overwrite", options->overwrite, "replace the run in --out")->excludes(resume);
  verb.add_option(
          "--from", options->from,
          "begin a new run with the weights of this model, run or checkpoint; the fields of the model come from "
          "it, and only model.dropout, model.length and those of attention may differ: parts of attention that it "
          "does not have begin anew; the text has to be prepared with its tokenizer.json")
      ->excludes(resume);
  auto flags = std::make_shared<FieldFlags>(verb, fields_of(options->config));
  verb.callback([&verb, options, flags] { train(verb, *options, *flags); });
}

}  // namespace linformer::cli
