// What tensors take.
#pragma once

#include <cstdint>
#include <memory>

namespace linformer {

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
