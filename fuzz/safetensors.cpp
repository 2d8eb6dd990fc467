// model.safetensors.
#include "nn/safetensors.hpp"

#include <ATen/ATen.h>

#include "fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace linformer;
  fuzz::user_error_or_none([&] {
    const auto file = parse_safetensors({reinterpret_cast<const std::byte*>(data), size}, "input");
    std::size_t bytes = 0;
    for (const auto& [name, tensor] : file.tensors) bytes += tensor.nbytes();
    fuzz::expect(bytes < size, "tensors hold more than the file");
  });
  return 0;
}
