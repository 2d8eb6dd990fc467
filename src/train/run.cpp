#include "linformer/train/run.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/memory.hpp"
#include "linformer/core/progress.hpp"
#include "linformer/core/stop_signal.hpp"
#include "linformer/nn/automatic.hpp"
#include "linformer/nn/device.hpp"
#include "train/memory_estimate.hpp"
#include "train/metrics.hpp"
#include "train/start_weights.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// What `auto` leaves open is decided once, and config.json holds it, so that a resumed run keeps it. The text says what
// was decided, and what of the run does not suit this processor; it is empty where there is nothing to say.
std::string settle_choices(RunConfig& run, at::Device device) {
  auto& config = run.train;
  const auto dtype = choose_dtype(config.dtype, device);
  const auto products = choose_products(config.products);
  config.dtype = dtype.value == at::kBFloat16 ? DType::bfloat16 : DType::float32;
  config.products = products.value;
  std::vector<Announcement> choices;
  if (!dtype.reason.empty()) choices.push_back({"dtype", dtype_name(dtype.value), dtype.reason, "--train.dtype"});
  const bool by_library = device.is_cpu() && config.dtype == DType::float32;
  if (by_library && !products.reason.empty())
    choices.push_back(
        {"products of evaluations by", std::string(enum_name(products.value)), products.reason, "--train.products"});
  if (!config.chunk) {
    const auto chunk =
        device.is_cpu() ? choose_chunk(run, static_cast<double>(available_memory_bytes())) : ChunkChoice();
    config.chunk = chunk.chunk;
    if (chunk.chunk > 0)
      choices.push_back({"chunk", formatted("{} tokens", chunk.chunk), chunk.reason, "--train.chunk"});
  }
  if (!choices.empty()) return announcement_of(choices);
  const auto here = choose_dtype(DType::automatic, device);
  if (dtype.value != at::kBFloat16 || here.value == at::kBFloat16) return "";
  return formatted("dtype bfloat16 may be a hundred times slower than float32 here: {}", here.reason);
}

std::int64_t tokens_per_step(const RunConfig& config) {
  return config.train.batch * config.train.accumulate * config.model.length;
}

json metrics_line(std::int64_t step, const StepResult& result, double tokens_per_second) {
  return {{"step", step},
          {"loss", result.loss},
          {"learning_rate", result.learning_rate},
          {"gradient_norm", result.gradient_norm},
          {"tokens_per_second", tokens_per_second}};
}

bool holds_weights_of(const fs::path& file, const LanguageModel& model) {
  const auto stored = read_safetensors(file).tensors, drawn = model.parameters();
  return std::equal(stored.begin(), stored.end(), drawn.begin(), drawn.end(), [](const auto& a, const auto& b) {
    return a.first == b.first && a.second.scalar_type() == b.second.scalar_type() &&
           at::equal(a.second, b.second.detach().cpu());
  });
}

// NaN has a sign, which says nothing: "-nan" would look like a number.
double unsigned_nan(double value) { return std::isnan(value) ? std::abs(value) : value; }

// What may help a training that has diverged, as its config is.
std::string advice_of(const TrainConfig& config) {
  auto advice = formatted("a lower train.learning_rate (now {})", config.learning_rate);
  advice += config.clip > 0 ? formatted(", a smaller train.clip (now {})", config.clip)
                            : std::string(", a train.clip such as 1 (now 0: gradients are not clipped)");
  if (config.dtype != DType::float32) advice += formatted(", train.dtype float32 (now {})", enum_name(config.dtype));
  return advice;
}

}  // namespace

Run::Run(RunConfig config, RunOptions options)
    : config_(std::move(config)),
      options_(std::move(options)),
      data_(open_dataset(config_.data, config_.model.length)),
      tokenizer_(data_->tokenizer()->to_json()) {
  check(config_.train);
  hold_folder();
  std::optional<LoadedModel> given;
  if (!options_.from.empty()) {
    config_.from = name_start_weights(options_.from, options_.out);
    given = load_start_weights(*config_.from, options_.out);
    check_vocabulary(*given, *data_->tokenizer(), *config_.from);
  }
  config_ = completed(std::move(config_), *data_);
  if (options_.existing == ExistingRun::resume) keep_choices();
  if (options_.device.is_cpu()) check_memory(config_, static_cast<double>(available_memory_and_swap_bytes()));
  if (options_.existing == ExistingRun::resume) resume();
  const auto choices = settle_choices(config_, options_.device);
  if (!options_.quiet && !choices.empty()) say("linformer: {}\n", choices);
  if (state_) return;
  state_.emplace(first_model(std::move(given)));
  if (options_.existing == ExistingRun::resume) check_nothing_lost();
}

