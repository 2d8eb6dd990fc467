// Control of LibTorch's own threads.
#pragma once

namespace linformer::kernels {

/// Ends the OpenMP threads of LibTorch. The next parallel operation starts them again, which takes about 0.1 ms.
/// Without this call they would wait actively for about 8 ms after each operation, and take the processor from the
/// decoder's threads. Does nothing when LibTorch was built without OpenMP, or inside a parallel operation.
void rest_engine_threads();

}  // namespace linformer::kernels
