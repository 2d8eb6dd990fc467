// What a figure was measured on.
#pragma once

#include "linformer/core/json.hpp"

namespace linformer {

/// {"processor", "cores", "memory_bytes", "isa" (of our kernels), "libtorch", "threads" (of this process)}: the same
/// facts beside every measurement, since a time means nothing without them.
json describe_machine();

}  // namespace linformer
