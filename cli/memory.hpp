// How the program's memory is managed; the libraries leave that to whoever runs them.
#pragma once

namespace linformer::cli {

/// Keeps freed buffers for the next step instead of giving them back to the kernel, which would clear every page of
/// them again. For glibc; nothing elsewhere, and nothing where the user has set MALLOC_* or glibc.malloc tunables. Call
/// before the first thread starts.
void keep_freed_memory();

}  // namespace linformer::cli
