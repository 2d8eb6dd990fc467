// The kernel for portable: built with that instruction set's flags (see CMakeLists.txt).
#define LINFORMER_VECTOR_WIDTH 4
#define LINFORMER_TILE_ROWS 4
#define LINFORMER_TABLE attend_portable
#include "kernels/attend_impl.hpp"
