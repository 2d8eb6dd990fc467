#include "linformer/study/benchmark_point.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "linformer/config/enum_text.hpp"
#include "linformer/config/io.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"

namespace linformer {

using Task = BenchmarkTask;

bool is_plain(BenchmarkForm form) {
  return form == BenchmarkForm::softmax_plain || form == BenchmarkForm::bidirectional_softmax_plain;
}

bool is_softmax(BenchmarkForm form) {
  return form == BenchmarkForm::softmax || form == BenchmarkForm::bidirectional_softmax || is_plain(form);
}

bool is_causal(BenchmarkForm form) {
  return form != BenchmarkForm::bidirectional && form != BenchmarkForm::bidirectional_softmax &&
         form != BenchmarkForm::bidirectional_softmax_plain;
}

BenchmarkForm transformer_of(BenchmarkForm form) {
  return is_causal(form) ? BenchmarkForm::softmax : BenchmarkForm::bidirectional_softmax;
}

namespace {

// What the point itself says, in values of its own.
const std::vector<std::string_view> kOwnFields{"model.length",
                                               "model.width",
                                               "model.layers",
                                               "model.heads",
                                               "model.vocabulary",
                                               "model.dropout",
                                               "model.causal",
                                               "attention.kind",
                                               "attention.slots",
                                               "attention.window",
                                               "attention.sharing",
                                               "attention.summary",
                                               "attention.slots_by_layer"};

// "model.norm=rms+model.rotary_base=1e+4" → its two settings, sorted. A plus stands between settings where a name
// follows.
std::vector<std::string> settings_of(const std::string& text) {
  std::vector<std::string> settings;
  const auto begins_name = [&](std::size_t at) {
    return std::ranges::any_of(std::array{"model.", "attention.", "train."}, [&](std::string_view section) {
      return text.compare(at, section.size(), section) == 0;
    });
  };
  for (std::size_t from = 0, i = 0; i <= text.size() && !text.empty(); ++i) {
    if (i < text.size() && !(text[i] == '+' && begins_name(i + 1))) continue;
    settings.push_back(text.substr(from, i - from));
    from = i + 1;
  }
  std::ranges::sort(settings);
  return settings;
}

// Of training, what changes the memory and the time of a step.
const std::vector<std::string_view> kTrainFields{"train.chunk", "train.checkpoint_activations"};

void set_fields(ModelConfig& config, TrainConfig& train, const std::string& fields) {
  auto handles = fields_of(config);
  std::ranges::copy_if(fields_of(train), std::back_inserter(handles), [](const FieldHandle& field) {
    return std::ranges::find(kTrainFields, field.name) != kTrainFields.end();
  });
  std::string last;
  for (const auto& setting : settings_of(fields)) {
    const auto equals = setting.find('=');
    const auto name = setting.substr(0, equals);
    require(name != last, "{}: {} is set twice; give it once", excerpt(fields), name);
    last = name;
    const auto field = std::ranges::find(handles, name, &FieldHandle::name);
    require(equals != std::string::npos && field != handles.end(),
            "{}: expected the name of a field of [model] or [attention], or train.chunk or "
            "train.checkpoint_activations, and its value, such as model.norm=rms",
            excerpt(setting));
    require(std::ranges::find(kOwnFields, name) == kOwnFields.end(), "{}: a benchmark has a flag of its own for {}",
            excerpt(setting), name);
    field->parse(setting.substr(equals + 1));
  }
}

// Standard attention has no use for fields of slots, and only training for those of training.
std::string used_fields(const BenchmarkPoint& point) {
  std::string used;
  for (const auto& setting : settings_of(point.fields)) {
    if (is_softmax(point.form) && setting.starts_with("attention.")) continue;
    if (point.task != Task::train && setting.starts_with("train.")) continue;
    used += (used.empty() ? "" : "+") + setting;
  }
  return used;
}

}  // namespace

void check_fields(const std::string& fields) {
  ModelConfig model;
  TrainConfig train;
  set_fields(model, train, fields);
}

BenchmarkPoint canonical(BenchmarkPoint point) {
  point.fields = used_fields(point);
  const bool no_window =
      is_softmax(point.form) || point.form == BenchmarkForm::bidirectional || point.form == BenchmarkForm::prefix;
  if (no_window) point.window = 0;
  if (is_softmax(point.form) || point.form == BenchmarkForm::window_only)
    point.slots = 0, point.sharing = Sharing::headwise;
  if (point.task != Task::train) point.dropout = 0;
  if (point.task != Task::generate) point.tokens = 0, point.decode = BenchmarkDecode::stream;
  return point;
}

json to_json(const BenchmarkPoint& given) {
  const auto point = canonical(given);
  json line = {{"type", "point"}, {"preset", point.preset.empty() ? json() : json(point.preset)}};
  line["task"] = enum_name(point.task);
  line["form"] = enum_name(point.form);
  if (point.task == Task::generate) {
    line["decode"] = enum_name(point.decode);
    line["prompt"] = prompt_tokens(point);
    line["generated"] = point.tokens;
  }
  if (point.slots > 0) line["sharing"] = enum_name(point.sharing);
  line["length"] = point.length;
  line["slots"] = point.slots;
  line["window"] = point.window;
  line["batch"] = point.batch;
  line["width"] = point.width;
  line["layers"] = point.layers;
  line["heads"] = point.heads;
  line["vocabulary"] = point.vocabulary;
  if (point.dropout > 0) line["dropout"] = point.dropout;
  line["dtype"] = point.dtype;
  line["threads"] = point.threads;
  if (!point.fields.empty()) line["fields"] = point.fields;
  return line;
}

BenchmarkPoint point_of(const json& line) {
  BenchmarkPoint point;
  const auto number = [&](const char* key) { return line.at(key).get<std::int64_t>(); };
  if (line.at("preset").is_string()) point.preset = line.at("preset").get<std::string>();
  point.task = enum_of<Task>(line.at("task").get<std::string>(), "task");
  point.form = enum_of<BenchmarkForm>(line.at("form").get<std::string>(), "form");
  if (line.contains("decode")) point.decode = enum_of<BenchmarkDecode>(line.at("decode").get<std::string>(), "decode");
  if (line.contains("generated")) point.tokens = number("generated");
  if (line.contains("sharing")) point.sharing = enum_of<Sharing>(line.at("sharing").get<std::string>(), "sharing");
  point.length = number("length"), point.slots = number("slots"), point.window = number("window");
  point.batch = number("batch"), point.width = number("width"), point.layers = number("layers");
  point.heads = number("heads"), point.vocabulary = number("vocabulary");
  point.dropout = line.value("dropout", 0.0);
  point.dtype = line.at("dtype").get<std::string>();
  point.threads = static_cast<int>(number("threads"));
  if (line.contains("fields")) point.fields = line.at("fields").get<std::string>();
  return canonical(point);
}

namespace {

void check_task(const BenchmarkPoint& point) {
  const auto form = enum_name(point.form);
  const bool stream = point.task == Task::generate && point.decode == BenchmarkDecode::stream;
  require(!stream || is_causal(point.form),
          "{} sees the whole text, so it can't generate by stream; use --decodes reread", form);
  require(point.task != Task::generate || !is_plain(point.form), "{} is measured by forward and train, not by generate",
          form);
  require(point.task != Task::generate || (point.length >= 2 && point.tokens >= 1),
          "generate needs a length of at least 2 and a token to make");
  require(point.dtype == "float32" || point.dtype == "bfloat16" || (point.dtype == "int8" && stream),
          "dtype is {}, expected float32 or bfloat16, or int8 for generate by stream", excerpt(point.dtype));
  require(point.batch >= 1 && point.batch <= 1 << 20, "batch is {}, expected 1 to {}", point.batch, 1 << 20);
}

ModelConfig checked(const ModelConfig& config, const TrainConfig& train) {
  check(train);
  auto model = resolved(config);
  check_chunk(train, model);
  return model;
}

}  // namespace

ModelConfig model_of(const BenchmarkPoint& given) {
  const auto point = canonical(given);
  check_task(point);
  ModelConfig config;
  config.length = point.length, config.width = point.width, config.layers = point.layers, config.heads = point.heads;
  config.vocabulary = point.vocabulary, config.dropout = point.dropout;
  config.causal = is_causal(point.form);
  auto& attention = config.attention;
  attention.kind = is_softmax(point.form) ? AttentionKind::softmax : AttentionKind::linformer;
  attention.plain = is_plain(point.form);
  auto train = TrainConfig{.chunk = 0};
  set_fields(config, train, point.fields);
  if (attention.kind == AttentionKind::softmax) return checked(config, train);
  attention.slots = point.slots, attention.window = point.window, attention.sharing = point.sharing;
  if (point.form == BenchmarkForm::block) attention.summary = Summary::block;
  require(point.window > 0 || point.form == BenchmarkForm::prefix || point.form == BenchmarkForm::bidirectional,
          "form {} needs a window of at least 1", enum_name(point.form));
  return checked(config, train);
}

TrainConfig train_of(const BenchmarkPoint& point) {
  ModelConfig model;
  TrainConfig train{.chunk = 0};
  set_fields(model, train, canonical(point).fields);
  return train;
}

std::string describe(const BenchmarkPoint& given) {
  const auto point = canonical(given);
  auto text = formatted("{} {} N={}", enum_name(point.task), enum_name(point.form), point.length);
  if (point.slots > 0) text += formatted(" K={}", point.slots);
  if (point.window > 0) text += formatted(" W={}", point.window);
  text += formatted(" B={} d={} layers={}", point.batch, point.width, point.layers);
  if (point.slots > 0 && point.sharing != Sharing::headwise) text += formatted(" {}", enum_name(point.sharing));
  if (point.task == Task::generate) text += formatted(" {} {} tokens", enum_name(point.decode), point.tokens);
  if (point.dtype != "float32") text += " " + point.dtype;
  if (!point.fields.empty()) text += " " + point.fields;
  return text;
}

std::int64_t prompt_tokens(const BenchmarkPoint& point) {
  return point.task == Task::generate ? std::max({point.length - point.tokens, point.length / 2, std::int64_t{1}}) : 0;
}

std::int64_t round_tokens(const BenchmarkPoint& point) {
  return point.batch * (point.task == Task::generate ? point.tokens : point.length);
}

}  // namespace linformer
