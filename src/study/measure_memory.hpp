// How much memory this process has, had and may have.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

namespace linformer {

std::int64_t resident_bytes();       ///< now
std::int64_t resident_peak_bytes();  ///< the most there was
/// The kernel's estimate of what new processes can use without swapping.
std::int64_t available_memory_bytes();

/// From now on, an allocation fails if it would take the process more than `bytes` above what it holds now. So the
/// machine stays usable.
void limit_memory(std::int64_t bytes);
/// True when the exception that is being handled says that memory ran out.
bool is_out_of_memory(std::string_view message);

/// While it lives, counts what this thread's tensors take from LibTorch's allocator.
class AllocatorCount {
 public:
  AllocatorCount();
  ~AllocatorCount();
  AllocatorCount(const AllocatorCount&) = delete;
  AllocatorCount& operator=(const AllocatorCount&) = delete;
  std::int64_t current() const;
  std::int64_t peak() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace linformer
