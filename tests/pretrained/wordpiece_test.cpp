// Words cut by hand after the rules of BERT's uncased tokenizer. tests/python/test_inspect.py reads whole sentences.
#include "linformer/pretrained/wordpiece.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/support.hpp"

namespace linformer::test {
namespace {

class WordPieceTest : public testing::Test {
 protected:
  WordPiece made_of(const std::string& lines) const { return WordPiece(folder_.write("vocab.txt", lines)); }
  TemporaryFolder folder_;
};

using Ids = std::vector<std::int64_t>;

TEST_F(WordPieceTest, TakesTheLongestPieceFromTheLeft) {
  const auto tokenizer = made_of("[UNK]\nun\nunw\n##want\n##ant\n##ed\n##e\n##d\n");
  EXPECT_EQ(tokenizer.encode("unwanted"), (Ids{2, 4, 5}));
  EXPECT_EQ(tokenizer.encode("UN unwantede"), (Ids{1, 2, 4, 5, 6}));
  EXPECT_EQ(tokenizer.size(), 8);
  EXPECT_EQ(tokenizer.id("##ed"), 5);
}

TEST_F(WordPieceTest, AWordThatDoesNotEndInPiecesIsUnknownAsAWhole) {
  const auto tokenizer = made_of("a\n[UNK]\n##a\n");
  EXPECT_EQ(tokenizer.encode("aab a"), (Ids{1, 0}));
  const auto longest = std::string(100, 'a');
  EXPECT_EQ(tokenizer.encode(longest).size(), 100u);
  EXPECT_EQ(tokenizer.encode(longest + "a"), Ids{1});
}

TEST_F(WordPieceTest, AccentsGoAndPunctuationAndChineseStandAlone) {
  const auto tokenizer = made_of("[UNK]\r\ncafe\r\n,\r\n中\r\nø\r\n—\r\n");
  EXPECT_EQ(tokenizer.encode("CAFÉ,cafe\u0301"), (Ids{1, 2, 1}));
  EXPECT_EQ(tokenizer.encode("中中"), (Ids{3, 3}));
  EXPECT_EQ(tokenizer.encode("Ø—ø"), (Ids{4, 5, 4}));       // its stroke is no accent
  EXPECT_EQ(tokenizer.encode("ca\u00ADfe\u200B"), Ids{1});  // what can't be seen is no part of a word
  EXPECT_EQ(tokenizer.encode(" \t\n\u3000"), Ids{});
  EXPECT_EQ(tokenizer.encode(""), Ids{});
}

TEST_F(WordPieceTest, SaysWhatIsWrongWithAVocabulary) {
  EXPECT_TRUE(holds(message_of([&] { made_of("a\nb\n"); }), {"vocab.txt", "no [UNK]"}));
  EXPECT_TRUE(holds(message_of([&] { made_of("[UNK]\nb\nc\nb\n"); }), {"line 4", "'b' is there twice"}));
  const auto tokenizer = made_of("[UNK]\n");
  EXPECT_TRUE(holds(message_of([&] { tokenizer.id("[CLS]"); }), {"no token '[CLS]'"}));
}

}  // namespace
}  // namespace linformer::test
