// Our side of `make peers`: one JSON command a line on standard input, one JSON reply a line on standard output
// (entrant.py speaks the same protocol). Everything runs through the public headers, with the defaults that a user
// gets.
#include <ATen/Parallel.h>
#include <sys/resource.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>

#include "linformer/core/error.hpp"
#include "linformer/core/json.hpp"
#include "linformer/infer/generate.hpp"
#include "linformer/nn/automatic.hpp"
#include "linformer/nn/decode_state.hpp"
#include "linformer/nn/decoder.hpp"
#include "linformer/nn/device.hpp"
#include "linformer/train/train_loop.hpp"
#include "memory.hpp"

namespace linformer {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::int64_t peak_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

at::ScalarType parse_dtype(const json& setup) {
  const auto name = setup.at("dtype").get<std::string>();
  require(name == "float32" || name == "bfloat16", "ours doesn't train in {}", name);
  return name == "bfloat16" ? at::kBFloat16 : at::kFloat;
}

WeightFormat parse_weights(const json& setup) {
  const auto name = setup.at("dtype").get<std::string>();
  if (name == "8 bit") return WeightFormat::int8;
  require(name == "float32" || name == "bfloat16", "ours has no {} weights", name);
  return name == "bfloat16" ? WeightFormat::bfloat16 : WeightFormat::float32;
}

/// `attention`: window (causal, running slots), bidirectional, or softmax (our own Transformer).
ModelConfig parse_model(const json& setup) {
  const auto& sizes = setup.at("model");
  const auto attention = setup.at("attention").get<std::string>();
  ModelConfig config;
  config.length = sizes.at("length");
  config.width = sizes.at("width");
  config.layers = sizes.at("layers");
  config.heads = sizes.at("heads");
  config.vocabulary = sizes.at("vocabulary");
  config.tied = sizes.value("tied", false);
  config.causal = attention != "bidirectional";
  config.attention.slots = sizes.value("slots", 64);
  if (attention == "window") config.attention.window = sizes.value("window", 64);
  if (attention == "softmax") config.attention.kind = AttentionKind::softmax;
  return config;
}

// Tables of the length (positions, projections) differ by design and are counted apart from what must agree between
// entrants.
json count_parameters(const LanguageModel& model) {
  const auto length = model.config().length;
  std::int64_t matched = 0;
  for (const auto& [name, tensor] : model.parameters()) {
    const bool of_length =
        std::any_of(tensor.sizes().begin(), tensor.sizes().end(), [&](auto size) { return size == length; });
    const bool counted = !of_length || name.find("position") == std::string::npos;
    const bool projection = name.find("projection") != std::string::npos && name.find("attention") != std::string::npos;
    if (counted && !(of_length && projection)) matched += tensor.numel();
  }
  return {{"parameters", model.parameter_count()}, {"matched", matched}};
}

class Task {
 public:
  virtual ~Task() = default;
  virtual json describe() const = 0;
  virtual json round(const json& work) = 0;
};

class Training : public Task {
 public:
  explicit Training(const json& setup)
      : state_(LanguageModel(parse_model(setup))),
        batches_(TokenData::open(setup.at("data").get<std::string>()), setup.at("batch"), state_.model.config().length,
                 0),
        options_{.dtype = parse_dtype(setup), .seed = 0} {
    config_.batch = setup.at("batch");
    config_.checkpoint_activations = setup.value("checkpoint", false);
  }
  json describe() const override {
    auto result = count_parameters(state_.model);
    result["tokens"] = config_.batch * state_.model.config().length;
    return result;
  }
  json round(const json& work) override {
    const std::int64_t steps = work.value("steps", 1);
    const auto start = Clock::now();
    StepResult result;
    for (std::int64_t step = 0; step < steps; ++step) result = train_step(state_, batches_, config_, options_);
    const auto seconds = seconds_since(start);
    require(result.finite, "the loss is not finite");
    const auto tokens = steps * config_.batch * state_.model.config().length;
    return {{"tokens_per_second", static_cast<double>(tokens) / seconds}, {"loss", result.loss}};
  }

 private:
  TrainState state_;
  TrainBatches batches_;
  TrainConfig config_;
  StepOptions options_;
};

class Generating : public Task {
 public:
  explicit Generating(const json& setup)
      : model_(parse_model(setup)),
        tokenizer_(load_tokenizer(setup.at("tokenizer").get<std::string>())),
        weights_(parse_weights(setup)) {}
  json describe() const override {
    auto result = count_parameters(model_);
    result["reads_prompts_in"] = dtype_name(reading_);
    return result;
  }

