#include "study/benchmark_log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <system_error>

#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/lenient_json.hpp"

namespace linformer {

namespace {

// What a reader asks of a line's values; a file that was edited or merged by hand may hold others.
bool has_types(const json& line) {
  const auto all = [&](std::initializer_list<const char*> keys, auto good) {
    return std::ranges::all_of(keys, [&](const char* key) { return !line.contains(key) || good(line.at(key)); });
  };
  const auto is_text = [](const json& value) { return value.is_string(); };
  const auto is_number = [](const json& value) { return value.is_number(); };
  return all({"type", "status", "reason"}, is_text) &&
         all({"scaled", "at_least"}, [](const json& value) { return value.is_boolean(); }) &&
         all({"budget_bytes", "resident_peak_bytes", "allocator_base_bytes", "allocator_peak_bytes", "state_bytes",
              "seconds", "low", "high", "batch", "length"},
             is_number);
}

}  // namespace

BenchmarkLog::BenchmarkLog(const std::filesystem::path& folder, bool fresh) : path_(folder / "benchmark.jsonl") {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  require(!error, "{}: the folder can't be made: {}", folder.string(), error.message());
  lock_.emplace(folder);
  descriptor_ = open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  require(descriptor_ >= 0, "{}: can't be written: {}", path_.string(), std::strerror(errno));
  try {
    if (fresh)
      require(ftruncate(descriptor_, 0) == 0, "{}: can't be emptied: {}", path_.string(), std::strerror(errno));
    read();
  } catch (...) {
    close(descriptor_);
    throw;
  }
}

BenchmarkLog::~BenchmarkLog() { close(descriptor_); }

void BenchmarkLog::read() {
  const auto text = read_file(path_);
  std::size_t start = 0, number = 0;
  while (start < text.size()) {
    const auto end = text.find('\n', start);
    const bool cut = end == std::string::npos;
    const auto line = text.substr(start, cut ? std::string::npos : end - start);
    ++number;
    auto value = parse_json_or_discard(line);
    const bool good = value.is_object() && value.contains("type");
    if (cut) {  // the lines before it stay; a whole object would only lack its end of line, and is measured again all
                // the same
      remarks_.push_back(formatted("{} line {}: was cut off in writing, and is dropped", path_.string(), number));
      require(ftruncate(descriptor_, static_cast<off_t>(start)) == 0, "{}: can't be mended: {}", path_.string(),
              std::strerror(errno));
      return;
    }
    if (good && !has_types(value))
      remarks_.push_back(formatted("{} line {}: has values of other types than a benchmark's, and is skipped",
                                   path_.string(), number));
    else if (good)
      lines_.push_back(std::move(value));
    else if (!line.empty())
      remarks_.push_back(
          formatted("{} line {}: is not a JSON object with a type, and is skipped", path_.string(), number));
    start = end + 1;
  }
}

std::optional<json> BenchmarkLog::find(const BenchmarkPoint& point) const {
  const auto wanted = canonical(point);
  for (auto line = lines_.rbegin(); line != lines_.rend(); ++line) {
    if (line->at("type") != "point") continue;
    try {
      if (point_of(*line) == wanted) return *line;
    } catch (const std::exception&) {  // of another version: not this point
    }
  }
  return std::nullopt;
}

void BenchmarkLog::append(const json& line) {
  const auto text = dump(line) + '\n';
  for (std::size_t done = 0; done < text.size();) {
    const auto count = write(descriptor_, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    require(count > 0, "{}: can't be written: {}", path_.string(), std::strerror(errno));
    done += static_cast<std::size_t>(count);
  }
  fdatasync(descriptor_);
  lines_.push_back(line);
  grown_ = grown_ || line.at("type") == "point";
}

void BenchmarkLog::append_result(const json& line) {
  if (grown_ || std::ranges::find(lines_, line) == lines_.end()) append(line);
}

}  // namespace linformer
