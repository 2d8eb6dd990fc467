#include "kernels/decode_kernels.hpp"

#include "kernels/decode_tables.hpp"
#include "linformer/core/error.hpp"

namespace linformer::kernels {

const DecodeKernels& decode_kernels(Isa isa) {
  require(isa_supported(isa), "instruction set {}: this build or processor lacks it.", isa_name(isa));
#if defined(__x86_64__)
  if (isa >= Isa::avx512) return decode_kernels_avx512();
  if (isa != Isa::portable) return decode_kernels_avx2();
#endif
  return decode_kernels_portable();
}

}  // namespace linformer::kernels
