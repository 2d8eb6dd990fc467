// config.json: fields out of JSON.
#include "configs.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace linformer;
  fuzz::user_error_or_none([&] { fuzz::read_fields(parse_json(fuzz::text_of(data, size), "input")); });
  return 0;
}
