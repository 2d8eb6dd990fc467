#include "train/metrics.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>

#include "linformer/core/disk_full.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/lenient_json.hpp"
#include "train/event_file.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

std::vector<json> kept_lines(const fs::path& path, std::int64_t last_step) {
  std::vector<json> lines;
  if (!fs::exists(path)) return lines;
  const auto text = read_file(path);
  // The bytes after the last line end are an incomplete line.
  for (std::size_t start = 0, end; (end = text.find('\n', start)) != std::string::npos; start = end + 1) {
    auto line = parse_json_or_discard(std::string_view(text).substr(start, end - start));
    if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer()) continue;
    if (line["step"].get<std::int64_t>() <= last_step) lines.push_back(std::move(line));
  }
  return lines;
}

std::string record_of(const json& line) {
  ScalarEvent event{.time = line.value("time", 0.0), .step = line.at("step").get<std::int64_t>(), .values = {}};
  for (const auto& [key, value] : line.items()) {
    if (value.is_number() && key != "step" && key != "time") event.values.emplace_back(key, value.get<double>());
  }
  return event_record(event);
}

}  // namespace

MetricsLog::MetricsLog(const fs::path& run, std::int64_t last_step) : metrics_path_(run / "metrics.jsonl") {
  const auto lines = kept_lines(metrics_path_, last_step);
  std::string text, events = event_file_header(now());
  for (const auto& line : lines) {
    text += line.dump() + "\n";
    events += record_of(line);
  }
  write_atomically(metrics_path_, text);
  const auto folder = run / "tensorboard";
  fs::create_directories(folder);
  std::vector<fs::path> older;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) older.push_back(entry.path());
  }
  events_path_ = folder / formatted("events.out.tfevents.{}.linformer", static_cast<std::int64_t>(now()));
  write_atomically(events_path_, events);
  for (const auto& path : older) {
    if (path != events_path_) fs::remove(path);
  }
  metrics_.open(metrics_path_, std::ios::app | std::ios::binary);
  events_.open(events_path_, std::ios::app | std::ios::binary);
}

void MetricsLog::write(json line) {
  line["time"] = now();
  append(metrics_, metrics_path_, line.dump() + "\n");
  append(events_, events_path_, record_of(line));
}

void MetricsLog::append(std::ofstream& file, const fs::path& path, const std::string& bytes) {
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.flush();
  if (file.good()) return;
  const int reason = errno;
  fail_to_write(reason, formatted("{}: can't be written ({}); make room for it: the run can be resumed", path.string(),
                                  std::strerror(reason)));
}

}  // namespace linformer
