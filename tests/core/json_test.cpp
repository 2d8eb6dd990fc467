#include "linformer/core/json.hpp"

#include <algorithm>

#include "core/support.hpp"
#include "linformer/core/lenient_json.hpp"

namespace linformer {
namespace {

using test::holds;
using test::message_of;

TEST(Json, KeepsTheOrderOfKeys) {
  EXPECT_EQ(parse_json(R"({"z":1,"a":[2.5,null]})", "x").dump(), R"({"z":1,"a":[2.5,null]})");
}

TEST(Json, ErrorsNameSourceAndPlace) {
  const auto message = message_of([] { parse_json("{\n\"a\": ]}", "some/file.json"); });
  EXPECT_TRUE(holds(message, {"some/file.json: not valid JSON", "line 2, column 6"}));
  EXPECT_EQ(message.find("json.exception"), std::string::npos);
  for (const auto* text : {"", "{", "nul", "{\"a\":1}x", "\"\xff\"", "[1e999]", "{'a':1}"}) {
    EXPECT_TRUE(holds(message_of([&] { parse_json(text, "f"); }), {"f: not valid JSON"})) << text;
  }
  const auto quoting = message_of([] { parse_json("[\"\xff\"]", "f"); });
  EXPECT_TRUE(std::all_of(quoting.begin(), quoting.end(), [](char c) { return c >= ' ' && c <= '~'; })) << quoting;
}

std::string repeated(std::string_view part, std::size_t times) {
  std::string text;
  for (std::size_t i = 0; i < times; ++i) text += part;
  return text;
}

TEST(Json, DepthIsBounded) {
  EXPECT_EQ(parse_json(repeated("[", 64) + repeated("]", 64), "f").dump(), repeated("[", 64) + repeated("]", 64));
  EXPECT_TRUE(parse_json(repeated("{\"a\":", 64) + "1" + repeated("}", 64), "f").is_object());
  for (const auto* open : {"[", "{\"a\":", "[{\"a\":"}) {
    for (const std::size_t times : {65, 150'000}) {
      const auto text = repeated(open, times);
      EXPECT_TRUE(holds(message_of([&] { parse_json(text, "f"); }), {"f: ", "more than 64 deep"})) << open << times;
      EXPECT_TRUE(parse_json_or_discard(text).is_discarded());
    }
  }
  EXPECT_EQ(parse_json("[" + repeated("[],", 1000) + "[]]", "f").size(), 1001);
}

TEST(Json, MessagesAreShortHoweverLongTheText) {
  const auto words = message_of([] { parse_json("[" + std::string(1'000'000, 'x'), "f"); });
  EXPECT_LT(words.size(), 300);
  EXPECT_TRUE(holds(words, {"line 1, column 2"}));
  EXPECT_LT(message_of([] { parse_json("[1" + std::string(1'000'000, '0') + "]", "f"); }).size(), 300);
  EXPECT_LT(message_of([] { parse_json("[\"" + std::string(1'000'000, 'x'), "f"); }).size(), 300);
}

TEST(Json, AKeyThatComesTwiceIsAnError) {
  EXPECT_TRUE(holds(message_of([] { parse_json(R"({"b":{"a":1,"c":2,"a":3}})", "f"); }), {"f: ", "\"a\" comes twice"}));
  EXPECT_TRUE(parse_json(R"({"a":{"a":1},"b":{"a":1}})", "f").is_object());
}

TEST(Json, ManyKeysTakeLinearTime) {
  std::string text = "{";
  for (int key = 0; key < 300'000; ++key) text += (key ? ",\"" : "\"") + std::to_string(key) + "\":0";
  EXPECT_EQ(parse_json(text + "}", "f").size(), 300'000);
}

TEST(Json, DamageIsDiscardedWhereItIsAskedFor) {
  EXPECT_EQ(parse_json_or_discard("{\"a\":[1]}").dump(), "{\"a\":[1]}");
  EXPECT_EQ(parse_json_or_discard("7"), 7);
  for (const auto* text : {"", "{", "{\"a\":1}x", "nul"})
    EXPECT_TRUE(parse_json_or_discard(text).is_discarded()) << text;
}

TEST(Json, TextOfUsersNeedNotBeUtf8) {
  EXPECT_EQ(dump({{"out", "caf\xe9/\xc3\xa9"}}), "{\"out\":\"caf\xef\xbf\xbd/\xc3\xa9\"}");
  EXPECT_EQ(dump({{"a", 1}}, 2), "{\n  \"a\": 1\n}");
}

TEST(Json, Files) {
  const test::TemporaryFolder folder;
  EXPECT_EQ(read_json(folder.write("good.json", "{\"a\":1}"))["a"], 1);
  const auto bad = folder.write("bad.json", "{");
  EXPECT_TRUE(holds(message_of([&] { read_json(bad); }), {bad.string(), "not valid JSON"}));
  EXPECT_TRUE(holds(message_of([&] { read_json(folder / "nothing.json"); }), {"nothing.json", "No such file"}));
}

}  // namespace
}  // namespace linformer
