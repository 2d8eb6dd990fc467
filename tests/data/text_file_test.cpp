// Text as UTF-8 from files of any encoding.
#include "linformer/data/text_file.hpp"

#include <algorithm>

#include "data/support.hpp"
#include "data/utf16.hpp"
#include "linformer/core/error.hpp"
#include "support/errors.hpp"

namespace linformer {
namespace {

using namespace std::string_literals;
using test::TemporaryFolder;

const std::u16string kText = u"Plain, \u00E9t\u00E9, \u0416\u0443\u043A, \u6F22\u5B57 \U0001F600\U0010FFFF\r\n";
const std::string kTextAsUtf8 =
    "Plain, \xC3\xA9t\xC3\xA9, \xD0\x96\xD1\x83\xD0\xBA, \xE6\xBC\xA2\xE5\xAD\x97 "
    "\xF0\x9F\x98\x80\xF4\x8F\xBF\xBF\r\n";

std::string bytes_of(const std::u16string& text, ByteOrder order) {
  std::string bytes;
  for (const char16_t unit : text) {
    const char low = static_cast<char>(unit & 0xFF), high = static_cast<char>(unit >> 8);
    bytes += order == ByteOrder::little ? low : high;
    bytes += order == ByteOrder::little ? high : low;
  }
  return bytes;
}

struct Decoded {
  std::string text;
  std::int64_t replaced;
  bool operator==(const Decoded&) const = default;
};

Decoded decode(const std::string& bytes, ByteOrder order, std::size_t piece = 1'000'000) {
  Utf16Decoder decoder(order);
  std::string text;
  for (std::size_t start = 0; start < bytes.size(); start += piece) decoder.push(bytes.substr(start, piece), text);
  decoder.finish(text);
  return {text, decoder.replaced()};
}

TEST(Utf16, EveryCharacterInPiecesOfAnySize) {
  for (const auto order : {ByteOrder::little, ByteOrder::big}) {
    for (const std::size_t piece : {1u, 2u, 3u, 5u, 1000u}) {
      EXPECT_EQ(decode(bytes_of(kText, order), order, piece), (Decoded{kTextAsUtf8, 0})) << piece;
    }
  }
}

TEST(Utf16, BordersOfTheLengths) {
  const std::u16string text = u"\u007F\u0080\u07FF\u0800\uD7FF\uE000\uFFFD\U00010000";
  EXPECT_EQ(decode(bytes_of(text, ByteOrder::big), ByteOrder::big),
            (Decoded{"\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBD\xF0\x90\x80\x80", 0}));
}

TEST(Utf16, BrokenOnesAreReplacedAndCounted) {
  const std::string bad = "\xEF\xBF\xBD";
  const auto check = [&](const std::u16string& units, const std::string& tail, const Decoded& expected) {
    for (const std::size_t piece : {1u, 2u, 1000u}) {
      EXPECT_EQ(decode(bytes_of(units, ByteOrder::little) + tail, ByteOrder::little, piece), expected);
    }
  };
  const char16_t high = 0xD83D, low = 0xDE00;
  check({u'a', low, u'b'}, "", {"a" + bad + "b", 1});
  check({u'a', high, u'b'}, "", {"a" + bad + "b", 1});
  check({high, high, low}, "", {bad + "\xF0\x9F\x98\x80", 1});
  check({low, high}, "", {bad + bad, 2});
  check({u'a'}, "x", {"a" + bad, 1});
  check({high}, "x", {bad + bad, 2});
}

TEST(TextStart, MarksAndBinary) {
  EXPECT_EQ(text_start(""), TextStart::plain);
  EXPECT_EQ(text_start("text"), TextStart::plain);
  EXPECT_EQ(text_start("\xEF\xBB\xBFtext"), TextStart::marked);
  EXPECT_EQ(text_start("\xEF\xBB"), TextStart::plain);
  EXPECT_EQ(text_start("\xFF\xFEt\0"s), TextStart::utf16_little);
  EXPECT_EQ(text_start("\xFE\xFF\0t"s), TextStart::utf16_big);
  EXPECT_EQ(text_start("\xFF\xFE\0\0t\0\0\0"s), TextStart::utf32);
  EXPECT_EQ(text_start("\0\0\xFE\xFF\0\0\0t"s), TextStart::utf32);
  EXPECT_EQ(text_start("\x89PNG\r\n\x1A\n\0\0\0\rIHDR"s), TextStart::binary);
  EXPECT_EQ(text_start("one\0two\0three\0four\0five\0"s), TextStart::binary);
  EXPECT_EQ(text_start("a\0"s), TextStart::binary);  // too little to tell
}

TEST(TextStart, Utf16WithoutAMarkInManyScripts) {
  for (const std::u16string& text :
       {u"Plain words of a text."s,
        u"\u0416\u0443\u043A \u0431\u044B\u043B \u0437\u0434\u0435\u0441\u044C, \u0434\u0430\r\n"s,
        // Characters whose lower halves are NUL: U+4E00, U+3000 and the second half of U+1F600.
        u"Words, \u4E00 and\u3000\U0001F600 among them.\n"s,
        u"\u6F22\u5B57\u304B\u306A\u4EA4\u3058\u308A\u6587\u7AE0\u306E\u4E00\u4F8B\n\u6F22\u5B57\u304B\u306A\u4EA4"
        u"\u3058"
        u"\u308A\n"
        u"\u6F22\u5B57\u304B\u306A\u4EA4\u3058\u308A\u6587\u7AE0\n\u6587\n"s}) {
    EXPECT_EQ(text_start(bytes_of(text, ByteOrder::little)), TextStart::utf16_unmarked_little);
    EXPECT_EQ(text_start(bytes_of(text, ByteOrder::big)), TextStart::utf16_unmarked_big);
  }
}

TEST(TextStart, NumbersOfTwoBytesAreNoText) {
  std::string numbers;  // as a file of ids or samples holds them
  for (int value = 0; value < 500; ++value) numbers += {static_cast<char>(value % 200), '\0'};
  EXPECT_EQ(text_start(numbers), TextStart::binary);
}

TEST(TextStart, TextWithNulsBetweenIsNotUtf16) {
  std::string names;
  for (const char* name : {"notes.txt", "a", "data", "readme", "b1", "config.toml", "x.csv", "main", "it"}) {
    names += name;
    names += '\0';
  }
  EXPECT_EQ(text_start(names), TextStart::binary);
}

class ReadText : public testing::Test {
 protected:
  TextReading read(const std::string& content) {
    text_.clear();
    return read_text(folder_.write("text", content).string(), [&](std::string_view piece) { text_ += piece; });
  }
  TemporaryFolder folder_;
  std::string text_;
};

TEST_F(ReadText, TextIsUtf8WhateverTheFileIs) {
  for (const std::string& plain : {""s, "\xC3"s, "text \xFF\xFE"s, "a\xEF\xBB\xBF"s, kTextAsUtf8}) {
    EXPECT_EQ(remark_of(read(plain)), "");
    EXPECT_EQ(text_, plain);
  }
  EXPECT_NE(remark_of(read("\xEF\xBB\xBF\xEF\xBB\xBFtext")).find("mark"), std::string::npos);
  EXPECT_EQ(text_, "\xEF\xBB\xBFtext");  // only the first is a mark
  EXPECT_NE(remark_of(read("\xFF\xFE" + bytes_of(kText, ByteOrder::little))).find("little"), std::string::npos);
  EXPECT_EQ(text_, kTextAsUtf8);
  EXPECT_NE(remark_of(read("\xFE\xFF" + bytes_of(kText, ByteOrder::big))).find("big"), std::string::npos);
  EXPECT_EQ(text_, kTextAsUtf8);
  const auto cut = read("\xFF\xFE" + bytes_of(kText, ByteOrder::little) + "x");
  EXPECT_EQ(cut.replaced, 1);
  EXPECT_NE(remark_of(cut).find("1 broken"), std::string::npos);
  EXPECT_NE(remark_of(read("bytes\0of any kind"s)).find("NUL"), std::string::npos);
  EXPECT_EQ(text_, "bytes\0of any kind"s);
}

TEST_F(ReadText, LongFilesConvertAcrossPieces) {
  std::u16string text;
  std::string expected;
  while (text.size() < 5'000'000) {  // more than two pieces of 4 MiB
    text += kText;
    expected += kTextAsUtf8;
  }
  // One byte more at the start of the text shifts all pairs against the pieces.
  EXPECT_EQ(read("\xFE\xFF" + bytes_of(text, ByteOrder::big)).replaced, 0);
  EXPECT_TRUE(text_ == expected);
}

TEST_F(ReadText, WhatIsNotReadNamesTheFileAndTheRemedy) {
  const auto message = [&](const std::string& content) { return test::message_of([&] { read(content); }); };
  const std::u16string text = u"Plain words of a text.";
  for (const auto& [content, encoding] : {std::pair{"\xFF\xFE\0\0t\0\0\0"s, "UTF-32"s},
                                          {bytes_of(text, ByteOrder::little), "UTF-16LE"s},
                                          {bytes_of(text, ByteOrder::big), "UTF-16BE"s}}) {
    const auto found = message(content);
    EXPECT_EQ(found.rfind((folder_.path() / "text").string(), 0), 0u) << found;
    EXPECT_NE(found.find("iconv -f " + encoding + " -t UTF-8"), std::string::npos) << found;
    EXPECT_EQ(text_, "");
  }
  EXPECT_THROW(read_text((folder_.path() / "missing").string(), [](auto) {}), UserError);
  EXPECT_THROW(read_text(folder_.path().string(), [](auto) {}), UserError);
}

TEST_F(ReadText, WhyAFileOfAFolderIsNoText) {
  const auto why = [&](const std::string& content) { return why_no_text(folder_.write("text", content).string()); };
  const std::u16string text = u"Plain words of a text.";
  for (const std::string& good : {""s, "text"s, "\xEF\xBB\xBFtext"s, "\xFF\xFE" + bytes_of(text, ByteOrder::little),
                                  "\xFE\xFF" + bytes_of(text, ByteOrder::big)}) {
    EXPECT_EQ(why(good), "");
  }
  EXPECT_NE(why(bytes_of(text, ByteOrder::little)).find("without a mark"), std::string::npos);
  EXPECT_NE(why("\xFF\xFE\0\0t\0\0\0"s).find("UTF-32"), std::string::npos);
  EXPECT_NE(why("\x89PNG\0\0"s).find("NUL"), std::string::npos);
  EXPECT_NE(why("\xFF\xFE" + bytes_of(u"sound\0\0\0\0"s, ByteOrder::little)).find("NUL"), std::string::npos);
}

}  // namespace
}  // namespace linformer
