// linformer prepare: text files to a token file with a train and a validation part.
#include "linformer/data/prepare.hpp"

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "linformer/config/enum_text.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

struct PrepareFlags {
  Common common;
  PrepareOptions options;
  std::string out, vocabulary = "full", separator = "auto";
};

// Calls say_one(paths, text) for each text once, with the first few of the paths that it is about.
template <class Item, class SayOne>
void say_grouped(const std::vector<Item>& items, std::string Item::* text_of, const SayOne& say_one) {
  constexpr std::size_t kShown = 3;
  std::vector<std::pair<std::string, std::vector<std::string>>> groups;
  for (const Item& item : items) {
    const auto& text = item.*text_of;
    auto group = std::ranges::find(groups, text, [](const auto& known) { return known.first; });
    if (group == groups.end()) group = groups.insert(groups.end(), {text, {}});
    group->second.push_back(item.path);
  }
  for (auto& [text, paths] : groups) {
    const auto more = paths.size() - std::min(paths.size(), kShown);
    paths.resize(paths.size() - more);
    say_one(joined(paths, ", ") + (more > 0 ? formatted(" and {} more", more) : ""), text);
  }
}

void say_inputs(const PrepareSummary& summary) {
  say_grouped(summary.remarks, &InputRemark::text,
              [](const std::string& paths, const std::string& text) { say("linformer: {}: {}\n", paths, text); });
  say_grouped(summary.left_out, &LeftOut::reason, [](const std::string& paths, const std::string& reason) {
    say("linformer: left out ({}): {}\n", reason, paths);
  });
}

// Arrays even where they are empty.
json inputs_json(const PrepareSummary& summary) {
  json object = {{"left_out", json::array()}, {"remarks", json::array()}};
  for (const auto& [path, reason] : summary.left_out)
    object["left_out"].push_back({{"path", path}, {"reason", reason}});
  for (const auto& [path, text] : summary.remarks) object["remarks"].push_back({{"path", path}, {"text", text}});
  return object;
}

void print(const PrepareSummary& summary, const std::string& out, bool as_json) {
  if (as_json) {
    json object = {{"out", out},
                   {"tokenizer", summary.tokenizer},
                   {"vocabulary", summary.vocabulary},
                   {"vocabulary_hash", summary.hash},
                   {"files", summary.files},
                   {"separators", summary.separators},
                   {"train_tokens", summary.train_tokens},
                   {"validation_tokens", summary.validation_tokens},
                   {"train_bytes", summary.train_bytes},
                   {"validation_bytes", summary.validation_bytes},
                   {"seconds", summary.seconds}};
    object.update(inputs_json(summary));
    put("{}\n", dump(object));
    return;
  }
  const auto tokens = summary.train_tokens + summary.validation_tokens;
  const auto bytes = summary.train_bytes + summary.validation_bytes;
  put("{}: {} tokens to train on, {} to validate\n{} ({} ids), {:.2f} bytes a token, {} file{}{}, {:.1f} s\n", out,
      summary.train_tokens, summary.validation_tokens, summary.tokenizer, summary.vocabulary,
      static_cast<double>(bytes) / static_cast<double>(tokens), summary.files, summary.files == 1 ? "" : "s",
      summary.separators > 0
          ? formatted(", {} separator{} between", summary.separators, summary.separators == 1 ? "" : "s")
          : "",
      summary.seconds);
}

void run(PrepareFlags& flags) {
  apply(flags.common);
  flags.options.out = flags.out;
  flags.options.corpus_vocabulary = flags.vocabulary == "corpus";
  flags.options.separator = enum_of<Separator>(flags.separator, "--separator");
  const PrepareSummary summary = prepare(flags.options);
  say_inputs(summary);
  if (summary.validation_tokens == 0 && flags.options.validation_inputs.empty() && flags.options.validation > 0) {
    say("linformer: --validation {} of {} tokens is less than one, so nothing is kept apart and training will not "
        "evaluate\n",
        flags.options.validation, summary.train_tokens);
  }
  print(summary, flags.out, flags.common.json);
}

}  // namespace

void add_prepare(CLI::App& app) {
  auto flags = std::make_shared<PrepareFlags>();
  auto* verb = app.add_subcommand("prepare", "Turn text files into a token file with a train and a validation part");
  add_common(*verb, flags->common);
  verb->add_option("--input", flags->options.inputs,
                   "text files, folders (their text files, sorted, at any depth), or - for standard input; of folders, "
                   "--out and what this program wrote are left out")
      ->required();
  verb->add_option("--out", flags->out, "folder to write")->required();
  verb->add_option("--tokenizer", flags->options.tokenizer,
                   "gpt2, bytes, a .tiktoken file, a folder with encoder.json and vocab.bpe, or a tokenizer.json")
      ->capture_default_str();
  verb->add_option("--vocabulary", flags->vocabulary,
                   "corpus keeps only the ids that this text needs, which makes the output layer smaller")
      ->check(CLI::IsMember({"full", "corpus"}))
      ->capture_default_str();
  auto* share =
      verb->add_option("--validation", flags->options.validation, "share of the tokens, at the end, for validation")
          ->capture_default_str();
  verb->add_option("--validation-input", flags->options.validation_inputs,
                   "the texts for validation, named as those of --input; all of --input is then for training")
      ->excludes(share);
  verb->add_option(
          "--separator", flags->separator,
          "the tokenizer's end-of-text token between the texts of two files: on, off, or auto: on where it has "
          "one, as GPT-2's has and bytes has not")
      ->capture_default_str();
  verb->add_flag("--overwrite", flags->options.overwrite, "replace a folder that was prepared before");
  verb->callback([flags] { run(*flags); });
}

}  // namespace linformer::cli
