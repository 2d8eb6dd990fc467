// JSON lines as killed, running and newer programs leave them.
#pragma once

#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "linformer/core/json.hpp"

namespace linformer::report {

/// What a reader of the page should know, beside the path that it is about.
class Remarks {
 public:
  void add(const std::filesystem::path& path, const std::string& text);
  const json& list() const { return list_; }

 private:
  json list_ = json::array();
};

/// Calls `use` with each object of the file. Lines that don't parse, or whose use throws because a key is missing or of
/// another type, are counted in one remark; a last line without its newline is one that is being written, or that a
/// kill cut.
void read_lines(const std::filesystem::path& path, Remarks& remarks, const std::function<void(json&)>& use);

/// A whole JSON file; null with a remark when it is missing or damaged.
json read_or_remark(const std::filesystem::path& path, Remarks& remarks);

/// A number that isn't there.
inline constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
/// object[key] as a finite number, or `otherwise`.
double number(const json& object, const char* key, double otherwise);
/// object[key] as text, or "".
std::string text(const json& object, const char* key);
/// Six significant digits: more than a screen shows, half the bytes. Null for what is not finite.
json rounded(double value);
json rounded(const std::vector<double>& values);
/// Every number in it rounded.
json rounded_all(json value);

}  // namespace linformer::report
