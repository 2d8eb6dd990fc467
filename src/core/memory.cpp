#include "linformer/core/memory.hpp"

#include <sys/resource.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <limits>

#include "linformer/core/format.hpp"

namespace linformer {
namespace {

constexpr auto kNoLimit = std::numeric_limits<std::int64_t>::max();

// "VmHWM:     12345 kB" of a file of such lines.
std::int64_t kibibytes(const char* file, std::string_view key) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(key)) return std::stoll(line.substr(key.size())) * 1024;
  }
  return 0;
}

// What a limit on this process leaves it, of which it holds what /proc says under `key`.
std::int64_t left_of(__rlimit_resource resource, std::string_view key) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kNoLimit;
  return std::max<std::int64_t>(static_cast<std::int64_t>(limit.rlim_cur) - kibibytes("/proc/self/status", key), 0);
}

// What the container's limit leaves at most, under the names of both versions of control groups. "max" and a missing
// file are no limit.
std::int64_t left_in_container() {
  auto limit = kNoLimit;
  for (const auto* name : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(name);
    if (std::int64_t bytes = 0; file >> bytes) limit = std::min(limit, bytes);
  }
  return limit == kNoLimit ? limit : std::max<std::int64_t>(limit - resident_bytes(), 0);
}

std::int64_t within_limits(std::int64_t bytes) {
  return std::min({bytes, left_in_container(), left_of(RLIMIT_DATA, "VmData:"), left_of(RLIMIT_AS, "VmSize:")});
}

}  // namespace

std::int64_t resident_bytes() { return kibibytes("/proc/self/status", "VmRSS:"); }
std::int64_t resident_peak_bytes() { return kibibytes("/proc/self/status", "VmHWM:"); }
std::int64_t available_memory_bytes() { return within_limits(kibibytes("/proc/meminfo", "MemAvailable:")); }
std::int64_t available_memory_and_swap_bytes() {
  return within_limits(kibibytes("/proc/meminfo", "MemAvailable:") + kibibytes("/proc/meminfo", "SwapFree:"));
}

void limit_memory(std::int64_t bytes) {
  // Data rather than address space: mapped libraries and reserved but unused ranges are no memory.
  const auto held = kibibytes("/proc/self/status", "VmData:");
  rlimit limit{};
  getrlimit(RLIMIT_DATA, &limit);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, static_cast<rlim_t>(held + bytes));
  setrlimit(RLIMIT_DATA, &limit);
}

void give_back_free_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

bool is_out_of_memory(std::string_view message) {
  // The last is of a size that no address can hold.
  constexpr std::array signs{
      "allocate memory",        "not enough memory",         "out of memory",         "bad_alloc",
      "Cannot allocate memory", "could not create a memory", "calculation overflowed"};
  return std::ranges::any_of(signs, [&](const char* sign) { return message.find(sign) != std::string_view::npos; });
}

std::int64_t bytes_asked_for(std::string_view message) {
  constexpr std::string_view kBefore = "you tried to allocate ";
  const auto place = message.find(kBefore);
  std::int64_t bytes = 0;
  if (place == std::string_view::npos) return bytes;
  std::from_chars(message.data() + place + kBefore.size(), message.data() + message.size(), bytes);
  return bytes;
}

std::string format_bytes(double bytes) {
  constexpr std::array units{"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
  std::size_t unit = 0;
  for (; bytes >= 999.5 && unit + 1 < units.size(); ++unit) bytes /= 1000;
  return formatted("{:.{}f} {}", bytes, unit > 0 && bytes < 99.95 ? 1 : 0, units[unit]);
}

}  // namespace linformer
