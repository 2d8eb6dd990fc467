// linformer generate: writes text with a model, while it is made.
#include "linformer/infer/generate.hpp"

#include <cstdio>
#include <memory>
#include <optional>

#include "linformer/config/enum_text.hpp"
#include "linformer/config/sampling_config.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/nn/device.hpp"
#include "open_model.hpp"
#include "text_input.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

struct GenerateFlags {
  Common common;
  std::string model, prompt_file, overflow = "error", prompt_dtype = "auto", state_in, state_out;
  std::vector<std::string> prompts;
  std::int64_t samples = 1;
  SamplingConfig sampling;
  std::unique_ptr<FieldFlags> fields;
};

std::vector<std::string> read_prompts(const GenerateFlags& flags) {
  auto prompts = flags.prompts;
  if (!flags.prompt_file.empty()) prompts.push_back(read_input(flags.prompt_file));
  if (prompts.empty() && !flags.state_in.empty()) prompts.emplace_back();  // the text goes on as it is
  require(!prompts.empty(),
          "there is no prompt: give --prompt TEXT, --prompt-file FILE, or --prompt-file - for standard input");
  return prompts;
}

// Written at once, so that the program ends when the reader closes the pipe.
void write(std::string_view text) {
  put(text);
  flush();
}

// JSON must be valid UTF-8, so other bytes become U+FFFD. `tokens` gives the exact bytes.
void print_json(const json& object) { write(dump(object) + "\n"); }

json sequence_json(const std::string& prompt, const GeneratedSequence& sequence) {
  return {{"prompt", prompt},
          {"text", sequence.text},
          {"tokens", sequence.tokens},
          {"finish", sequence.stopped ? "stop" : "length"}};
}

void print_result_json(const std::vector<std::string>& prompts, const Generation& result) {
  const auto samples = result.sequences.size() / prompts.size();
  json object = json::object();
  if (result.sequences.size() == 1) {
    object = sequence_json(prompts[0], result.sequences[0]);
  } else {
    for (std::size_t i = 0; i < result.sequences.size(); ++i) {
      object["samples"].push_back(sequence_json(prompts[i / samples], result.sequences[i]));
    }
  }
  object["tokens_per_second"] = result.tokens_per_second();
  object["prompt_tokens"] = result.prompt_tokens;
  object["prompt_seconds"] = result.prompt_seconds;
  object["decode_seconds"] = result.decode_seconds;
  object["state_bytes"] = result.state_bytes;
  object["path"] = result.path;
  print_json(object);
}

void print_sequences(const std::vector<std::string>& prompts, const Generation& result) {
  const auto samples = result.sequences.size() / prompts.size();
  for (std::size_t i = 0; i < result.sequences.size(); ++i) {
    const auto& prompt = prompts[i / samples];
    write(formatted("--- prompt {}, sample {} ---\n{}{}\n", i / samples + 1, i % samples + 1, prompt,
                    result.sequences[i].text));
  }
}

void print_speed(const Generation& result) {
  say("prompt: {} tokens in {:.3f} s; generated: {:.1f} tokens/s ({:.3f} s after the first token); "
      "state: {:.2f} MB\n",
      result.prompt_tokens, result.prompt_seconds, result.tokens_per_second(), result.decode_seconds,
      static_cast<double>(result.state_bytes) / 1e6);
}

Choice<WeightFormat> weights_of(const Common& common, const LanguageModel& model) {
  if (common.dtype == "int8") return {.value = WeightFormat::int8, .reason = ""};
  if (common.dtype == "auto") return choose_weights(model);
  // Where no decoder serves the model, bfloat16 is autocast's.
  const bool narrow = common.dtype == "bfloat16" && Decoder::obstacle(model).empty();
  return {.value = narrow ? WeightFormat::bfloat16 : WeightFormat::float32, .reason = ""};
}

// Prompts are products of matrices, in which some processors only emulate bfloat16: short weights don't decide it.
Choice<at::ScalarType> prompt_dtype_of(const GenerateFlags& flags, const OpenedModel& opened, WeightFormat weights) {
  if (flags.prompt_dtype != "auto") return choose_dtype(enum_of<DType>(flags.prompt_dtype, "--prompt-dtype"));
  if (weights == WeightFormat::float32) return {.value = opened.dtype, .reason = ""};
  return choose_dtype(DType::automatic, opened.model.output_weight().device());
}

void announce_choices(const Common& common, const Choice<WeightFormat>& weights,
                      const Choice<at::ScalarType>& prompts) {
  std::vector<Announcement> choices;
  if (!weights.reason.empty())
    choices.push_back({"dtype", std::string(kernels::weight_format_name(weights.value)), weights.reason, "--dtype"});
  if (!prompts.reason.empty())
    choices.push_back({"prompts in", dtype_name(prompts.value), prompts.reason, "--prompt-dtype"});
  announce(common, prompts.value, std::move(choices));
}

