// The kernel for avx512: built with that instruction set's flags (see CMakeLists.txt).
#if defined(__x86_64__)
#define LINFORMER_VECTOR_WIDTH 16
#define LINFORMER_TILE_ROWS 8
#define LINFORMER_TABLE attend_avx512
#include "kernels/attend_impl.hpp"
#endif
