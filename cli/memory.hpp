// How the program's memory is managed, which the libraries leave to whoever runs them; and what is said when it ends.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

namespace linformer::cli {

/// Keeps freed buffers for the next step instead of giving them back to the kernel, which would clear every page again.
/// Works with glibc. Does nothing elsewhere, or when the user has set MALLOC_* or glibc.malloc tunables. Call it before
/// the first thread starts.
void keep_freed_memory();

/// What to tell the user when memory ran out in a verb of `app`: what was asked for, as far as `error`, the message of
/// the exception, says it; what there is; and which of the flags that were given decide it.
std::string out_of_memory(const CLI::App& app, std::string_view error);

}  // namespace linformer::cli