// What `auto` chose when the run began.
void Run::keep_choices() {
  const auto stored = read_run_config(options_.out);
  config_.from = stored.from;
  auto& train = config_.train;
  if (train.dtype == DType::automatic) train.dtype = stored.train.dtype;
  if (train.products == ProductLibrary::automatic) train.products = stored.train.products;
  if (!train.chunk) train.chunk = stored.train.chunk.value_or(0);
  check(train);
  check_resumable(stored, config_);
}

void Run::resume() {
  state_ = load_newest_checkpoint(options_.out, config_, options_.device, [&](const std::string& line) {
    if (!options_.quiet) say("linformer: {}\n", line);
  });
}

// Once the folder is there; a new one is made when all is checked. What is in it may have changed before it was held.
void Run::hold_folder() {
  check_run_folder(options_.out, options_.existing);
  if (lock_ || !fs::exists(options_.out)) return;
  lock_.emplace(options_.out);
  check_run_folder(options_.out, options_.existing);
}

LanguageModel Run::first_model(std::optional<LoadedModel> given) const {
  if (config_.from && !given) given = load_start_weights(*config_.from, options_.out);
  const auto remark = [&](const std::string& line) {
    if (!options_.quiet) say("linformer: {}\n", line);
  };
  auto model = given ? with_config(given->model, config_.model, *config_.from, config_.seed, remark)
                     : LanguageModel(config_.model, config_.seed);
  model.to(options_.device, at::kFloat);
  return model;
}

// A resume without checkpoints starts from the first step. That is right only for a run that was stopped before its
// first checkpoint.
void Run::check_nothing_lost() const {
  const auto& run = options_.out;
  std::error_code ignored;
  const bool has_model = fs::exists(run / "model.safetensors", ignored);
  const bool has_metrics =
      fs::exists(run / "metrics.jsonl", ignored) && fs::file_size(run / "metrics.jsonl", ignored) > 0;
  const bool nothing_lost = has_model ? holds_weights_of(run / "model.safetensors", state_->model) : !has_metrics;
  if (nothing_lost) return;
  throw LostCheckpoints(
      formatted("{}: holds no checkpoint to resume from, yet has been trained: starting anew would overwrite its {}. "
                "Put its folder checkpoints "
                "back; or choose another --out, or replace the run with --overwrite",
                run.string(), has_model ? "model" : "metrics.jsonl"));
}

void Run::prepare_folder() {
  std::error_code error;
  fs::create_directories(options_.out, error);
  require(!error, "{}: the folder can't be made: {}", options_.out.string(), error.message());
  hold_folder();
  if (options_.existing == ExistingRun::overwrite) remove_run_files(options_.out);
  remove_leftovers(options_.out);
  set_damaged_aside(options_.out, state_->step);
  // Before the rest: from here on the folder is a run, so that a kill before the first checkpoint can be resumed too.
  write_run_config(options_.out, config_, tokenizer_);
  write_atomically(options_.out / "tokenizer.json", tokenizer_.dump());
  // On resume the folder holds an older model than the newest checkpoint, when the kill came between the two.
  save_weights(options_.out / "model.safetensors", state_->model);
}

at::ScalarType Run::dtype() const { return choose_dtype(config_.train.dtype, options_.device).value; }

bool Run::due(std::int64_t every) const {
  return state_->step == config_.train.steps || (every > 0 && state_->step % every == 0);
}

void Run::say_when_nothing_validates() const {
  if (validates() || options_.quiet) return;
  const auto every = config_.train.evaluate_every;
  say("linformer: {} has no validation part: this run is not evaluated and keeps no best checkpoint{}\n",
      config_.data.folder, every > 0 ? formatted("; train.evaluate_every = {} has no effect", every) : std::string());
}