  json round(const json& work) override {
    const std::int64_t context = work.at("context"), batch = work.at("batch"), tokens = work.at("tokens");
    SamplingConfig sampling;
    sampling.max_tokens = tokens + 1;  // the first belongs to the prompt
    sampling.temperature = 0;
    GenerateOptions options;
    options.samples = batch;
    options.weights = weights_;
    options.dtype = reading_;
    const auto made = generate(model_, *tokenizer_, {prompt(context)}, sampling, options);
    require(made.prompt_tokens == batch * context || made.prompt_tokens == context,
            "the prompt has {} tokens, wanted {}", made.prompt_tokens, context);
    return {{"tokens_per_second", made.tokens_per_second()},
            {"prompt_tokens_per_second", static_cast<double>(context) / made.prompt_seconds},
            {"state_bytes", made.state_bytes},
            {"path", made.path}};
  }

 private:
  // Words that are one token each wherever they stand: a space and letters (or, of a vocabulary of bytes, letters).
  std::string prompt(std::int64_t context) const {
    const bool bytes = tokenizer_->size() <= 256;
    std::mt19937 random(1);
    std::uniform_int_distribution<std::int32_t> ids(0, static_cast<std::int32_t>(tokenizer_->size() - 1));
    std::string text;
    for (std::int64_t made = 0; made < context;) {
      const auto piece = tokenizer_->bytes_of(ids(random));
      const auto letters = bytes ? piece : piece.substr(1);
      const bool good = !letters.empty() && (bytes || piece[0] == ' ') && tokenizer_->encode(piece).size() == 1 &&
                        std::all_of(letters.begin(), letters.end(), [](char c) { return c >= 'a' && c <= 'z'; });
      if (!good) continue;
      text += piece;
      ++made;
    }
    return text;
  }

  LanguageModel model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  WeightFormat weights_;
  at::ScalarType reading_ =
      weights_ == WeightFormat::float32
          ? at::kFloat
          : choose_dtype(DType::automatic).value;  // of prompts where weights are short, as `generate` does
};

/// How fast the decode step's own product reads its weights on all threads: LibTorch's matrix–vector product uses one,
/// so it would set the bound of decoding too low.
class Reading : public Task {
 public:
  explicit Reading(const json& setup) : decoder_(LanguageModel(parse_model(setup)), {.format = WeightFormat::float32}) {
    const LanguageModel model(parse_model(setup));
    decoder_.load(model.prefill({{0}}).second);
  }
  json describe() const override { return json::object(); }
  json round(const json&) override {
    double best = 0;
    for (int i = 0; i < 20; ++i) best = std::max(best, decoder_.read_speed());
    return {{"float32_read_gbps", best / 1e9}};
  }

 private:
  Decoder decoder_;
};

class Tokenizing : public Task {
 public:
  explicit Tokenizing(const json& setup) : tokenizer_(load_tokenizer(setup.at("tokenizer").get<std::string>())) {
    const std::ifstream file(setup.at("file").get<std::string>(), std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    text_ = text.str();
    require(!text_.empty(), "{}: can't be read", setup.at("file").dump());
    tokens_ = tokenizer_->encode(text_).size();
  }
  json describe() const override { return {{"tokens", tokens_}}; }
  json round(const json&) override {
    const auto start = Clock::now();
    const auto ids = tokenizer_->encode(text_);
    return {{"mb_per_second", static_cast<double>(text_.size()) / 1e6 / seconds_since(start)}};
  }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::string text_;
  std::size_t tokens_ = 0;
};

std::unique_ptr<Task> make_task(const json& setup) {
  at::set_num_threads(setup.at("threads"));
  const auto task = setup.at("task").get<std::string>();
  if (task == "train") return std::make_unique<Training>(setup);
  if (task == "generate") return std::make_unique<Generating>(setup);
  if (task == "read") return std::make_unique<Reading>(setup);
  require(task == "tokenize", "task '{}': expected train, generate, read or tokenize", task);
  return std::make_unique<Tokenizing>(setup);
}

json answer(const json& command, std::unique_ptr<Task>& task) {
  if (command.at("command") == "setup") {
    task = make_task(command.at("setup"));
    return task->describe();
  }
  require(task != nullptr, "a round before the set-up");
  return {{"metrics", task->round(command.at("work"))}, {"peak_bytes", peak_bytes()}};
}

}  // namespace
}  // namespace linformer

int main() {
  linformer::cli::keep_freed_memory();
  std::unique_ptr<linformer::Task> task;
  for (std::string line; std::getline(std::cin, line);) {
    linformer::json reply;
    try {
      reply = linformer::answer(linformer::parse_json(line, "a request"), task);
    } catch (const std::exception& error) {
      reply = {{"error", error.what()}};
    }
    std::cout << reply.dump() << std::endl;
  }
}
