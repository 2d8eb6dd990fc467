// linformer logits: a model's logits for given ids, as a safetensors file for other programs. Shape letters: N ids, V
// vocabulary.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <string_view>

#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/number.hpp"
#include "linformer/nn/device.hpp"
#include "linformer/nn/model_file.hpp"
#include "open_model.hpp"
#include "text_input.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

struct LogitsFlags {
  Common common;
  std::string model, ids, out;
};

constexpr std::string_view kBetween = ", \t\r\n";
constexpr std::string_view kExpected =
    "expected whole numbers with commas or spaces between, or JSON such as {\"ids\":[1,2,3]}";

std::vector<std::int64_t> ids_of_words(std::string_view text, const std::string& source) {
  std::vector<std::int64_t> ids;
  for (auto from = text.find_first_not_of(kBetween); from != std::string_view::npos;
       from = text.find_first_not_of(kBetween, from)) {
    const auto word = text.substr(from, text.find_first_of(kBetween, from) - from);
    const auto id = parse_number<std::int64_t>(word);
    if (!id) fail("{}: \"{}\" is not an id; {}", source, excerpt(word), kExpected);
    ids.push_back(*id);
    from += word.size();
  }
  return ids;
}

std::vector<std::int64_t> ids_of_json(const json& value, const std::string& source) {
  const bool in_object = value.is_object() && value.contains("ids");
  const json& list = in_object ? value["ids"] : value;
  require(list.is_array(), "{}: this JSON holds no list of ids; {}", source, kExpected);
  std::vector<std::int64_t> ids;
  constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();
  for (const auto& id : list) {
    const bool whole = id.is_number_integer() && !(id.is_number_unsigned() && id.get<std::uint64_t>() > kLargest);
    require(whole, "{}: {} is not an id; {}", source, json_excerpt(id), kExpected);
    ids.push_back(id.get<std::int64_t>());
  }
  return ids;
}

bool is_list(const std::string& argument) {
  return argument != "-" && argument.find_first_not_of("0123456789-, \t\r\n") == std::string::npos;
}
/// How messages name the source of the ids. The list itself may be long.
std::string source_of(const std::string& argument) { return is_list(argument) ? "--ids" : argument; }

/// Returns `argument` itself when it holds only numbers; else the content of the file that it names ("-": standard
/// input).
std::vector<std::int64_t> read_ids(const std::string& argument) {
  std::string text = argument;
  if (!is_list(argument)) {
    text = read_input(argument);
  }
  const auto source = source_of(argument);
  const auto first = text.find_first_not_of(kBetween);
  require(first != std::string::npos, "{} holds no ids; {}", source, kExpected);
  const bool is_json = text[first] == '{' || text[first] == '[';
  auto ids = is_json ? ids_of_json(parse_json(text, source), source) : ids_of_words(text, source);
  require(!ids.empty(), "{} holds no ids; {}", source, kExpected);
  return ids;
}

void check_ids(const std::vector<std::int64_t>& ids, const ModelConfig& config, const std::string& source) {
  require(static_cast<std::int64_t>(ids.size()) <= config.longest_text(),
          "{} holds {} ids, but model.length is {}: give at most {} ids, or train a model with a larger model.length",
          source, ids.size(), config.length, config.length);
  const auto wrong =
      std::find_if(ids.begin(), ids.end(), [&](std::int64_t id) { return id < 0 || id >= config.vocabulary; });
  require(wrong == ids.end(),
          "{}: id {} is outside the model's vocabulary of {} ids (0 to {}); make the ids with the model's own "
          "tokenizer: linformer tokenize "
          "--tokenizer MODEL/tokenizer.json",
          source, wrong == ids.end() ? 0 : *wrong, config.vocabulary, config.vocabulary - 1);
}

at::Tensor logits_NV(const LanguageModel& model, const std::vector<std::int64_t>& ids, const Common& common) {
  const c10::NoGradGuard no_grad;
  const auto device = parse_device(common.device);
  const auto dtype = common.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
  const ProductGuard products(products_of(common));
  announce(common, dtype);
  const AutocastGuard autocast(dtype, device.type());
  const auto ids_1N = at::tensor(ids, at::kLong).unsqueeze(0).to(device);
  return model.logits(ids_1N).squeeze(0).to(at::kCPU, at::kFloat).contiguous();
}

void run(const LogitsFlags& flags) {
  apply(flags.common);
  const auto ids = read_ids(flags.ids);
  auto model = load_model(flags.model).model;
  check_ids(ids, model.config(), source_of(flags.ids));
  model.to(parse_device(flags.common.device), at::kFloat);
  const auto start = std::chrono::steady_clock::now();
  const auto logits = logits_NV(model, ids, flags.common);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  write_safetensors(flags.out, {{{"logits", logits}}, {{"format", "linformer-logits"}}});
  if (flags.common.json) {
    const json object = {
        {"out", flags.out}, {"tokens", logits.size(0)}, {"vocabulary", logits.size(1)}, {"seconds", seconds.count()}};
    put("{}\n", dump(object));
  } else {
    put("{}: logits {} × {}\n", flags.out, logits.size(0), logits.size(1));
  }
  say_path(flags.common);
}

}  // namespace

void add_logits(CLI::App& app) {
  auto flags = std::make_shared<LogitsFlags>();
  auto* verb = app.add_subcommand("logits", "Logits of given ids, as a safetensors file for other programs");
  add_common(*verb, flags->common);
  add_verbose(*verb, flags->common);
  add_products(*verb, flags->common);
  verb->add_option("--model", flags->model, "run or checkpoint folder")->required();
  verb->add_option("--ids", flags->ids,
                   "ids such as 1,2,3, or a file of them: text or the JSON of `tokenize --json`; - is standard input")
      ->required();
  verb->add_option("--out", flags->out, "safetensors file to write: `logits`, ids × vocabulary, float32")->required();
  verb->callback([flags] { run(*flags); });
}

}  // namespace linformer::cli
