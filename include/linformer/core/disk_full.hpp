// The error of which a caller with more to write should not go on.
#pragma once

#include <cerrno>
#include <string>

#include "linformer/core/error.hpp"

namespace linformer {

/// A write failed because there is no room: the disk is full, or a quota or the limit on file sizes is reached. Each
/// later write would fail too.
class DiskFull : public UserError {
 public:
  using UserError::UserError;
};

/// The error of a write that failed with `error_number` (errno): DiskFull, or UserError.
[[noreturn]] inline void fail_to_write(int error_number, const std::string& message) {
  if (error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG) throw DiskFull(message);
  throw UserError(message);
}

}  // namespace linformer
