#include "linformer/kernels/isa.hpp"

#include <atomic>
#include <cstdlib>
#include <string>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"

namespace linformer::kernels {

namespace {

constexpr int not_forced = -1;
std::atomic<int> forced{not_forced};

void require_supported(Isa isa) {
  std::string supported;
  for (const auto other : all_isas) {
    if (isa_supported(other)) supported += formatted("{}{}", supported.empty() ? "" : ", ", isa_name(other));
  }
  require(isa_supported(isa), "instruction set {} is not supported by this processor or build; expected one of {}",
          isa_name(isa), supported);
}

Isa chosen_at_start() {
  if (const char* name = std::getenv("LINFORMER_ISA"); name != nullptr && *name != '\0') {
    const auto isa = parse_isa(name);
    require_supported(isa);
    return isa;
  }
  auto widest = Isa::portable;
  for (const auto isa : all_isas) {
    if (isa_supported(isa)) widest = isa;
  }
  return widest;
}

}  // namespace

Isa parse_isa(std::string_view name) {
  for (const auto isa : all_isas) {
    if (name == isa_name(isa)) return isa;
  }
  fail("instruction set is \"{}\" (LINFORMER_ISA); expected portable, avx2, avx512 or avx512_bf16", name);
}

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::avx512_bf16:
      return "avx512_bf16";
    case Isa::portable:
      break;
  }
  return "portable";
}

bool isa_supported(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  if (isa == Isa::avx512) return avx512;
  if (isa == Isa::avx512_bf16) {
    return avx512 && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16");
  }
#endif
  return isa == Isa::portable;
}

Isa current_isa() {
  if (const int isa = forced.load(std::memory_order_relaxed); isa != not_forced) return static_cast<Isa>(isa);
  static const Isa chosen = chosen_at_start();
  return chosen;
}

ForcedIsa::ForcedIsa(Isa isa) : before_(forced.load()) {
  require_supported(isa);
  forced = static_cast<int>(isa);
}

ForcedIsa::~ForcedIsa() { forced = before_; }

}  // namespace linformer::kernels
