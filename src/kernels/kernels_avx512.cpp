// The kernels for avx512: built with that instruction set's flags (see cmake/Kernels.cmake).
#if defined(__x86_64__)
#define LINFORMER_VECTOR_WIDTH 16
#define LINFORMER_TILE_ROWS 8
#define LINFORMER_PRODUCT_COLUMNS 6
#define LINFORMER_BFLOAT16_PRODUCTS 0
#define LINFORMER_TABLE kernels_avx512
#include "kernels/kernel_table_impl.hpp"
#endif
