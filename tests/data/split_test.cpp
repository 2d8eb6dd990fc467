// The hand-written split against the pattern itself in PCRE2, and safe cuts against whole text.
#include "data/split.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "data/support.hpp"

namespace linformer {
namespace {

using Pieces = std::vector<std::string>;

Pieces split(std::string_view text) {
  Pieces pieces;
  for (std::size_t start = 0, end = 0; start < text.size(); start = end) {
    end = piece_end(text, start);
    pieces.emplace_back(text.substr(start, end - start));
  }
  return pieces;
}

/// The pattern as tiktoken has it, but for $, which in PCRE2 matches before a last newline too.
Pieces split_by_pattern(const std::string& text) {
  constexpr const char* kPattern =
      R"('(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++\z|\s+(?!\S)|\s)";
  int error = 0;
  PCRE2_SIZE where = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(kPattern), PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                                   &error, &where, nullptr);
  pcre2_match_data* match = pcre2_match_data_create_from_pattern(code, nullptr);
  Pieces pieces;
  for (std::size_t start = 0; start < text.size();) {
    const int found =
        pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), start, 0, match, nullptr);
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match);
    if (found < 1 || ends[0] != start) break;
    pieces.push_back(text.substr(start, ends[1] - start));
    start = ends[1];
  }
  pcre2_match_data_free(match);
  pcre2_code_free(code);
  return pieces;
}

TEST(Split, EqualsThePatternOnRandomText) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 3000; ++i) {
    const std::string text = test::random_text(random, 1 + random() % 30, false);
    ASSERT_EQ(split(text), split_by_pattern(text)) << testing::PrintToString(text);
  }
}

TEST(Split, InvalidBytesStandAlone) {
  EXPECT_EQ(split("ab\xFF"
                  "cd"),
            (Pieces{"ab", "\xFF", "cd"}));
  EXPECT_EQ(split("a  \xC3"), (Pieces{"a", "  ", "\xC3"}));  // the text ends before the byte, so its space is whole
  EXPECT_EQ(split("\xED\xA0\x80"), (Pieces{"\xED", "\xA0", "\x80"}));  // a surrogate
  EXPECT_EQ(split("'\xFF"), (Pieces{"'", "\xFF"}));
  EXPECT_EQ(split(" \xFF"), (Pieces{" ", "\xFF"}));
}

TEST(Split, SafeCutsDontChangeThePieces) {
  std::mt19937_64 random(2);
  int cuts = 0;
  for (int i = 0; i < 4000; ++i) {
    const std::string text = test::random_text(random, 1 + random() % 12, i % 2 == 1);
    const std::size_t seen = random() % (text.size() + 1);  // what comes later is not known yet
    const std::size_t cut = last_safe_cut(std::string_view(text).substr(0, seen));
    ASSERT_LE(cut, seen);
    if (cut == 0) continue;
    ++cuts;
    Pieces halves = split(std::string_view(text).substr(0, cut));
    const Pieces rest = split(std::string_view(text).substr(cut));
    halves.insert(halves.end(), rest.begin(), rest.end());
    ASSERT_EQ(halves, split(text)) << testing::PrintToString(text) << " cut at " << cut;
  }
  EXPECT_GT(cuts, 1000);
}

TEST(Split, SafeCutsAreFoundInEveryKindOfText) {
  EXPECT_EQ(last_safe_cut(std::string(50, 'a')), 0u);
  EXPECT_EQ(last_safe_cut(std::string(50, ' ')), 0u);
  EXPECT_GT(last_safe_cut(std::string(50, '\xFF')), 0u);
  EXPECT_GT(last_safe_cut(std::string(50, '\x80')), 0u);
  EXPECT_EQ(last_safe_cut("one two three"), 7u);
  EXPECT_EQ(last_safe_cut("one two three", 7), 0u);
}

}  // namespace
}  // namespace linformer
