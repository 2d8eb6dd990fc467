// Loops on LibTorch's threads. at::parallel_for is a template that runs on one thread wherever the including file is
// built without OpenMP, and nothing says so; this is one function, built in one place.
#pragma once

#include <c10/util/FunctionRef.h>

#include <cstdint>

namespace linformer::kernels {

/// Calls `work(first, last)` for parts of [begin, end), each of `grain` or more, as at::parallel_for does.
void parallel_for(std::int64_t begin, std::int64_t end, std::int64_t grain,
                  c10::function_ref<void(std::int64_t, std::int64_t)> work);

}  // namespace linformer::kernels
