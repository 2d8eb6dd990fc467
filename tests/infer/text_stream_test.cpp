#include "linformer/infer/text_stream.hpp"

#include <gtest/gtest.h>

#include <random>

namespace linformer {
namespace {

using Pieces = std::vector<std::string>;

Pieces pieces_of(TextStream stream, const Pieces& input) {
  Pieces result;
  for (const auto& bytes : input) result.push_back(stream.push(bytes));
  result.push_back(stream.finish());
  return result;
}

std::string joined(const Pieces& pieces) {
  std::string result;
  for (const auto& piece : pieces) result += piece;
  return result;
}

Pieces single_bytes(const std::string& text) {
  Pieces result;
  for (const char byte : text) result.emplace_back(1, byte);
  return result;
}

TEST(TextStream, ShowsWholeCharactersOnly) {
  const std::string text = "aé€😀.";
  EXPECT_EQ(pieces_of(TextStream({}), single_bytes(text)),
            (Pieces{"a", "", "é", "", "", "€", "", "", "", "😀", ".", ""}));
}

TEST(TextStream, PassesInvalidBytesAndAnUnfinishedEnd) {
  EXPECT_EQ(pieces_of(TextStream({}), {"\xC3", "x", "\xFF", "\xE2", "\x82"}),
            (Pieces{"", "\xC3x", "\xFF", "", "", "\xE2\x82"}));
}

TEST(TextStream, EndsBeforeAStopTextThatSpansTokens) {
  EXPECT_EQ(pieces_of(TextStream({"END"}), {"one E", "N", "E", "ND", "more"}), (Pieces{"one ", "", "EN", "", "", ""}));
  EXPECT_EQ(pieces_of(TextStream({"é"}), {"a\xC3", "\xA9z"}), (Pieces{"a", "", ""}));
  EXPECT_EQ(pieces_of(TextStream({"aab"}), {"a", "a", "a", "b"}), (Pieces{"", "", "a", "", ""}));
  EXPECT_EQ(pieces_of(TextStream({"END"}), {"an EN"}), (Pieces{"an ", "EN"}));
}

TEST(TextStream, TheStopThatEndsFirstCounts) {
  for (const Pieces& input : {Pieces{"xabcy"}, single_bytes("xabcy")}) {
    EXPECT_EQ(joined(pieces_of(TextStream({"abc", "b"}), input)), "xa");
    EXPECT_EQ(joined(pieces_of(TextStream({"c", "bc", "abc"}), input)), "x");
    EXPECT_EQ(joined(pieces_of(TextStream({"z"}), input)), "xabcy");
  }
}

// Whatever the tokens: the text before the first stop, no piece of which had to be taken back.
TEST(TextStream, DoesNotDependOnWhereTokensEnd) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (int i = 0; i < 30; ++i) text += "ab\xC3\xA9"[random() % 4];
    const Pieces stop{text.substr(random() % 28, 2), "abab",
                      "\xA9"
                      "b\xC3"};
    std::size_t end = std::string::npos;
    std::size_t start = text.size();
    for (const auto& stop_text : stop) {
      const auto at = text.find(stop_text);
      if (at == std::string::npos) continue;
      const auto at_end = at + stop_text.size();
      if (at_end < end || (at_end == end && at < start)) {
        end = at_end;
        start = at;
      }
    }
    Pieces input;
    for (std::size_t at = 0; at < text.size();) {
      const auto count = 1 + random() % 5;
      input.push_back(text.substr(at, count));
      at += count;
    }
    EXPECT_EQ(joined(pieces_of(TextStream(stop), input)), text.substr(0, start));
  }
}

}  // namespace
}  // namespace linformer
