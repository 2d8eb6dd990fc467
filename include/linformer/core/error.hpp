// Errors that a user can mend.
#pragma once

#include <stdexcept>
#include <string>

#include "linformer/core/format.hpp"

namespace linformer {

/// Something the user can mend: a wrong value, file or combination. The program prints the message and ends with
/// status 2. The message names the value, what was expected and what to change.
class UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws UserError with a message, as formatted() makes it.
template <class... Arguments>
[[noreturn]] void fail(FormatPattern<Arguments...> pattern, const Arguments&... arguments) {
  throw UserError(formatted<Arguments...>(pattern, arguments...));
}

/// Throws UserError with a message unless `condition` holds; the message is made only then.
template <class... Arguments>
void require(bool condition, FormatPattern<Arguments...> pattern, const Arguments&... arguments) {
  if (!condition) [[unlikely]]
    fail<Arguments...>(pattern, arguments...);
}

}  // namespace linformer