std::optional<Evaluation> Run::evaluate_and_keep_best() {
  if (!validates()) return std::nullopt;
  const ProductGuard products(config_.train.products);
  const auto validation = evaluate(state_->model, *data_, {.batch = config_.train.batch, .dtype = dtype()});
  if (validation.loss < state_->best_loss) {
    state_->best_loss = validation.loss;
    save_best(options_.out, *state_, config_, tokenizer_);
  }
  return validation;
}

std::string Run::last_checkpoint() const {
  const auto all = checkpoints_of(options_.out);
  return all.empty() ? "none yet" : all.front().second.string();
}

void Run::check_finite(const StepResult& result) const {
  require(result.finite,
          "step {}: loss {} with gradient norm {} is not finite, and the step was not taken. Last good checkpoint: {}. "
          "What may help in a new run, which --from lets begin with a checkpoint's weights: {}",
          state_->step + 1, unsigned_nan(result.loss), unsigned_nan(result.gradient_norm), last_checkpoint(),
          advice_of(config_.train));
}

// What goes on beside the steps, until the last of them or a signal.
class Run::Session {
 public:
  Session(Run& run, const Stopwatch& watch)
      : run_(run),
        watch_(watch),
        earlier_seconds_(run.state_->seconds),
        metrics_(run.options_.out, run.state_->step),
        progress_("training", run.config_.train.steps, run.state_->step, run.options_.quiet) {
    progress_.update(run.state_->step, "");  // a first step may take a minute
    if (run.state_->step >= run.config_.train.steps) summary_.validation = run.evaluate_and_keep_best();
  }

  /// False when a signal came: everything is saved then.
  bool after_step(const StepResult& result, double step_seconds) {
    run_.check_finite(result);
    auto& state = *run_.state_;
    const auto& config = run_.config_.train;
    state.train_seconds += step_seconds;
    const double tokens_per_second = static_cast<double>(tokens_per_step(run_.config_)) / step_seconds;
    auto line = metrics_line(state.step, result, tokens_per_second);
    if (run_.validates() && run_.due(config.evaluate_every)) {
      summary_.validation = run_.evaluate_and_keep_best();
      line.update(to_json(*summary_.validation, "validation_"));
      line["train_seconds"] = state.train_seconds;
      progress_.note(formatted("step {}: loss {:.4f}, validation {}", state.step, result.loss,
                               description_of(*summary_.validation)));
    }
    metrics_.write(line);
    summary_.stop_signal = state.step < config.steps ? StopSignal::received() : 0;
    state.seconds = seconds();
    if (run_.due(config.save_every) || summary_.stop_signal != 0)
      save_checkpoint(run_.options_.out, state, run_.config_, run_.tokenizer_);
    progress_.update(state.step, formatted("loss {:.3f}  {:.0f} tokens/s", result.loss, tokens_per_second));
    return summary_.stop_signal == 0;
  }

  void within_step(double share) {
    progress_.update(run_.state_->step, formatted("{:.0f} % of step {}", 100 * share, run_.state_->step + 1));
  }

  TrainSummary finish() {
    progress_.finish();
    const auto& state = *run_.state_;
    summary_.steps = state.step;
    summary_.loss = state.loss.value_or(0);
    summary_.tokens_per_second =
        static_cast<double>(state.step * tokens_per_step(run_.config_)) / std::max(state.train_seconds, 1e-9);
    summary_.parameters = state.model.parameter_count();
    summary_.peak_memory_bytes = resident_peak_bytes();
    summary_.seconds = seconds();
    return std::move(summary_);
  }

 private:
  double seconds() const { return earlier_seconds_ + watch_.seconds(); }

  Run& run_;
  Stopwatch watch_;
  double earlier_seconds_;
  MetricsLog metrics_;
  Progress progress_;
  TrainSummary summary_;
};

TrainSummary Run::train() {
  const Stopwatch watch;
  const StopSignal stop_signal;
  prepare_folder();
  say_when_nothing_validates();
  const auto batches = data_->train({.batch = config_.train.batch,
                                     .length = config_.model.length,
                                     .objective = config_.train.objective,
                                     .order = config_.data.order},
                                    config_.seed);
  Session session(*this, watch);
  train_loop(*state_, *batches, config_.train,
             {.dtype = dtype(),
              .seed = config_.seed,
              .folder = options_.out,
              .progress = [&](double share) { session.within_step(share); }},
             [&](const StepResult& result, double seconds) { return session.after_step(result, seconds); });
  return session.finish();
}

}  // namespace linformer
