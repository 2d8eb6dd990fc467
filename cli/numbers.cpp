// Numbers on the command line. CLI11 takes 010 as 8, 0x10 as 16 and -1 as the largest seed, so each option that holds a
// number gets a check of the text, by its type: a new option can't be without it.
#include <cstdint>
#include <limits>

#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/number.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

template <class Number>
std::string check_whole(const std::string& text) {
  if (parse_number<Number>(text)) return "";
  using Limits = std::numeric_limits<Number>;
  return formatted("'{}' is no whole number from {} to {}", excerpt(text), Limits::min(), Limits::max());
}

std::string check_decimal(const std::string& text) {
  if (parse_number<double>(text)) return "";
  return formatted("'{}' is no number such as 3, 0.5 or 1e-4", excerpt(text));
}

}  // namespace

void check_numbers(CLI::App& app) {
  for (auto* option : app.get_options()) {
    // Fields are text for CLI11, and are read by the same parser (FieldHandle::parse).
    if (option->get_group() == kFieldGroup) continue;
    const auto described = option->get_type_name();  // "INT:INT in [0 - 4096]"
    const auto type = described.substr(0, described.find(':'));
    const auto check = type == "INT"     ? check_whole<std::int64_t>
                       : type == "UINT"  ? check_whole<std::uint64_t>
                       : type == "FLOAT" ? check_decimal
                                         : nullptr;
    // A transformation runs before the option's own checks.
    if (check != nullptr) option->transform(CLI::Validator([check](std::string& text) { return check(text); }, ""));
  }
  for (auto* verb : app.get_subcommands({})) check_numbers(*verb);
}

}  // namespace linformer::cli
