// Built with ThreadSanitizer, alone: LibTorch and its OpenMP are not instrumented, so that a program with them would
// report races that are none. The team is the one place where our own threads hand work to each other; kernels only
// split ranges with the engine's parallel_for.
#include "nn/thread_team.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace linformer::nn {
namespace {

// Stage by stage each number becomes the sum of two of the stage before: wrong if a stage starts early, a piece is lost
// or done twice.
struct Stages {
  ThreadTeam& team;
  std::vector<long> numbers, next;
  int stages;
  std::int64_t step;

  void operator()(int member) {
    const auto size = static_cast<std::int64_t>(numbers.size());
    for (int stage = 0; stage < stages; ++stage) {
      auto& from = stage % 2 == 0 ? numbers : next;
      auto& to = stage % 2 == 0 ? next : numbers;
      team.share(member, size, step, [&](std::int64_t first, std::int64_t last) {
        for (auto i = first; i < last; ++i) {
          const auto other = (i + 1 + stage) % size;
          to[static_cast<std::size_t>(i)] =
              (from[static_cast<std::size_t>(i)] + from[static_cast<std::size_t>(other)]) % 1000003;
        }
      });
    }
  }
};

std::vector<long> results(int threads, int stages, std::int64_t step, int jobs) {
  ThreadTeam team(threads);
  Stages work{team, std::vector<long>(37), std::vector<long>(37), stages, step};
  std::iota(work.numbers.begin(), work.numbers.end(), 1);
  for (int job = 0; job < jobs; ++job) {
    team.run(work);
    team.settle();
    work.numbers.front() += 1;  // between jobs the caller may write
  }
  return work.numbers;
}

TEST(ThreadTeam, EveryStageSeesTheOneBeforeWhole) {
  for (const std::int64_t step : {1, 5, 40}) {
    const auto alone = results(1, 44, step, 50);
    for (const int threads : {2, 3, 5})
      EXPECT_EQ(results(threads, 44, step, 50), alone) << threads << " threads, pieces of " << step;
  }
}

TEST(ThreadTeam, ResultsOfSharesAreReadableRightAfterRun) {
  ThreadTeam team(2);
  std::vector<int> counts(9);
  struct Job {
    ThreadTeam& team;
    std::vector<int>& counts;
    void operator()(int member) {
      team.share(member, 9, 2, [&](std::int64_t first, std::int64_t last) {
        for (auto i = first; i < last; ++i) ++counts[static_cast<std::size_t>(i)];
      });
    }
  } job{team, counts};
  for (int i = 1; i <= 300; ++i) {
    team.run(job);
    EXPECT_EQ(counts, std::vector<int>(9, i));
  }
}

TEST(ThreadTeam, EndsWithoutWorkAndRightAfterIt) {
  for (int i = 0; i < 20; ++i) {
    ThreadTeam idle(3);
    ThreadTeam team(3);
    Stages work{team, {1, 2, 3}, {0, 0, 0}, 2, 1};
    team.run(work);
  }
}

}  // namespace
}  // namespace linformer::nn
