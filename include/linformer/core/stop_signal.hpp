// Lets long work end cleanly when SIGINT (Ctrl-C) or SIGTERM arrives.
#pragma once

namespace linformer {

/// While an object of this class exists, the first SIGINT or SIGTERM only sets a flag. A second signal ends the process
/// at once.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  /// 0 when no signal has come, else SIGINT or SIGTERM. The exit status is then 128 plus that number (130 or 143).
  static int received();
};

}  // namespace linformer
