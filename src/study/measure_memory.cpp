#include "study/measure_memory.hpp"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <atomic>

namespace linformer {
namespace {

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

struct AllocatorCount::Impl {
  std::shared_ptr<Reporter> reporter = std::make_shared<Reporter>();
  c10::DebugInfoGuard guard{c10::DebugInfoKind::PROFILER_STATE, reporter};
};

AllocatorCount::AllocatorCount() : impl_(std::make_unique<Impl>()) {}
AllocatorCount::~AllocatorCount() = default;
std::int64_t AllocatorCount::current() const { return impl_->reporter->current; }
std::int64_t AllocatorCount::peak() const { return impl_->reporter->peak; }

}  // namespace linformer
