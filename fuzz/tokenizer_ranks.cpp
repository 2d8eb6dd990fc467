// A .tiktoken file.
#include "tokenizers.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace linformer;
  static const fuzz::Folder folder;
  const auto path = folder.write("input.tiktoken", fuzz::text_of(data, size)).string();
  fuzz::user_error_or_none([&] { fuzz::use(*load_tokenizer(path)); });
  return 0;
}
