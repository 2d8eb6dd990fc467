// The kernel for avx2: built with that instruction set's flags (see CMakeLists.txt).
#if defined(__x86_64__)
#define LINFORMER_VECTOR_WIDTH 8
#define LINFORMER_TILE_ROWS 6
#define LINFORMER_TABLE attend_avx2
#include "kernels/attend_impl.hpp"
#endif
