// linformer generate: text from a model, as it comes.
#include "linformer/infer/generate.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "linformer/config/sampling_config.hpp"
#include "linformer/core/error.hpp"
#include "linformer/nn/device.hpp"
#include "open_model.hpp"
#include "text_input.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

/// The flags of SamplingConfig: defaults < [generate] of the config file < command line.
class SamplingFlags {
 public:
  explicit SamplingFlags(CLI::App& verb) {
    SamplingConfig::visit(given_, [&](std::string_view name, auto& member, const char* help) {
      std::string flag = "--" + std::string(name.substr(name.find('.') + 1));
      std::replace(flag.begin(), flag.end(), '_', '-');
      auto* option = verb.add_option(flag, member, help)->capture_default_str();
      if constexpr (requires { member.push_back(""); }) option->allow_extra_args(false);
      options_.push_back(option);
    });
  }

  SamplingConfig merge(const std::string& config_file) {
    SamplingConfig config;
    if (!config_file.empty()) from_json(config, read_toml(config_file), config_file);
    copy_given(config);
    check(config);
    return config;
  }

 private:
  void copy_given(SamplingConfig& config) {
    std::size_t index = 0;
    SamplingConfig::visit(config, [&](std::string_view name, auto& member, const char*) {
      if (options_[index++]->count() == 0) return;
      SamplingConfig::visit(given_, [&](std::string_view given_name, auto& given, const char*) {
        if constexpr (std::is_same_v<decltype(given), decltype(member)>) {
          if (given_name == name) member = given;
        }
      });
    });
  }
  SamplingConfig given_;
  std::vector<CLI::Option*> options_;
};

struct GenerateFlags {
  Common common;
  std::string model, prompt_file, overflow = "error";
  std::vector<std::string> prompts;
  std::int64_t samples = 1;
  std::unique_ptr<SamplingFlags> sampling;
};

std::vector<std::string> read_prompts(const GenerateFlags& flags) {
  auto prompts = flags.prompts;
  if (!flags.prompt_file.empty()) prompts.push_back(read_input(flags.prompt_file));
  require(!prompts.empty(),
          "there is no prompt: give --prompt TEXT, --prompt-file FILE, or --prompt-file - for standard input");
  return prompts;
}

// At once, so that a reader who has seen enough ends the work.
void write(std::string_view text) {
  put(text);
  flush();
}

// JSON must be valid UTF-8; what is not becomes U+FFFD. The exact bytes are those of the tokens.
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
    write(fmt::format("--- prompt {}, sample {} ---\n{}{}\n", i / samples + 1, i % samples + 1, prompt,
                      result.sequences[i].text));
  }
}

void print_speed(const Generation& result) {
  fmt::print(stderr,
             "prompt: {} tokens in {:.3f} s; generated: {:.1f} tokens/s ({:.3f} s after the first token); "
             "state: {:.2f} MB\n",
             result.prompt_tokens, result.prompt_seconds, result.tokens_per_second(), result.decode_seconds,
             static_cast<double>(result.state_bytes) / 1e6);
}

WeightFormat weights_of(const Common& common, const LanguageModel& model) {
  if (common.dtype == "int8") return WeightFormat::int8;
  if (common.dtype == "auto") return faster_format(model);
  // Where no decoder serves the model, bfloat16 is autocast's.
  return common.dtype == "bfloat16" && Decoder::obstacle(model).empty() ? WeightFormat::bfloat16
                                                                        : WeightFormat::float32;
}

void run(const GenerateFlags& flags) {
  apply(flags.common);
  const auto sampling = flags.sampling->merge(flags.common.config);
  require(flags.overflow == "error" || flags.overflow == "slide", "--overflow is '{}', but must be error or slide",
          flags.overflow);
  const auto prompts = read_prompts(flags);
  auto model_flags = flags.common;
  if (model_flags.dtype == "int8") model_flags.dtype = "float32";  // int8 is for weights alone
  const auto opened = open_model(flags.model, model_flags);
  const auto weights = weights_of(flags.common, opened.model);
  GenerateOptions options{.samples = flags.samples,
                          .seed = flags.common.seed,
                          .overflow = flags.overflow == "slide" ? Overflow::slide : Overflow::error,
                          // Prompts are products of matrices, of which some processors emulate bfloat16's.
                          .dtype = weights == WeightFormat::float32 ? opened.dtype : choose_dtype(DType::automatic),
                          .weights = weights};
  const bool stream = !flags.common.json && prompts.size() == 1 && flags.samples == 1;
  bool echoed = false;
  if (stream) {
    // The prompt is echoed with the first piece, so that nothing is printed when the request turns out wrong.
    options.on_text = [&](std::size_t, std::string_view text) {
      if (!std::exchange(echoed, true)) write(prompts[0]);
      write(text);
    };
  }
  const auto result = generate(opened.model, *opened.tokenizer, prompts, sampling, options);
  if (flags.common.json) {
    print_result_json(prompts, result);
  } else if (stream) {
    write(echoed ? "\n" : prompts[0] + "\n");
  } else {
    print_sequences(prompts, result);
  }
  print_speed(result);
  if (flags.common.verbose) fmt::print(stderr, "{}\n", result.path);
}

}  // namespace

void add_generate(CLI::App& app) {
  auto flags = std::make_shared<GenerateFlags>();
  auto* verb =
      app.add_subcommand("generate", "Text from a model, as it comes, until its text ends or --max-tokens are made");
  add_common(*verb, flags->common);
  add_verbose(*verb, flags->common);
  verb->remove_option(verb->get_option("--dtype"));
  verb->add_option("--dtype", flags->common.dtype,
                   "of the weights: float32, bfloat16, int8 (least memory, fastest), or auto: the faster of the first "
                   "two by timing, so that another "
                   "machine may write another text at the same seed; float32 pins it")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16", "int8"}));
  verb->add_option("--model", flags->model, "run or checkpoint folder")->required();
  verb->add_option("--prompt", flags->prompts, "text to continue; may be given several times")->allow_extra_args(false);
  verb->add_option("--prompt-file", flags->prompt_file,
                   "file with a text to continue, used to its last byte; -: standard input");
  verb->add_option("--samples", flags->samples, "samples of each prompt")->capture_default_str();
  verb->add_option("--overflow", flags->overflow,
                   "at model.length: error, or slide (reads the last half of the window again and goes on)")
      ->capture_default_str();
  flags->sampling = std::make_unique<SamplingFlags>(*verb);
  verb->callback([flags] { run(*flags); });
}

}  // namespace linformer::cli
