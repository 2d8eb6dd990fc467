// Controls how the program manages its memory. A library leaves that to the program that uses it.
#pragma once

namespace linformer::cli {

/// Keeps freed buffers for the next step instead of giving them back to the kernel, which would clear every page again.
/// Works with glibc. Does nothing elsewhere, or when the user has set MALLOC_* or glibc.malloc tunables. Call it before
/// the first thread starts.
void keep_freed_memory();

}  // namespace linformer::cli
