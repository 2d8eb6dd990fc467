#include "kernels/engine_threads.hpp"

#include "kernels/openmp.hpp"

namespace linformer::kernels {

void rest_engine_threads() {
#if defined(LINFORMER_OPENMP)
  if (omp_in_parallel() == 0) omp_pause_resource_all(omp_pause_soft);
#endif
}

}  // namespace linformer::kernels
