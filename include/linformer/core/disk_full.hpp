// The error of which a caller with more to write should not go on.
#pragma once

#include <cerrno>

#include "linformer/core/error.hpp"

namespace linformer {

/// A write failed because there is no room: the disk is full, or a quota or the limit on file sizes is reached. Each later write would fail too.
class DiskFull : public UserError {
 public:
  using UserError::UserError;
};

inline bool is_disk_full(int error_number) { return error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG; }

}  // namespace linformer
