// tokenizer.json.
#include "tokenizers.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace linformer;
  fuzz::user_error_or_none([&] {
    const auto tokenizer = tokenizer_from_json(parse_json(fuzz::text_of(data, size), "input"));
    fuzz::use(*tokenizer);
    // The hash of what is written again is that of what was read.
    if (tokenizer->size() < 10'000)
      fuzz::expect(tokenizer_from_json(tokenizer->to_json())->hash() == tokenizer->hash(), "the hash changes");
  });
  return 0;
}
