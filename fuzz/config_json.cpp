// config.json: fields out of JSON.
#include "configs.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace linformer;
  fuzz::user_error_or_none([&] {
    auto object = parse_json(fuzz::text_of(data, size), "input");
    // What a run keeps beside the fields of its data.
    if (object.is_object() && object.contains("data") && object["data"].is_object()) {
      for (const auto* key : {"vocabulary_hash", "train_tokens", "validation_tokens"}) object["data"].erase(key);
    }
    fuzz::read_fields(object);
  });
  return 0;
}
