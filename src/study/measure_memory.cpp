#include "study/measure_memory.hpp"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <fstream>
#include <string>

namespace linformer {
namespace {

// "VmHWM:     12345 kB" of a file of such lines.
std::int64_t kibibytes(const char* file, std::string_view key) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(key)) return std::stoll(line.substr(key.size())) * 1024;
  }
  return 0;
}

class Reporter final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, std::int64_t bytes, std::size_t, std::size_t, c10::Device) override {
    const auto now = current.fetch_add(bytes) + bytes;
    auto most = peak.load();
    while (now > most && !peak.compare_exchange_weak(most, now)) {
    }
  }
  bool memoryProfilingEnabled() const override { return true; }
  std::atomic<std::int64_t> current = 0, peak = 0;
};

}  // namespace

std::int64_t resident_bytes() { return kibibytes("/proc/self/status", "VmRSS:"); }
std::int64_t resident_peak_bytes() { return kibibytes("/proc/self/status", "VmHWM:"); }
std::int64_t available_memory_bytes() { return kibibytes("/proc/meminfo", "MemAvailable:"); }

void limit_memory(std::int64_t bytes) {
  // Limits data, not address space: mapped libraries and reserved but unused ranges are not memory.
  const auto held = kibibytes("/proc/self/status", "VmData:");
  rlimit limit{};
  getrlimit(RLIMIT_DATA, &limit);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, static_cast<rlim_t>(held + bytes));
  setrlimit(RLIMIT_DATA, &limit);
}

bool is_out_of_memory(std::string_view message) {
  constexpr std::array signs{"allocate memory", "not enough memory",      "out of memory",
                             "bad_alloc",       "Cannot allocate memory", "could not create a memory"};
  return std::ranges::any_of(signs, [&](const char* sign) { return message.find(sign) != std::string_view::npos; });
}

struct AllocatorCount::Impl {
  std::shared_ptr<Reporter> reporter = std::make_shared<Reporter>();
  c10::DebugInfoGuard guard{c10::DebugInfoKind::PROFILER_STATE, reporter};
};

AllocatorCount::AllocatorCount() : impl_(std::make_unique<Impl>()) {}
AllocatorCount::~AllocatorCount() = default;
std::int64_t AllocatorCount::current() const { return impl_->reporter->current; }
std::int64_t AllocatorCount::peak() const { return impl_->reporter->peak; }

}  // namespace linformer
