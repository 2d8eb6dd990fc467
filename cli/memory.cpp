#include "memory.hpp"

#include <cstdlib>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <limits>

namespace linformer::cli {

void keep_freed_memory() {
#ifdef __GLIBC__
  for (const auto* name : {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"}) {
    if (std::getenv(name) != nullptr) return;
  }
  // Larger buffers are few and are given back. If they were kept, they would leave holes that nothing else fills: a
  // gigabyte at N 65,536. Older versions of glibc refuse more than 32 MiB.
  if (mallopt(M_MMAP_THRESHOLD, 1 << 28) == 0) mallopt(M_MMAP_THRESHOLD, 1 << 25);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

}  // namespace linformer::cli
