// linformer audit: does a model see what comes after?
#include "linformer/study/audit.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>

#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/progress.hpp"
#include "linformer/core/shell.hpp"
#include "linformer/data/token_file.hpp"
#include "linformer/infer/model_tokenizer.hpp"
#include "linformer/nn/model_file.hpp"
#include "linformer/study/machine.hpp"
#include "linformer/train/run_folder.hpp"
#include "open_model.hpp"
#include "text_input.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kTextTokens = 16384;  // tokens of the data that are used, from its middle

struct AuditFlags {
  Common common;
  std::string model, data, tokenizer;
  std::int64_t length = 0, vocabulary = 0;
};

std::vector<std::int64_t> prepared_ids(const std::string& folder, const Tokenizer* expected) {
  const auto data = TokenData::open(folder);
  require(!expected || same_ids(*data.tokenizer(), *expected),
          "{} was prepared with another vocabulary ('{}') than the model's ('{}'): name the folder that the model was "
          "trained on, or a text file",
          folder, data.tokenizer()->name(), expected ? expected->name() : "");
  const bool enough = data.validation_size() >= data.train_size() || data.validation_size() >= kTextTokens;
  const auto size = enough ? data.validation_size() : data.train_size(), count = std::min(size, kTextTokens);
  std::vector<std::int64_t> ids(static_cast<std::size_t>(count));
  const auto first = (size - count) / 2;
  enough ? data.copy_validation(first, count, ids.data()) : data.copy_train(first, count, ids.data());
  return ids;
}

std::vector<std::int64_t> ids_of_file(const std::string& path, const Tokenizer& tokenizer) {
  auto text = read_input(path);
  constexpr std::size_t kBytes = 8 * kTextTokens;
  if (text.size() > kBytes) text = text.substr((text.size() - kBytes) / 2, kBytes);
  const auto ids = tokenizer.encode(text);
  return {ids.begin(), ids.end()};
}

// The data that a run was trained on, if it is still there.
std::string data_of(const json& config, const Tokenizer* tokenizer) {
  const auto section = config.find("data");
  if (section == config.end() || !section->is_object() || !tokenizer) return {};
  const auto folder = section->value("folder", "");
  if (folder.empty() || !fs::is_directory(folder)) return {};
  try {
    return same_ids(*TokenData::open(folder).tokenizer(), *tokenizer) ? folder : "";
  } catch (const UserError&) {
    return {};
  }
}

std::vector<std::int64_t> text_of(const AuditFlags& flags, const Tokenizer* tokenizer) {
  if (flags.data.empty()) return {};
  if (fs::is_directory(flags.data)) return prepared_ids(flags.data, tokenizer);
  require(tokenizer,
          "--data {} is a text file, but the vocabulary of a TorchScript file is not known: name it with --tokenizer",
          flags.data);
  return ids_of_file(flags.data, *tokenizer);
}

// A text shorter than the lengths tried checks less than the reader expects, or nothing.
void remark_on_text(const AuditFlags& flags, const AuditOptions& options, AuditReport& report) {
  if (flags.data.empty()) return;
  const auto& lengths = report.passes.front().lengths;
  const auto [shortest, longest] = std::minmax_element(lengths.begin(), lengths.end());
  const auto tokens = static_cast<std::int64_t>(options.text.size());
  if (tokens < *shortest) {
    report.remarks.push_back(
        formatted("{} has {} tokens, and the shortest text tried needs {}: only random ids were tried", flags.data,
                  tokens, *shortest));
  } else if (tokens < *longest) {
    report.remarks.push_back(
        formatted("{} has {} tokens, and the longest text tried needs {}: texts longer than it were only random ids",
                  flags.data, tokens, *longest));
  }
}

// Reads the text. Stores its name in `flags` and its ids in `options`.
AuditReport audited(AuditFlags& flags, AuditOptions& options) {
  if (!fs::is_directory(flags.model)) {
    const auto tokenizer = flags.tokenizer.empty() ? nullptr : load_tokenizer(flags.tokenizer);
    options.text = text_of(flags, tokenizer.get());
    return audit_file(flags.model, options);
  }
  require(flags.tokenizer.empty() && flags.vocabulary == 0,
          "--tokenizer and --model.vocabulary are for TorchScript files; a run folder has its own");
  const auto loaded = load_model(flags.model);
  const auto tokenizer = loaded.tokenizer.is_null() ? nullptr : tokenizer_of(loaded);
  if (flags.data.empty()) flags.data = data_of(loaded.config, tokenizer.get());
  options.text = text_of(flags, tokenizer.get());
  return audit(loaded.model, options);
}

std::string command_of(const AuditFlags& flags) {
  std::string command = "linformer audit --model " + quoted(flags.model);
  if (!flags.data.empty()) command += " --data " + quoted(flags.data);
  if (!flags.tokenizer.empty()) command += " --tokenizer " + quoted(flags.tokenizer);
  if (flags.length > 0) command += formatted(" --model.length {}", flags.length);
  if (flags.vocabulary > 0) command += formatted(" --model.vocabulary {}", flags.vocabulary);
  if (flags.common.products != "auto") command += " --products " + flags.common.products;
  if (flags.common.seed > 0) command += formatted(" --seed {}", flags.common.seed);
  return command;
}

