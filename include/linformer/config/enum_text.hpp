// Reads the value of an enumeration from text.
#pragma once

#include <string_view>

#include "linformer/config/field.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"

namespace linformer {

/// UserError names what the text should be (`what`), and the allowed names.
template <class Enum>
Enum enum_of(std::string_view text, std::string_view what) {
  const auto& names = EnumNames<Enum>::names;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == text) return static_cast<Enum>(i);
  }
  fail("{} is '{}', expected one of {}", what, excerpt(text), joined(names, ", "));
}

}  // namespace linformer
