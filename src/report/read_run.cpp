#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <numbers>

#include "linformer/config/io.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/lenient_json.hpp"
#include "linformer/core/shell.hpp"
#include "report/readers.hpp"
#include "report/thin.hpp"

namespace linformer::report {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kRatePoints = 200;
constexpr std::size_t kSamples = 12, kSampleBytes = 4000;

struct Metrics {
  std::vector<double> step, loss, learning_rate, tokens_per_second, seconds;
  std::vector<double> validation_step, validation_loss, bits_per_byte, validation_seconds;
};

const json& section(const json& config, const char* name) {
  static const json none = json::object();
  const auto found = config.is_object() ? config.find(name) : config.end();
  return config.is_object() && found != config.end() && found->is_object() ? *found : none;
}

double tokens_a_step(const json& config) {
  const auto& train = section(config, "train");
  return number(train, "batch", kNone) * number(train, "accumulate", 1) *
         number(section(config, "model"), "length", kNone);
}

// The lines of later sessions follow those of earlier ones; a resume has already removed what it repeats. Seconds count
// only time in steps, so pauses between sessions don't matter.
Metrics read_metrics(const fs::path& path, double tokens, Remarks& remarks) {
  Metrics metrics;
  double seconds = 0;
  read_lines(path, remarks, [&](json& line) {
    const double step = line.at("step").get<double>(), rate = number(line, "tokens_per_second", kNone);
    if (!metrics.step.empty() && step <= metrics.step.back()) return;  // of a copy that was cut and written twice
    const double took = tokens / rate;
    seconds = number(line, "train_seconds", seconds + (std::isfinite(took) ? took : 0));
    metrics.step.push_back(step);
    metrics.loss.push_back(number(line, "loss", kNone));
    metrics.learning_rate.push_back(number(line, "learning_rate", kNone));
    metrics.tokens_per_second.push_back(rate);
    metrics.seconds.push_back(seconds);
    if (!line.contains("validation_loss")) return;
    metrics.validation_step.push_back(step);
    metrics.validation_loss.push_back(number(line, "validation_loss", kNone));
    metrics.bits_per_byte.push_back(number(line, "bits_per_byte", kNone));
    metrics.validation_seconds.push_back(seconds);
  });
  return metrics;
}

std::vector<double> at(const std::vector<double>& values, const std::vector<std::size_t>& indices) {
  std::vector<double> picked;
  for (const auto i : indices) picked.push_back(values[i]);
  return picked;
}

std::vector<double> means(const std::vector<double>& values, std::size_t points) {
  points = std::min(points, values.size());
  std::vector<double> result;
  for (std::size_t i = 0; i < points; ++i) {
    double sum = 0, count = 0;
    for (auto k = values.size() * i / points; k < values.size() * (i + 1) / points; ++k) {
      if (std::isfinite(values[k])) sum += values[k], ++count;
    }
    result.push_back(count > 0 ? sum / count : kNone);
  }
  return result;
}

double median(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  if (values.empty()) return kNone;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

json summary_of(const Metrics& metrics, double tokens) {
  json summary = {{"step", rounded(metrics.step.back())},
                  {"loss", rounded(metrics.loss.back())},
                  {"tokens", rounded(metrics.step.back() * tokens)},
                  {"tokens_per_second", rounded(median(metrics.tokens_per_second))},
                  {"seconds", rounded(metrics.seconds.back())}};
  std::size_t best = metrics.validation_loss.size();
  for (std::size_t i = 0; i < metrics.validation_loss.size(); ++i) {
    const double value = metrics.validation_loss[i];
    if (std::isfinite(value) && (best == metrics.validation_loss.size() || value < metrics.validation_loss[best]))
      best = i;
  }
  if (best == metrics.validation_loss.size()) return summary;
  summary["validation_loss"] = rounded(metrics.validation_loss.back());
  summary["bits_per_byte"] = rounded(metrics.bits_per_byte.back());
  summary["best_validation_loss"] = rounded(metrics.validation_loss[best]);
  summary["best_bits_per_byte"] = rounded(metrics.bits_per_byte[best]);
  summary["best_step"] = rounded(metrics.validation_step[best]);
  // The ratio of nats per token to bits per byte. It turns a training loss into bits per byte.
  summary["bytes_per_token"] = rounded(metrics.validation_loss[best] / std::numbers::ln2 / metrics.bits_per_byte[best]);
  return summary;
}

// Of model.safetensors: its header names every tensor's shape.
json parameters_of(const fs::path& folder) {
  const auto path = folder / "model.safetensors";
  std::ifstream file(path, std::ios::binary);
  char bytes[8];
  std::uint64_t length = 0;
  if (!file.read(bytes, 8)) return nullptr;
  std::memcpy(&length, bytes, 8);
  std::error_code unknown;
  if (length > 100'000'000 || length > fs::file_size(path, unknown) || unknown) return nullptr;
  std::string header(length, '\0');
  if (!file.read(header.data(), static_cast<std::streamsize>(length))) return nullptr;
  const auto tensors = parse_json_or_discard(header);
  if (!tensors.is_object()) return nullptr;
  std::int64_t total = 0;
  for (const auto& [name, tensor] : tensors.items()) {
    if (!tensor.is_object() || !tensor.contains("shape") || !tensor["shape"].is_array()) continue;
    std::int64_t count = 1;
    for (const auto& size : tensor["shape"]) {
      const auto factor = size.is_number_integer() ? size.get<std::int64_t>() : 0;
      if (__builtin_mul_overflow(count, factor, &count)) return nullptr;
    }
    if (__builtin_add_overflow(total, count, &total)) return nullptr;
  }
  return total;
}

// The fields that differ from this version's defaults, as flags.
std::string command_of(const json& config, const fs::path& folder) {
  const auto& data = section(config, "data");
  auto command = formatted("linformer train --data {} --out {}", quoted(text(data, "folder")), quoted(folder.string()));
  if (const auto from = text(section(config, "from"), "folder"); !from.empty()) command += " --from " + quoted(from);
  if (const auto seed = number(config, "seed", 0); seed != 0) command += formatted(" --seed {:.0f}", seed);
  ModelConfig model;
  TrainConfig train;
  auto fields = fields_of(model);
  std::ranges::move(fields_of(train), std::back_inserter(fields));
  for (auto& field : fields) {
    const auto dot = field.name.find('.');
    const auto& part = section(config, field.name.substr(0, dot).c_str());
    const auto found = part.find(field.name.substr(dot + 1));
    if (found == part.end() || *found == field.to_json()) continue;
    try {
      field.from_json(*found);
      command += formatted(" --{} {}", field.name, quoted(field.text()));
    } catch (const UserError&) {  // of another version, which a remark has said
    }
  }
  return command;
}

json samples_of(const fs::path& folder, Remarks& remarks) {
  json samples = json::array();
  if (!fs::exists(folder / "samples.jsonl")) return samples;
  read_lines(folder / "samples.jsonl", remarks, [&](json& line) {
    if (samples.size() == kSamples) return;
    json sample = {{"prompt", text(line, "prompt")},
                   {"text", line.at("text").get<std::string>().substr(0, kSampleBytes)}};
    if (line.contains("tokens_per_second"))
      sample["tokens_per_second"] = rounded(number(line, "tokens_per_second", kNone));
    samples.push_back(std::move(sample));
  });
  return samples;
}

json curve_of(const Metrics& metrics, std::size_t points) {
  const auto kept = thin_keeping_extremes(metrics.loss, points);
  const auto rates = std::min(kRatePoints, points);
  return {{"step", rounded(at(metrics.step, kept))},
          {"loss", rounded(at(metrics.loss, kept))},
          {"seconds", rounded(at(metrics.seconds, kept))},
          {"rate_step", rounded(means(metrics.step, rates))},
          {"learning_rate", rounded(means(metrics.learning_rate, rates))},
          {"tokens_per_second", rounded(means(metrics.tokens_per_second, rates))}};
}

json evaluations_of(const Metrics& metrics, std::size_t points) {
  const auto kept = thin_keeping_extremes(metrics.validation_loss, points);
  return {{"step", rounded(at(metrics.validation_step, kept))},
          {"loss", rounded(at(metrics.validation_loss, kept))},
          {"bits_per_byte", rounded(at(metrics.bits_per_byte, kept))},
          {"seconds", rounded(at(metrics.validation_seconds, kept))}};
}

json read_config(const fs::path& folder, Remarks& remarks) {
  auto config = read_or_remark(folder / "config.json", remarks);
  const auto version = number(config, "format_version", 1);
  if (config.is_object() && version != 1) {
    remarks.add(
        folder / "config.json",
        formatted("format version {:g}, and this program knows 1: what it shows of this run may be wrong", version));
  }
  return config;
}

void remark_on(const Metrics& metrics, const fs::path& folder, Remarks& remarks) {
  const auto lost = std::ranges::count_if(metrics.loss, [](double loss) { return !std::isfinite(loss); });
  if (lost > 0) remarks.add(folder, formatted("{} steps have no finite loss: the training has diverged", lost));
}

}  // namespace

json read_run(const fs::path& folder, std::size_t points, Remarks& remarks) {
  const auto config = read_config(folder, remarks);
  const double tokens = tokens_a_step(config);
  const auto metrics = read_metrics(folder / "metrics.jsonl", tokens, remarks);
  if (metrics.step.empty()) {
    remarks.add(folder, "no step is recorded yet; left out");
    return nullptr;
  }
  remark_on(metrics, folder, remarks);
  const double asked = number(section(config, "train"), "steps", kNone);
  json run = {{"path", folder.string()},
              {"name", ""},
              {"config", config},
              {"steps_asked", rounded(asked)},
              {"finished", !(metrics.step.back() < asked)},
              {"tokens_per_step", rounded(tokens)},
              {"parameters", parameters_of(folder)},
              {"command", config.is_object() ? json(command_of(config, folder)) : json(nullptr)},
              {"summary", summary_of(metrics, tokens)},
              {"curve", curve_of(metrics, points)},
              {"evaluations", evaluations_of(metrics, points)},
              {"samples", samples_of(folder, remarks)}};
  if (fs::exists(folder / "audit.json")) {
    auto audit = read_or_remark(folder / "audit.json", remarks);
    if (audit.is_object()) run["audit"] = rounded_all(std::move(audit));
  }
  return run;
}

}  // namespace linformer::report
