#include "linformer/kernels/isa.hpp"

#include <atomic>
#include <cstdlib>

#include "linformer/core/error.hpp"

namespace linformer::kernels {

namespace {

constexpr int not_forced = -1;
std::atomic<int> forced{not_forced};

void require_supported(Isa isa) {
  require(isa_supported(isa),
          "instruction set {} is not supported by this processor or build; expected portable{}",
          isa_name(isa), isa_supported(Isa::avx2) ? " or avx2" : "");
}

Isa chosen_at_start() {
  if (const char* name = std::getenv("LINFORMER_ISA"); name != nullptr && *name != '\0') {
    const auto isa = parse_isa(name);
    require_supported(isa);
    return isa;
  }
  if (isa_supported(Isa::avx512)) return Isa::avx512;
  return isa_supported(Isa::avx2) ? Isa::avx2 : Isa::portable;
}

}  // namespace

Isa parse_isa(std::string_view name) {
  if (name == "portable") return Isa::portable;
  if (name == "avx2") return Isa::avx2;
  if (name == "avx512") return Isa::avx512;
  fail("instruction set is \"{}\" (LINFORMER_ISA); expected portable, avx2 or avx512", name);
}

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::portable:
      break;
  }
  return "portable";
}

bool isa_supported(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == Isa::avx512) return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
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
