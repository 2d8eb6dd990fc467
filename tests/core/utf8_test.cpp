#include "linformer/core/utf8.hpp"

#include <gtest/gtest.h>

#include <string>

namespace linformer {
namespace {

TEST(Utf8, CharactersHaveTheirCodePoints) {
  const std::string text = "aé€😀";
  const char32_t codes[] = {U'a', U'é', U'€', U'😀'};
  std::size_t place = 0;
  for (const auto code : codes) {
    const auto character = utf8_character(text, place);
    EXPECT_EQ(character.code, code);
    place += character.bytes;
  }
  EXPECT_EQ(place, text.size());
  EXPECT_TRUE(is_utf8(text));
  EXPECT_TRUE(is_utf8(""));
  EXPECT_EQ(utf8_character("\xF4\x8F\xBF\xBF", 0).code, char32_t{0x10FFFF});
}

TEST(Utf8, NoCharacterHasNoBytes) {
  for (const std::string text : {"\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
                                 "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xC3", "\xE2\x82", "\xC3\x28"}) {
    EXPECT_EQ(utf8_character(text, 0).bytes, 0) << testing::PrintToString(text);
    EXPECT_FALSE(is_utf8("a" + text)) << testing::PrintToString(text);
  }
}

TEST(UnfinishedUtf8, CountsTheBeginningOfACharacter) {
  EXPECT_EQ(unfinished_utf8(""), 0u);
  EXPECT_EQ(unfinished_utf8("abc"), 0u);
  EXPECT_EQ(unfinished_utf8("a\xC3"), 1u);
  EXPECT_EQ(unfinished_utf8("a\xC3\xA9"), 0u);
  EXPECT_EQ(unfinished_utf8("\xE2\x82"), 2u);
  EXPECT_EQ(unfinished_utf8("\xF0\x9F\x98"), 3u);
  EXPECT_EQ(unfinished_utf8("\xF0\x9F\x98\x80"), 0u);
}

TEST(UnfinishedUtf8, LetsThroughWhatCanNeverBeACharacter) {
  for (const std::string text : {"\x80", "\xC0", "\xC1", "\xF5", "\xFF", "\xE0\x9F", "\xED\xA0", "\xF0\x8F", "\xF4\x90",
                                 "\xC3\x28", "\xE2\x28", "\x80\x80\x80\x80", "\xF0\x9F\x28"}) {
    EXPECT_EQ(unfinished_utf8(text), 0u) << ::testing::PrintToString(text);
  }
  EXPECT_EQ(unfinished_utf8("\xE0\xA0"), 2u);
  EXPECT_EQ(unfinished_utf8("\xED\x9F"), 2u);
  EXPECT_EQ(unfinished_utf8("\xF0\x90"), 2u);
  EXPECT_EQ(unfinished_utf8("\xF4\x8F"), 2u);
  EXPECT_EQ(unfinished_utf8("\xFF\xC3"), 1u);
}

}  // namespace
}  // namespace linformer
