// The instruction set that the kernels use: the widest one that this processor has, unless another one is forced.
#pragma once

#include <string_view>

namespace linformer::kernels {

/// avx512: with its parts BW and DQ, which all server processors since 2017 have. avx512_bf16: multiplies bfloat16
/// numbers itself.
enum class Isa { portable, avx2, avx512, avx512_bf16 };

constexpr Isa all_isas[] = {Isa::portable, Isa::avx2, Isa::avx512, Isa::avx512_bf16};

/// "portable", "avx2", "avx512" or "avx512_bf16"; anything else is a UserError.
Isa parse_isa(std::string_view name);
std::string_view isa_name(Isa isa);

/// Whether this build contains it and this processor can run it.
bool isa_supported(Isa isa);

/// The forced instruction set, if there is one; else the one in the environment variable LINFORMER_ISA; else the widest
/// that is supported. UserError when it is not supported.
Isa current_isa();

/// Forces an instruction set for the whole process while the object exists. For tests and benchmarks. Don't create or
/// destroy one while kernels run.
class ForcedIsa {
 public:
  explicit ForcedIsa(Isa isa);
  ~ForcedIsa();
  ForcedIsa(const ForcedIsa&) = delete;
  ForcedIsa& operator=(const ForcedIsa&) = delete;

 private:
  int before_;
};

}  // namespace linformer::kernels
