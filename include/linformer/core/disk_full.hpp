// The error for a full disk. A caller that has more to write should stop when it meets this error.
#pragma once

#include <cerrno>
#include <string>

#include "linformer/core/error.hpp"

namespace linformer {

/// A write failed because there is no room: the disk is full, a quota is used up, or the limit on file sizes is
/// reached. Every later write would fail too.
class DiskFull : public UserError {
 public:
  using UserError::UserError;
};

/// Throws the error for a write that failed with `error_number` (errno): DiskFull when there is no room, else
/// UserError.
[[noreturn]] inline void fail_to_write(int error_number, const std::string& message) {
  if (error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG) throw DiskFull(message);
  throw UserError(message);
}

}  // namespace linformer
