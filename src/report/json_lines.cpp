#include "report/json_lines.hpp"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/lenient_json.hpp"

namespace linformer::report {
namespace {

struct Damage {
  std::size_t lines = 0, first = 0;
  void add(std::size_t line) {
    if (lines++ == 0) first = line;
  }
};

bool use_line(std::string_view line, const std::function<void(json&)>& use) {
  try {
    auto object = parse_json_or_discard(line);
    if (!object.is_object()) return false;
    use(object);
    return true;
  } catch (const json::exception&) {
    return false;
  }
}

}  // namespace

void Remarks::add(const std::filesystem::path& path, const std::string& text) {
  list_.push_back({{"path", path.string()}, {"text", text}});
}

void read_lines(const std::filesystem::path& path, Remarks& remarks, const std::function<void(json&)>& use) {
  std::string content;
  try {
    content = read_file(path);
  } catch (const UserError& error) {
    remarks.add(path, error.what());
    return;
  }
  Damage damage;
  std::size_t number = 0;
  for (std::size_t place = 0; place < content.size();) {
    const auto end = content.find('\n', place);
    const auto line = std::string_view(content).substr(place, end == std::string::npos ? end : end - place);
    ++number;
    if (line.find_first_not_of(" \t\r") != std::string::npos && !use_line(line, use)) {
      if (end == std::string::npos) {
        remarks.add(
            path, "the last line is cut: it is being written, or the program was killed; the lines before it are used");
      } else {
        damage.add(number);
      }
    }
    if (end == std::string::npos) break;
    place = end + 1;
  }
  if (damage.lines > 0) {
    remarks.add(path, formatted("{} damaged or unknown line{} left out, the first at line {}", damage.lines,
                                damage.lines == 1 ? "" : "s", damage.first));
  }
}

json read_or_remark(const std::filesystem::path& path, Remarks& remarks) {
  try {
    auto value = read_json(path);
    if (value.is_object()) return value;
    remarks.add(path, "holds no JSON object; left out");
  } catch (const UserError& error) {
    remarks.add(path, std::string(error.what()) + "; left out");
  }
  return nullptr;
}

double number(const json& object, const char* key, double otherwise) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || found == object.end() || !found->is_number()) return otherwise;
  const auto value = found->get<double>();
  return std::isfinite(value) ? value : otherwise;
}

std::string text(const json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

json rounded(double value) {
  if (!std::isfinite(value)) return nullptr;
  // Whole numbers stay so in the text of the page.
  if (std::abs(value) < 1e15 && value == std::floor(value)) return static_cast<std::int64_t>(value);
  return std::strtod(formatted("{:.6g}", value).c_str(), nullptr);
}

json rounded(const std::vector<double>& values) {
  json list = json::array();
  for (const double value : values) list.push_back(rounded(value));
  return list;
}

json rounded_all(json value) {
  if (value.is_number_float()) return rounded(value.get<double>());
  if (value.is_structured()) {
    for (auto& part : value) part = rounded_all(std::move(part));
  }
  return value;
}

}  // namespace linformer::report
