// How much memory this process has, had and may have.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace linformer {

std::int64_t resident_bytes();       ///< now
std::int64_t resident_peak_bytes();  ///< the most there was
/// What this process can still take without swapping: the kernel's estimate, or less where the container or a limit on
/// the process (ulimit) allows less.
std::int64_t available_memory_bytes();
/// The same with the free swap: what asks for more can't run.
std::int64_t available_memory_and_swap_bytes();

/// From now on an allocation that takes the process more than `bytes` above what it holds fails, instead of taking the
/// machine down.
void limit_memory(std::int64_t bytes);

/// Gives the system what was freed and lies in holes of the heap. Takes milliseconds; what is touched again costs more.
void give_back_free_memory();

/// Whether an exception with this message says that memory ran out.
bool is_out_of_memory(std::string_view message);
/// The bytes that such a message says were asked for at once; 0 where it doesn't say.
std::int64_t bytes_asked_for(std::string_view message);

/// "512 MB", "12.5 GB", "1.2 TB".
std::string format_bytes(double bytes);

}  // namespace linformer
