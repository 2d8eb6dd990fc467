// linformer inspect: the rank of attention, what slots read and how much they are used, over a text.
#include "linformer/study/inspect.hpp"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>

#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/progress.hpp"
#include "linformer/core/shell.hpp"
#include "linformer/data/token_file.hpp"
#include "linformer/pretrained/bert.hpp"
#include "linformer/pretrained/wordpiece.hpp"
#include "open_model.hpp"
#include "text_input.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

namespace fs = std::filesystem;

// the length in the paper's Figure 1; singular values need time in proportion to its cube
constexpr std::int64_t kPaperLength = 512;

struct InspectFlags {
  Common common;
  std::string model, data, out;
  bool spectrum = false, slots = false, attention = false;
  std::int64_t windows = 4, length = 0, rank = 0;
};

// The command that makes the same lines again.
std::string command_of(const InspectFlags& flags) {
  auto text = formatted("linformer inspect --model {} --data {}", quoted(flags.model), quoted(flags.data));
  for (const auto& [given, name] :
       {std::pair{flags.spectrum, "spectrum"}, {flags.slots, "slots"}, {flags.attention, "attention"}}) {
    if (given) text += formatted(" --{}", name);
  }
  const InspectFlags usual;
  if (flags.windows != usual.windows) text += formatted(" --windows {}", flags.windows);
  if (flags.length != usual.length) text += formatted(" --length {}", flags.length);
  if (flags.rank != usual.rank) text += formatted(" --rank {}", flags.rank);
  if (flags.common.products != usual.common.products) text += " --products " + flags.common.products;
  return flags.out.empty() ? text : text + " --out " + quoted(flags.out);
}

// The whole of a text file, or the validation part of a prepared folder.
std::string text_of(const std::string& path) {
  if (!fs::is_directory(path)) return read_input(path);
  const auto data = TokenData::open(path);
  std::vector<std::int64_t> ids(static_cast<std::size_t>(data.validation_size()));
  data.copy_validation(0, data.validation_size(), ids.data());
  // The end of a text is no text, which another tokenizer would split into words.
  if (const auto end = data.tokenizer()->end_of_text()) std::erase(ids, *end);
  return data.tokenizer()->decode({ids.begin(), ids.end()});
}

std::vector<std::int64_t> ids_of(const std::string& path, const Tokenizer& tokenizer) {
  if (fs::is_directory(path)) {
    const auto data = TokenData::open(path);
    if (same_ids(*data.tokenizer(), tokenizer)) {  // ids as they are: generated data is no text
      std::vector<std::int64_t> ids(static_cast<std::size_t>(data.validation_size()));
      data.copy_validation(0, data.validation_size(), ids.data());
      return ids;
    }
  }
  const auto ids = tokenizer.encode(text_of(path));
  return {ids.begin(), ids.end()};
}

Inspection inspect_ids(InspectSubject subject, const std::vector<std::int64_t>& ids, const InspectFlags& flags) {
  subject.model = flags.model;
  for (auto& line : subject.projections) line["model"] = flags.model;
  const auto length = flags.length != 0 ? flags.length : std::min(subject.length, kPaperLength);
  const auto windows = inspect_windows(subject, ids, length, flags.windows);
  InspectOptions options{.rank = flags.rank};
  const bool all = !flags.spectrum && !flags.slots && !flags.attention;
  options.spectrum = flags.spectrum || (all && !subject.has_slots);
  options.slots = flags.slots || (all && subject.has_slots);
  options.attention = flags.attention || all;
  Progress progress("inspect", windows.size(0));
  options.progress = [&](std::int64_t done, std::int64_t) { progress.update(done, "windows"); };
  auto result = inspect(subject, windows, flags.data, options);
  progress.finish();
  if (!flags.common.json) {
    put(formatted("{}: {}, {} layers of {} heads; {}: {} windows of {} tokens\n", flags.model, subject.description,
                  subject.layers, subject.heads, flags.data, windows.size(0), length));
  }
  return result;
}

Inspection inspect_model(const InspectFlags& flags) {
  if (BertEncoder::is_here(flags.model)) {
    const BertEncoder encoder(flags.model);
    const WordPiece tokenizer(fs::path(flags.model) / "vocab.txt");
    return inspect_ids(inspect_subject(encoder, tokenizer), tokenizer.encode(text_of(flags.data)), flags);
  }
  const auto opened = open_model(flags.model, flags.common);
  return inspect_ids(inspect_subject(opened.model), ids_of(flags.data, *opened.tokenizer), flags);
}

void run(const InspectFlags& flags) {
  apply(flags.common);
  require(flags.common.dtype != "bfloat16",
          "--dtype is bfloat16; inspect computes in float32, and singular values in float64: leave it out");
  make_out_folder(flags.out);
  const ProductGuard products(products_of(flags.common));
  announce(flags.common, at::kFloat);
  auto result = inspect_model(flags);
  std::string lines;
  for (auto& line : result.lines) {
    line.update({{"version", LINFORMER_VERSION}, {"command", command_of(flags)}});
    lines += dump(line) + '\n';
  }
  std::string kept = "--out FOLDER or --json gives them";
  if (!flags.out.empty()) {
    const auto file = fs::path(flags.out) / "inspect.jsonl";
    write_atomically(file, lines);
    kept = file.string();
  }
  put(flags.common.json ? lines : inspection_table(result, kept));
  flush();
  for (const auto& remark : result.remarks) say("linformer: remark: {}\n", remark);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto flags = std::make_shared<InspectFlags>();
  auto* verb = app.add_subcommand("inspect", "Show the rank of attention, what slots read, and how much they are used");
  add_common(*verb, flags->common);
  add_products(*verb, flags->common);
  verb->add_option(
          "--model", flags->model,
          "run or checkpoint folder, or the folder of a BERT encoder: config.json, model.safetensors, vocab.txt")
      ->required();
  verb->add_option("--data", flags->data, "prepared folder (its validation part), or a text file (all of it)")
      ->required();
  verb->add_flag("--spectrum", flags->spectrum,
                 "cumulative singular values of the attention matrices (softmax models). Default: whatever of these "
                 "three the model has");
  verb->add_flag("--slots", flags->slots,
                 "what slots read, and how much weight a query gives to slots and to its window (Linformers)");
  verb->add_flag("--attention", flags->attention, "maps of each head's attention");
  verb->add_option("--windows", flags->windows, "windows of text to average over")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  verb->add_option("--length", flags->length, "tokens per window; 0: the model's length, at most 512")
      ->check(CLI::Range(0, 1 << 20));
  verb->add_option("--rank", flags->rank, "K at which the spectrum is read; 0: a quarter of the length")
      ->check(CLI::Range(0, 1 << 20));
  verb->add_option("--out", flags->out, "folder for inspect.jsonl");
  verb->callback([flags] { run(*flags); });
}

}  // namespace linformer::cli
