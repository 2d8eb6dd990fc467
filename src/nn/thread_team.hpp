// Threads that go through one job side by side, with barriers that cost less than a wake-up: a decode step has dozens of short stages.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace linformer::nn {

class ThreadTeam {
 public:
  explicit ThreadTeam(int size);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return size_; }
  /// job(member) on every member, the caller as member 0; returns when all are done. Jobs must not throw.
  template <class Job>
  void run(Job& job) {
    call_ = [](void* object, int member) { (*static_cast<Job*>(object))(member); };
    job_ = &job;
    start();
    job(0);
    barrier();
  }
  /// Inside a job, by all members: work(first, last) on shares of [0, count) in steps of `step`, whoever is free first; returns when
  /// everything is done.
  template <class Work>
  void share(std::int64_t count, std::int64_t step, Work&& work) {
    for (auto first = next_.fetch_add(step, std::memory_order_relaxed); first < count; first = next_.fetch_add(step, std::memory_order_relaxed)) {
      work(first, std::min(first + step, count));
    }
    barrier();
  }

 private:
  void start();
  void barrier();
  void serve(int member);

  const int size_;
  void (*call_)(void*, int) = nullptr;
  void* job_ = nullptr;
  std::atomic<bool> stopping_{false};
  alignas(64) std::atomic<int> started_{0};
  alignas(64) std::atomic<int> passed_{0};   // barriers
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<std::int64_t> next_{0};
  std::vector<std::thread> threads_;
};

}  // namespace linformer::nn
