// One list of fields a config struct: defaults, help, command line, TOML, JSON and checkpoints all read it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace linformer {

/// The names of an enumeration's values, in their order. Specialise for each enumeration that a field holds:
/// `template <> struct EnumNames<Kind> { static constexpr std::array names{"softmax", "linformer"}; };`
template <class Enum>
struct EnumNames;

template <class Enum>
constexpr std::string_view enum_name(Enum value) {
  return EnumNames<Enum>::names[static_cast<std::size_t>(value)];
}

// A config struct S has `template <class Self, class Visitor> static void visit(Self& self, Visitor&& visitor)`, which
// calls `visitor("section.name", self.member, "help")` once a field. Members are std::int64_t, double, bool,
// std::string, an enumeration with EnumNames, std::optional of one of these (std::nullopt reads and prints as "auto"),
// or std::vector<std::int64_t> ("1,2,3").

}  // namespace linformer