void print(const AuditPass& pass) {
  put(formatted("\n{}{}, {} changed tokens in texts of {} tokens\n", pass.dtype,
                pass.path.empty() ? "" : " (" + pass.path + ")", pass.changes, joined(pass.lengths, ", ")));
  put(formatted("  outputs before a changed token move by at most  {:.1e} of their range (threshold {:.1e})\n",
                pass.largest_change, pass.threshold));
  for (std::size_t layer = 0; layer < pass.by_layer.size() && pass.leaks(); ++layer) {
    put(formatted("    after block {:<3} {:.1e}\n", layer, pass.by_layer[layer]));
  }
  if (pass.gradient.obstacle.empty()) {
    put(formatted("  gradients of earlier outputs by later tokens    {:.1e} of those by earlier ones\n",
                  pass.gradient.largest));
  } else {
    put(formatted("  gradients: {}\n", pass.gradient.obstacle));
  }
  for (const auto& way : pass.streaming) {
    put(formatted(
        "  loss one token at a time {:.4f}, all at once {:.4f}; largest difference {:.1e} nats at position {} ({}; "
        "threshold {:.1e})\n",
        way.loss_streamed, way.loss_teacher_forced, way.largest_difference, way.position, way.way, way.threshold));
  }
}

void say_leaks(const AuditPass& pass) {
  if (pass.first_leak) {
    const auto& leak = *pass.first_leak;
    put(formatted("  LEAK: changing token {} of {} moves the output at position {} by {:.1e} of the range\n",
                  leak.changed, leak.length, leak.seen_at, leak.change));
  }
  if (const auto& gradient = pass.gradient; gradient.largest > gradient.threshold) {
    put(formatted("  LEAK: the output at position {} has a gradient by token {} of {}\n", gradient.output,
                  gradient.input, gradient.length));
  }
  for (const auto& way : pass.streaming) {
    if (!(way.largest_difference <= way.threshold))
      put(formatted("  LEAK: position {} has another loss when no later token is given ({})\n", way.position, way.way));
  }
}

void print(const std::string& model, const AuditReport& report) {
  put(formatted("{}: {}\n", model,
                report.leaks() ? "LEAKS: it sees what comes after" : "clean: no output sees what comes after it"));
  for (const auto& pass : report.passes) {
    print(pass);
    say_leaks(pass);
  }
  for (const auto& remark : report.remarks) put("\nnote: " + remark + "\n");
  put("\nPositions count from 0.\n");
}

json document(const AuditFlags& flags, const AuditReport& report) {
  json object = {{"type", "audit"}, {"model", flags.model}};
  object.update(to_json(report));
  object["text"] = report.used_text ? flags.data : "random";
  object["seed"] = flags.common.seed;
  object["machine"] = describe_machine();
  object["command"] = command_of(flags);
  object["time"] =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  return object;
}

void run(AuditFlags flags) {
  apply(flags.common);
  require(flags.common.device == "cpu", "--device {}: an audit runs on cpu", flags.common.device);
  require(flags.common.dtype != "bfloat16",
          "--dtype bfloat16: an audit runs in float64 and float32, since bfloat16 hides small leaks in its rounding");
  const ProductGuard products(products_of(flags.common));
  if (fs::is_directory(flags.model)) announce(flags.common, at::kFloat);
  Progress progress("audit", 0);
  AuditOptions options{.length = flags.length, .vocabulary = flags.vocabulary, .seed = flags.common.seed};
  options.progress = [&](std::int64_t done, std::string_view what) { progress.update(done, what); };
  auto report = audited(flags, options);
  remark_on_text(flags, options, report);
  const auto object = document(flags, report);
  if (is_run(flags.model) && !fs::exists(fs::path(flags.model) / "state.json")) {
    try {
      write_atomically(fs::path(flags.model) / "audit.json", dump(object, 2) + "\n");
    } catch (const UserError& error) {
      progress.note(formatted("audit: not kept beside the run: {}", error.what()));
    }
  }
  progress.finish();
  if (flags.common.json) {
    put(dump(object) + "\n");
  } else {
    print(flags.model, report);
  }
  flush();
  if (report.leaks()) throw Exit{1};
}

}  // namespace

void add_audit(CLI::App& app) {
  auto flags = std::make_shared<AuditFlags>();
  auto* verb =
      app.add_subcommand("audit", "Check whether a model sees later tokens. Status 0: it does not, 1: it does");
  add_common(*verb, flags->common);
  add_products(*verb, flags->common);
  verb->add_option("--model", flags->model,
                   "run or checkpoint folder, or a TorchScript file that maps ids (B,N) to logits (B,N,V)")
      ->required();
  verb->add_option(
      "--data", flags->data,
      "real text to use beside random ids: a text file or a prepared folder; for a run, the default is its own data");
  verb->add_option("--tokenizer", flags->tokenizer,
                   "tokenizer of --data for a TorchScript file: bytes, gpt2 or a file");
  verb->add_option("--model.length", flags->length,
                   "tokens of the longest text; for a TorchScript file that takes only one length: that length")
      ->check(CLI::Range(2, 1 << 20));
  verb->add_option("--model.vocabulary", flags->vocabulary,
                   "number of ids that a TorchScript file takes, if it gives more logits")
      ->check(CLI::Range(3, 1 << 24));
  verb->callback([flags] { run(*flags); });
}

}  // namespace linformer::cli
