#include "kernels/parallel.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <exception>

#include "kernels/openmp.hpp"

namespace linformer::kernels {

using Work = c10::function_ref<void(std::int64_t, std::int64_t)>;

#if defined(LINFORMER_OPENMP) && defined(__clang__)

namespace {

/// at::parallel_for cuts its range in the same way.
struct Loop {
  std::int64_t begin, end, grain;
  Work work;
  std::atomic_flag failed = ATOMIC_FLAG_INIT;
  std::exception_ptr error = nullptr;

  void run_share() {
    const auto size = end - begin;
    const auto threads =
        std::min<std::int64_t>(omp_get_num_threads(), at::divup(size, std::max<std::int64_t>(grain, 1)));
    const auto share = at::divup(size, threads), first = begin + omp_get_thread_num() * share;
    if (first >= end) return;
    try {
      const at::internal::ThreadIdGuard thread(omp_get_thread_num());
      const c10::ParallelGuard guard(true);
      work(first, std::min(end, first + share));
    } catch (...) {
      if (!failed.test_and_set()) error = std::current_exception();
    }
  }
};

}  // namespace

void parallel_for(std::int64_t begin, std::int64_t end, std::int64_t grain, Work work) {
  at::internal::lazy_init_num_threads();
  if (end - begin <= std::max<std::int64_t>(grain, 1) || at::in_parallel_region() || at::get_num_threads() == 1) {
    at::parallel_for(begin, end, grain, work);  // which runs it on this thread
    return;
  }
  Loop loop{begin, end, grain, work};
  GOMP_parallel([](void* data) { static_cast<Loop*>(data)->run_share(); }, &loop, 0, 0);
  if (loop.error) std::rethrow_exception(loop.error);
}

#else

void parallel_for(std::int64_t begin, std::int64_t end, std::int64_t grain, Work work) {
  at::parallel_for(begin, end, grain, work);
}

#endif

}  // namespace linformer::kernels
