// Describes the machine on which something was measured.
#pragma once

#include "linformer/core/json_fwd.hpp"

namespace linformer {

/// {"processor", "cores", "memory_bytes", "isa" (of our kernels), "libtorch", "threads" (of this process)}. Every
/// measurement carries these facts, because a time means nothing without them.
json describe_machine();

}  // namespace linformer
