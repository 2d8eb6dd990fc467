// tokens.bin.
#include "linformer/data/token_file.hpp"
#include "data/token_format.hpp"
#include "fuzz.hpp"
#include "linformer/core/hash.hpp"

namespace {

// The header ends with its SHA-256, past which no change of a byte would get.
void mend_header(std::string& file) {
  constexpr std::size_t kHash = 64;
  if (file.size() < linformer::kTokenHeaderBytes) return;
  const auto place = linformer::kTokenHeaderBytes - kHash;
  file.replace(place, kHash, linformer::sha256(std::string_view(file).substr(0, place)));
}

void read_all(const linformer::TokenData& tokens) {
  constexpr std::int64_t kMost = 4096;
  std::vector<std::int64_t> ids(static_cast<std::size_t>(kMost));
  const auto vocabulary = tokens.tokenizer()->size();
  for (const bool train : {true, false}) {
    const auto size = train ? tokens.train_size() : tokens.validation_size();
    for (const auto from : {std::int64_t{0}, std::max<std::int64_t>(size - kMost, 0)}) {
      const auto count = std::min(size - from, kMost);
      train ? tokens.copy_train(from, count, ids.data()) : tokens.copy_validation(from, count, ids.data());
      for (std::int64_t i = 0; i < count; ++i) {
        const auto id = ids[static_cast<std::size_t>(i)];
        linformer::fuzz::expect(id >= 0 && id < vocabulary, "an id outside the vocabulary");
      }
    }
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace linformer;
  static const fuzz::Folder folder;
  static const bool prepared = [] {
    folder.write("tokenizer.json", dump(load_tokenizer("bytes")->to_json()));
    return true;
  }();
  fuzz::expect(prepared, "no folder");
  std::string file(fuzz::text_of(data, size));
  mend_header(file);
  folder.write("tokens.bin", file);
  fuzz::user_error_or_none([&] { read_all(TokenData::open(folder.path())); });
  return 0;
}
