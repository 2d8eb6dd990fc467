// vocab.bpe and encoder.json: the input holds both, with a NUL between.
#include "tokenizers.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace linformer;
  static const fuzz::Folder folder;
  const auto input = fuzz::text_of(data, size);
  const auto end = std::min(input.find('\0'), input.size());
  folder.write("vocab.bpe", input.substr(0, end));
  folder.write("encoder.json", input.substr(std::min(end + 1, input.size())));
  fuzz::user_error_or_none([&] { fuzz::use(*load_tokenizer(folder.path().string())); });
  return 0;
}
