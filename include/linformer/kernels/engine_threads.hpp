// LibTorch's own threads, where they would take the processor from others.
#pragma once

namespace linformer::kernels {

/// Ends the OpenMP threads that LibTorch's operations run on; the next parallel operation makes them anew, in some 0.1
/// ms. After an operation they would spin for some 8 ms, against a decoder's threads. Nothing where LibTorch has no
/// OpenMP, or inside a parallel operation.
void rest_engine_threads();

}  // namespace linformer::kernels
