#include "linformer/core/excerpt.hpp"

#include <limits>

#include "core/support.hpp"
#include "linformer/core/json.hpp"

namespace linformer {
namespace {

TEST(Excerpt, ShortTextIsWhole) {
  EXPECT_EQ(excerpt(""), "");
  EXPECT_EQ(excerpt("train.steps"), "train.steps");
  EXPECT_EQ(excerpt(std::string(kExcerptBytes, 'x')), std::string(kExcerptBytes, 'x'));
}

TEST(Excerpt, LongTextIsCutBetweenCharacters) {
  EXPECT_EQ(excerpt(std::string(1'000'000, 'x')), std::string(kExcerptBytes, 'x') + "…");
  EXPECT_EQ(excerpt("aé€😀b", 3), "aé…");
  EXPECT_EQ(excerpt("aé€😀b", 5), "aé…");
  EXPECT_EQ(excerpt("aé€😀b", 6), "aé€…");
  EXPECT_EQ(excerpt("aé€😀b", 11), "aé€😀b");
}

TEST(Excerpt, ShowsOneLineOfText) {
  EXPECT_EQ(excerpt("a\nb\x1b[2J\x7f"), "a?b?[2J?");
  EXPECT_EQ(excerpt("a\u009b2Jb\u202Ec"), "a?2Jb?c");
  // A lone start, overlong forms, half of a surrogate pair, beyond the last code point.
  for (const auto* no_text :
       {"\xff", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80"}) {
    EXPECT_TRUE(excerpt(no_text).starts_with("\uFFFD")) << no_text;
  }
}

TEST(JsonExcerpt, ShowsValuesAsWritten) {
  EXPECT_EQ(json_excerpt({{"a", {1, 2.5, "x\n", nullptr, true}}, {"b", json::object()}}),
            R"({"a":[1,2.5,"x\n",null,true],"b":{}})");
  EXPECT_EQ(json_excerpt(std::numeric_limits<double>::quiet_NaN()), "nan");
  EXPECT_EQ(json_excerpt({-std::numeric_limits<double>::infinity()}), "[-inf]");
  EXPECT_EQ(json_excerpt("caf\xe9"), "\"caf\uFFFD\"");
}

TEST(JsonExcerpt, LooksAtNoMoreThanItShows) {
  json deep = json::array();
  for (int level = 0; level < 200'000; ++level) {
    auto around = json::array();
    around.push_back(std::move(deep));
    deep = std::move(around);
  }
  EXPECT_EQ(json_excerpt(deep), std::string(kExcerptBytes, '[') + "…");
  json long_list(std::vector<int>(1'000'000, 7));
  EXPECT_EQ(json_excerpt(long_list).size(), kExcerptBytes + std::string("…").size());
  EXPECT_EQ(json_excerpt(std::string(1'000'000, 'x'), 4), "\"xxx…");
}

}  // namespace
}  // namespace linformer