void run(GenerateFlags& flags) {
  apply(flags.common);
  flags.fields->merge(flags.common.config);
  const auto& sampling = flags.sampling;
  check(sampling);
  require(flags.overflow == "error" || flags.overflow == "slide", "--overflow is '{}', but must be error or slide",
          excerpt(flags.overflow));
  const auto prompts = read_prompts(flags);
  if (!flags.state_out.empty()) check_state_file(flags.state_out);
  auto model_flags = flags.common;
  if (model_flags.dtype == "int8") model_flags.dtype = "float32";  // int8 is for weights alone
  const auto opened = open_model(flags.model, model_flags);
  const auto weights = weights_of(flags.common, opened.model);
  const auto prompt_dtype = prompt_dtype_of(flags, opened, weights.value);
  const ProductGuard products(products_of(flags.common));
  announce_choices(flags.common, weights, prompt_dtype);
  GenerateOptions options{.samples = flags.samples,
                          .seed = flags.common.seed,
                          .overflow = flags.overflow == "slide" ? Overflow::slide : Overflow::error,
                          .dtype = prompt_dtype.value,
                          .weights = weights.value};
  std::optional<Conversation> from;
  Conversation to;
  if (!flags.state_in.empty()) options.from = &from.emplace(load_conversation(flags.state_in, opened.model));
  if (!flags.state_out.empty()) options.to = &to;
  const bool stream = !flags.common.json && prompts.size() == 1 && flags.samples == 1;
  bool echoed = false;
  options.keep = !stream;
  if (stream) {
    // The prompt is printed together with the first piece, so that nothing is printed when the request turns out to be
    // wrong.
    options.on_text = [&](std::size_t, std::string_view text) {
      if (!std::exchange(echoed, true)) write(prompts[0]);
      write(text);
    };
  }
  const auto result = generate(opened.model, *opened.tokenizer, prompts, sampling, options);
  if (!flags.state_out.empty()) save_conversation(flags.state_out, opened.model, to);
  if (flags.common.json) {
    print_result_json(prompts, result);
  } else if (stream) {
    write(echoed ? "\n" : prompts[0] + "\n");
  } else {
    print_sequences(prompts, result);
  }
  print_speed(result);
  if (flags.common.verbose) say("{}\n", result.path);
  say_path(flags.common);  // of the prompt, where a decoder made the rest
}

}  // namespace

void add_generate(CLI::App& app) {
  auto flags = std::make_shared<GenerateFlags>();
  auto* verb = app.add_subcommand(
      "generate", "Write text with a model, while it is made, until the text ends or --max-tokens are made");
  add_common(*verb, flags->common,
             {.help = "of the weights: float32, bfloat16, int8 (least memory, fastest), or auto: float32 for small "
                      "models, by the processor for large ones",
              .names = {"auto", "float32", "bfloat16", "int8"}});
  add_verbose(*verb, flags->common);
  verb->add_option("--prompt-dtype", flags->prompt_dtype,
                   "of the products that read prompts: float32, bfloat16, or auto: float32 where the weights are, "
                   "otherwise by the processor")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16"}));
  add_products(*verb, flags->common);
  verb->add_option("--model", flags->model, "run or checkpoint folder")->required();
  verb->add_option("--prompt", flags->prompts, "text to continue; may be given several times")->allow_extra_args(false);
  verb->add_option("--prompt-file", flags->prompt_file,
                   "file with a text to continue, as UTF-8 or as UTF-16 with a mark; -: standard input");
  verb->add_option("--samples", flags->samples, "samples of each prompt")->capture_default_str();
  verb->add_option(
          "--overflow", flags->overflow,
          "when the text reaches model.length: error (models without a table of positions go on instead), or slide "
          "(reads the last "
          "half of the window again and continues)")
      ->capture_default_str();
  // A variable of a shell that is not set would lose the text.
  const CLI::Validator named(
      [](const std::string& file) { return file.empty() ? std::string("is empty, expected the name of a file") : ""; },
      "");
  verb->add_option("--state-out", flags->state_out,
                   "file for the state at the end, with which --state-in goes on later as if nothing had been between")
      ->check(named);
  verb->add_option(
          "--state-in", flags->state_in,
          "file that --state-out made: goes on with its text and its random numbers; a prompt is read after it")
      ->check(named)
      ->excludes("--seed");
  flags->fields = std::make_unique<FieldFlags>(*verb, fields_of(flags->sampling), Spelling::full_and_short);
  verb->callback([flags] { run(*flags); });
}

}  // namespace linformer::cli
