// Text of any encoding, as `prepare` and `tokenize` take it.
#include "linformer/data/text_file.hpp"

#include "fuzz.hpp"
#include "linformer/core/utf8.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace linformer;
  static const fuzz::Folder folder;
  const auto path = folder.write("text.txt", fuzz::text_of(data, size)).string();
  const auto reason = why_no_text(path);
  fuzz::user_error_or_none([&] {
    std::string text;
    const auto reading = read_text(path, [&](std::string_view piece) { text += piece; });
    const bool utf16 = reading.start == TextStart::utf16_little || reading.start == TextStart::utf16_big;
    fuzz::expect(!utf16 || is_utf8(text), "converted text is not UTF-8");
    fuzz::expect(utf16 || fuzz::text_of(data, size).ends_with(text), "text is not what the file holds");
    fuzz::expect(reading.start != TextStart::binary || !reason.empty(), "a folder's file with NUL bytes is taken");
    fuzz::expect(remark_of(reading).size() < 200, "a remark repeats the text");
  });
  return 0;
}
