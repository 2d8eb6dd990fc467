// Reads JSON lines, also files that a process is still writing, that a kill left incomplete, or that a newer program
// wrote.
#pragma once

#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "linformer/core/json.hpp"

namespace linformer::report {

/// What a reader of the page should know, with the path that it is about.
class Remarks {
 public:
  void add(const std::filesystem::path& path, const std::string& text);
  const json& list() const { return list_; }

 private:
  json list_ = json::array();
};

/// Calls `use` with each object of the file. One remark counts the lines that don't parse, and those for which `use`
/// throws because a key is missing or has another type. A last line without a line end is being written, or was left by
/// a kill.
void read_lines(const std::filesystem::path& path, Remarks& remarks, const std::function<void(json&)>& use);

/// Reads a whole JSON file. Returns null, with a remark, when it is missing or damaged.
json read_or_remark(const std::filesystem::path& path, Remarks& remarks);

/// A number that isn't there.
inline constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
/// object[key] as a finite number, or `otherwise`.
double number(const json& object, const char* key, double otherwise);
/// object[key] as text, or "".
std::string text(const json& object, const char* key);
/// Rounds to six significant digits: more than a screen shows, and half the bytes. Null when not finite.
json rounded(double value);
json rounded(const std::vector<double>& values);
/// Every number in it rounded.
json rounded_all(json value);

}  // namespace linformer::report
