// The OpenMP library that LibTorch brings (GCC's libgomp), for both compilers.
//
// clang turns "#pragma omp" into calls of another library, libomp. A process with both would have two teams of threads,
// of which at::set_num_threads knows one. So clang builds without -fopenmp and calls libgomp's functions by their
// names; GOMP_parallel is what GCC makes of "#pragma omp parallel".
#pragma once

#if defined(LINFORMER_OPENMP)
#if defined(__clang__)
extern "C" {
void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags);
int omp_get_num_threads();
int omp_get_thread_num();
int omp_in_parallel();
int omp_pause_resource_all(int kind);
}
inline constexpr int omp_pause_soft = 1;
#else
#include <omp.h>
#endif
#endif
