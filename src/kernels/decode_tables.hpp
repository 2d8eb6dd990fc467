#pragma once

#include "kernels/decode_kernels.hpp"

namespace linformer::kernels {

const DecodeKernels& decode_kernels_portable();
#if defined(__x86_64__)
const DecodeKernels& decode_kernels_avx2();
const DecodeKernels& decode_kernels_avx512();
#endif

}  // namespace linformer::kernels
