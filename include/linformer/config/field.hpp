// Each config struct has one list of its fields. Defaults, help, command line, TOML, JSON and checkpoints all read it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace linformer {

/// The names of an enumeration's values, in the order of the values. Specialise it for each enumeration that a field
/// holds: `template <> struct EnumNames<Kind> { static constexpr std::array names{"softmax", "linformer"}; };`
template <class Enum>
struct EnumNames;

template <class Enum>
constexpr std::string_view enum_name(Enum value) {
  return EnumNames<Enum>::names[static_cast<std::size_t>(value)];
}

// A config struct S has `template <class Self, class Visitor> static void visit(Self& self, Visitor&& visitor)`. It
// calls `visitor("section.name", self.member, "help")` once for each field. A member is one of these: std::int64_t,
// double, bool, std::string, an enumeration with EnumNames, std::optional of one of these (std::nullopt reads and
// prints as "auto"), or std::vector<std::int64_t> ("1,2,3").

}  // namespace linformer
