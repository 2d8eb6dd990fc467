// Files of `generate --state-in`. The hash of the content is put right, so that inputs pass it.
#include "infer/conversation_file.hpp"

#include <ATen/ATen.h>

#include "fuzz.hpp"
#include "nn/safetensors.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace linformer;
  fuzz::user_error_or_none([&] {
    auto file = parse_safetensors({reinterpret_cast<const std::byte*>(data), size}, "input");
    file.metadata["sha256"] = content_hash(file);
    const auto read = parse_conversation(file, "input");
    fuzz::expect(read.position > 0 && read.unread.size() + read.seen.size() < size, "values out of range");
  });
  return 0;
}
