#include "kernels/kernel_table.hpp"

#include "linformer/kernels/isa.hpp"

namespace linformer::kernels {

const KernelTable& current_table() {
#if defined(__x86_64__)
  switch (current_isa()) {
    case Isa::avx2:
      return kernels_avx2;
    case Isa::avx512:
      return kernels_avx512;
    case Isa::avx512_bf16:
      return kernels_avx512_bf16;
    case Isa::portable:
      break;
  }
#endif
  return kernels_portable;
}

}  // namespace linformer::kernels
