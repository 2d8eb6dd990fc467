// Controls how the program manages its memory, which a library leaves to the program that uses it, and what it says
// when there is no more.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

namespace linformer::cli {

/// Keeps freed buffers for the next step instead of giving them back to the kernel, which would clear every page again.
/// Works with glibc. Does nothing elsewhere, or when the user has set MALLOC_* or glibc.malloc tunables. Call it before
/// the first thread starts.
void keep_freed_memory();

/// The message for a user whose verb ran out of memory. It says how much was asked for, if `error`, the message of the
/// exception, says it; how much is free; and which of the flags that were given decide it.
std::string out_of_memory(const CLI::App& app, std::string_view error);

}  // namespace linformer::cli
