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

}  // namespace

// Waits actively for some tens of microseconds, then sleeps, so that a busy machine can use the processor.
void ThreadTeam::wait_while(const std::atomic<std::uint64_t>& value, std::uint64_t old) {
  for (int i = 0; i < 2000; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  value.wait(old, std::memory_order_acquire);
}

ThreadTeam::ThreadTeam(int size)
    : size_(size), idle_(static_cast<std::uint64_t>(size - 1)), stages_(static_cast<std::size_t>(size)) {
  for (int member = 1; member < size; ++member) threads_.emplace_back([this, member] { serve(member); });
}

ThreadTeam::~ThreadTeam() {
  settle();
  stopping_ = true;
  start();
  for (auto& thread : threads_) thread.join();
}

void ThreadTeam::settle() {
  const auto all = static_cast<std::uint64_t>(size_ - 1);
  for (auto idle = idle_.load(std::memory_order_acquire); idle != all; idle = idle_.load(std::memory_order_acquire))
    wait_while(idle_, idle);
}

void ThreadTeam::start() {
  idle_.store(0, std::memory_order_relaxed);
  started_.fetch_add(1, std::memory_order_release);
  started_.notify_all();
}

// All pieces of the last stage are done, so no other thread writes here.
void ThreadTeam::open(std::uint32_t stage) {
  done_.store(0, std::memory_order_relaxed);
  ticket_.store(static_cast<std::uint64_t>(stage) << 32, std::memory_order_release);
  ticket_.notify_all();
}

void ThreadTeam::serve(int member) {
  for (std::uint64_t seen = 0;; ++seen) {
    while (started_.load(std::memory_order_acquire) == seen) wait_while(started_, seen);
    if (stopping_.load(std::memory_order_acquire)) return;
    call_(job_, member);
    idle_.fetch_add(1, std::memory_order_acq_rel);
    idle_.notify_all();
  }
}

}  // namespace linformer::nn
