// Threads that go through one job of many short stages side by side. A stage waits for whoever works on it, not for a
// thread that the system hasn't given a processor: on a busy machine the others do its share.
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
  /// job(member) on every member, the caller as member 0; returns when member 0 has passed the last stage, so that all
  /// work is done. A job is a row of calls of share(), the same for each member, and must not throw. What it reads
  /// outside of shares, itself included, must stay until settle().
  template <class Job>
  void run(Job& job) {
    settle();
    call_ = [](void* object, int member) { (*static_cast<Job*>(object))(member); };
    job_ = &job;
    start();
    job(0);
  }
  /// Returns when no member is in a job any more.
  void settle();
  /// Inside a job: work(first, last) on pieces of [0, count) of `step`, count > 0, each by whoever is free; returns
  /// when all are done.
  template <class Work>
  void share(int member, std::int64_t count, std::int64_t step, Work&& work) {
    const auto stage = stages_[static_cast<std::size_t>(member)].number++;
    const auto pieces = static_cast<std::uint32_t>((count + step - 1) / step);
    auto ticket = ticket_.load(std::memory_order_acquire);
    while (stage_of(ticket) == stage) {
      const auto piece = static_cast<std::uint32_t>(ticket);
      if (piece >= pieces) {
        wait_while(ticket_, ticket);
        return;
      }
      if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel, std::memory_order_acquire))
        continue;
      work(piece * step, std::min((piece + 1) * step, count));
      if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == pieces) {
        open(stage + 1);
        return;
      }
      ticket = ticket_.load(std::memory_order_acquire);
    }
  }

 private:
  struct alignas(64) Stage {
    std::uint32_t number = 0;
  };
  static std::uint32_t stage_of(std::uint64_t ticket) { return static_cast<std::uint32_t>(ticket >> 32); }
  static void wait_while(const std::atomic<std::uint64_t>& value, std::uint64_t old);
  void open(std::uint32_t stage);
  void start();
  void serve(int member);

  const int size_;
  void (*call_)(void*, int) = nullptr;
  void* job_ = nullptr;
  std::atomic<bool> stopping_{false};
  alignas(64) std::atomic<std::uint64_t> started_{0};  // jobs
  alignas(64) std::atomic<std::uint64_t> idle_;        // members other than 0 that are out of the last job
  alignas(64) std::atomic<std::uint64_t> ticket_{0};   // the stage at work, and its next piece in the low half
  alignas(64) std::atomic<std::uint32_t> done_{0};     // pieces of that stage
  std::vector<Stage> stages_;                          // where each member is
  std::vector<std::thread> threads_;
};

}  // namespace linformer::nn
