#include "linformer/core/json.hpp"

#include <algorithm>

#include "core/support.hpp"

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
