// linformer prepare: text files to a token file with a train and a validation part.
#include "linformer/data/prepare.hpp"

#include <fmt/format.h>

#include <memory>

#include "linformer/core/json.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

struct PrepareFlags {
  Common common;
  PrepareOptions options;
  std::string out, vocabulary = "full";
};

void print(const PrepareSummary& summary, const std::string& out, bool as_json) {
  if (as_json) {
    const json object = {{"out", out},
                         {"tokenizer", summary.tokenizer},
                         {"vocabulary", summary.vocabulary},
                         {"vocabulary_hash", summary.hash},
                         {"files", summary.files},
                         {"train_tokens", summary.train_tokens},
                         {"validation_tokens", summary.validation_tokens},
                         {"train_bytes", summary.train_bytes},
                         {"validation_bytes", summary.validation_bytes},
                         {"seconds", summary.seconds}};
    fmt::print("{}\n", dump(object));
    return;
  }
  const auto tokens = summary.train_tokens + summary.validation_tokens;
  const auto bytes = summary.train_bytes + summary.validation_bytes;
  fmt::print("{}: {} tokens to train on, {} to validate\n{} ({} ids), {:.2f} bytes a token, {} file{}, {:.1f} s\n", out,
             summary.train_tokens, summary.validation_tokens, summary.tokenizer, summary.vocabulary,
             static_cast<double>(bytes) / static_cast<double>(tokens), summary.files, summary.files == 1 ? "" : "s",
             summary.seconds);
}

void run(PrepareFlags& flags) {
  apply(flags.common);
  flags.options.out = flags.out;
  flags.options.corpus_vocabulary = flags.vocabulary == "corpus";
  print(prepare(flags.options), flags.out, flags.common.json);
}

}  // namespace

void add_prepare(CLI::App& app) {
  auto flags = std::make_shared<PrepareFlags>();
  auto* verb = app.add_subcommand("prepare", "Turn text files into a token file with a train and a validation part");
  add_common(*verb, flags->common);
  verb->add_option("--input", flags->options.inputs,
                   "text files, folders (their text files, sorted, at any depth), or - for standard input")
      ->required();
  verb->add_option("--out", flags->out, "folder to write")->required();
  verb->add_option("--tokenizer", flags->options.tokenizer,
                   "gpt2, bytes, a .tiktoken file, a folder with encoder.json and vocab.bpe, or a tokenizer.json")
      ->capture_default_str();
  verb->add_option("--vocabulary", flags->vocabulary,
                   "corpus keeps only the ids that this text needs, which makes the output layer smaller")
      ->check(CLI::IsMember({"full", "corpus"}))
      ->capture_default_str();
  verb->add_option("--validation", flags->options.validation, "share of the tokens, at the end, for validation")
      ->capture_default_str();
  verb->add_flag("--overwrite", flags->options.overwrite, "replace a folder that was prepared before");
  verb->callback([flags] { run(*flags); });
}

}  // namespace linformer::cli
