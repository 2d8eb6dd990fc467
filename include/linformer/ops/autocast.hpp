// Autocast, where arithmetic chooses its own dtypes.
#pragma once

#include <ATen/autocast_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <optional>

namespace linformer::ops {

/// While this lives, autocast leaves this thread's operations as they are: it would round to bfloat16 what was made
/// float32 on purpose.
class AutocastOff {
 public:
  explicit AutocastOff(at::DeviceType device) {
    if (at::autocast::is_autocast_available(device))
      exclude_.emplace(at::autocast::get_autocast_dispatch_key_from_device_type(device));
  }

 private:
  std::optional<c10::impl::ExcludeDispatchKeyGuard> exclude_;
};

}  // namespace linformer::ops
