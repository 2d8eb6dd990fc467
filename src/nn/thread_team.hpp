// Threads that work side by side on a job of many short stages. A stage waits only for threads that work on it. So on a
// busy machine it doesn't wait for a thread that the system has put aside: the others do its work.
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
  /// Runs job(member) on every member; the caller is member 0. Returns when member 0 has passed the last stage; all
  /// work is then done. A job is a sequence of calls of share(), the same for each member, and must not throw.
  /// Everything that a job reads outside of share(), and the job itself, must exist until settle().
  template <class Job>
  void run(Job& job) {
    settle();
    call_ = [](void* object, int member) { (*static_cast<Job*>(object))(member); };
    job_ = &job;
    start();
    job(0);
  }
  /// Returns when no member is inside a job any more.
  void settle();
  /// Call it inside a job. Runs work(first, last) on pieces of [0, count) with `step` entries each (count > 0); any
  /// free member takes a piece. Returns when all pieces are done.
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
  alignas(64) std::atomic<std::uint64_t> started_{0};  // number of jobs started
  alignas(64) std::atomic<std::uint64_t> idle_;        // members, except member 0, that have left the last job
  alignas(64) std::atomic<std::uint64_t> ticket_{0};   // the current stage, and its next piece in the low half
  alignas(64) std::atomic<std::uint32_t> done_{0};     // finished pieces of the current stage
  std::vector<Stage> stages_;                          // the stage that each member has reached
  std::vector<std::thread> threads_;
};

}  // namespace linformer::nn
