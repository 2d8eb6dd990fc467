// SIGINT and SIGTERM as a request that long work looks at.
#pragma once

namespace linformer {

/// While it lives, SIGINT and SIGTERM set a flag instead of ending the process; a second signal ends it at once.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  /// 0 while none came, then SIGINT or SIGTERM; the exit status is 128 plus that number (130, 143).
  static int received();
};

}  // namespace linformer
