// What an error says.
#pragma once

#include <string>

#include "linformer/core/error.hpp"

namespace linformer::test {

/// What the UserError of `action` says, or "no error".
template <class Action>
std::string message_of(Action&& action) {
  try {
    action();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace linformer::test
