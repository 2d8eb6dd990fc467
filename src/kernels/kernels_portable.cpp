// The kernels for portable: built with that instruction set's flags (see cmake/Kernels.cmake).
#define LINFORMER_VECTOR_WIDTH 4
#define LINFORMER_TILE_ROWS 4
#define LINFORMER_PRODUCT_COLUMNS 2
#define LINFORMER_BFLOAT16_PRODUCTS 0
#define LINFORMER_TABLE kernels_portable
#include "kernels/kernel_table_impl.hpp"
