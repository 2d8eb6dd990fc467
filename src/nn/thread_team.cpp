#include "nn/thread_team.hpp"

namespace linformer::nn {

namespace {

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins for some tens of microseconds, then sleeps, so that a busy machine gets its processor back.
void wait_while(const std::atomic<int>& value, int old) {
  for (int i = 0; i < 2000; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadTeam::ThreadTeam(int size) : size_(size) {
  for (int member = 1; member < size; ++member) threads_.emplace_back([this, member] { serve(member); });
}

ThreadTeam::~ThreadTeam() {
  stopping_ = true;
  start();
  for (auto& thread : threads_) thread.join();
}

void ThreadTeam::start() {
  started_.fetch_add(1, std::memory_order_release);
  started_.notify_all();
}

void ThreadTeam::serve(int member) {
  for (int seen = 0;; ++seen) {
    wait_while(started_, seen);
    if (stopping_.load(std::memory_order_acquire)) return;
    call_(job_, member);
    barrier();
  }
}

void ThreadTeam::barrier() {
  const int before = passed_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    arrived_.store(0, std::memory_order_relaxed);
    next_.store(0, std::memory_order_relaxed);
    passed_.store(before + 1, std::memory_order_release);
    passed_.notify_all();
  } else {
    wait_while(passed_, before);
  }
}

}  // namespace linformer::nn
