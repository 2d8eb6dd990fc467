#include "kernels/kernel_table.hpp"

#include "linformer/core/error.hpp"

namespace linformer::kernels {

const KernelTable& table_of(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
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

const DecodeKernels& decode_kernels(Isa isa) {
  require(isa_supported(isa), "instruction set {}: this build or processor lacks it.", isa_name(isa));
  return table_of(isa).decode;
}

}  // namespace linformer::kernels
