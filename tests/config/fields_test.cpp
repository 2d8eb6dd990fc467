// Every field, through text, JSON and TOML; wrong values, unknown names.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "config/toml.hpp"
#include "core/support.hpp"
#include "linformer/config/io.hpp"
#include "linformer/core/json.hpp"
#include "support/paths.hpp"

namespace linformer {
namespace {

using test::holds;
using test::message_of;

// Values of each type that differ from every default, as the command line writes them.
std::vector<std::string> values_of(const FieldHandle& field) {
  if (field.type == "INT") return {"17", "-3", "0"};
  if (field.type == "FLOAT") return {"0.125", "1e-07", "3"};
  if (field.type == "BOOL") return {"true", "false"};
  if (field.type == "INT,INT,…") return {"3,4,5", "7", ""};
  if (field.type == "INT|auto") return {"auto", "19"};
  if (field.name == "data.depth") return {"auto", "0.35"};  // NaN, which equals nothing, is no depth
  if (field.type == "FLOAT|none|auto") return {"auto", "none", "-2.5"};
  if (field.type == "TEXT") return {"one, two", "…\"\\\n"};
  std::vector<std::string> names;
  std::string rest = field.type + "|";
  for (std::size_t end; (end = rest.find('|')) != std::string::npos; rest.erase(0, end + 1))
    names.push_back(rest.substr(0, end));
  return names;
}

// Sections and keys as a user writes them; JSON's texts, numbers and lists are TOML too.
std::string toml_of(const json& sections) {
  std::string text;
  for (const auto& [section, values] : sections.items()) {
    text += "[" + section + "]\n";
    for (const auto& [key, value] : values.items()) text += key + " = " + value.dump() + "\n";
  }
  return text;
}

template <class Config>
class Fields : public testing::Test {};
using Configs = testing::Types<ModelConfig, TrainConfig, SamplingConfig, DataConfig>;
TYPED_TEST_SUITE(Fields, Configs);

TYPED_TEST(Fields, RoundTrips) {
  const test::TemporaryFolder folder;
  TypeParam config;
  for (auto& field : fields_of(config)) {
    ASSERT_GE(values_of(field).size(), 2u) << field.name << " " << field.type;
    for (const auto& value : values_of(field)) {
      field.parse(value);
      EXPECT_EQ(field.text(), value) << field.name;
      const auto object = to_json(fields_of(config));
      TypeParam from_object, from_file;
      from_json(fields_of(from_object), parse_json(object.dump(), "x"), "x");
      EXPECT_TRUE(from_object == config) << field.name << " = " << value;
      from_json(fields_of(from_file), read_toml(folder.write("x.toml", toml_of(object))), "x.toml");
      EXPECT_TRUE(from_file == config) << field.name << " = " << value;
    }
  }
}

TYPED_TEST(Fields, EachHasOneNameWithASectionAndHelp) {
  TypeParam config;
  std::set<std::string> names;
  for (const auto& field : fields_of(config)) {
    EXPECT_TRUE(names.insert(field.name).second) << field.name;
    EXPECT_EQ(std::count(field.name.begin(), field.name.end(), '.'), 1) << field.name;
    EXPECT_FALSE(field.help.empty()) << field.name;
  }
  EXPECT_TRUE(config == TypeParam());
}

TYPED_TEST(Fields, AWrongTextNamesFieldValueAndWhatIsExpected) {
  TypeParam config;
  for (auto& field : fields_of(config)) {
    if (field.type == "TEXT") continue;  // any text will do
    for (const std::string value : {"many", "1.5x", "1,,2", "--", "nan", "inf", "1e999", " 1", "True"}) {
      const auto before = field.text();
      EXPECT_TRUE(holds(message_of([&] { field.parse(value); }), {field.name, "'" + value + "'", "expected"}))
          << field.type;
      EXPECT_EQ(field.text(), before);
    }
  }
}

TYPED_TEST(Fields, AWrongTypeInAFileNamesFileFieldAndValue) {
  TypeParam config;
  for (auto& field : fields_of(config)) {
    for (const auto* value :
         {"{}", "null", "[[1]]", "\"\xff\"", "18446744073709551615.5e300", "[true]", "\"many \\u0000\""}) {
      const bool any_text = field.type == "TEXT" && *value == '"';
      const auto read = json::parse(value, nullptr, false);
      if (any_text || read.is_discarded()) continue;
      const auto dot = field.name.find('.');
      const json object = {{field.name.substr(0, dot), {{field.name.substr(dot + 1), read}}}};
      EXPECT_TRUE(holds(message_of([&] { from_json(fields_of(config), object, "my.toml"); }),
                        {"my.toml: ", field.name, "expected"}))
          << field.name << " " << value;
    }
  }
  EXPECT_TRUE(config == TypeParam());
}

TEST(Json, WholeNumbersAreNotCutAndFractionsTakeWholeNumbers) {
  ModelConfig model;
  const auto set = [&](const json& object) { from_json(fields_of(model), object, "f"); };
  set({{"model", {{"dropout", 0}}}});
  EXPECT_EQ(model.dropout, 0);
  EXPECT_TRUE(holds(message_of([&] { set({{"model", {{"length", 5.0}}}}); }),
                    {"model.length is 5.0, expected a whole number"}));
  EXPECT_TRUE(
      holds(message_of([&] { set({{"model", {{"length", 18446744073709551615u}}}}); }), {"18446744073709551615"}));
  EXPECT_TRUE(holds(message_of([&] { set({{"model", {{"length", "5"}}}}); }), {"model.length is \"5\""}));
  EXPECT_TRUE(holds(message_of([&] { set({{"model", {{"tied", 1}}}}); }), {"model.tied is 1, expected true or false"}));
  EXPECT_TRUE(
      holds(message_of([&] { set({{"attention", {{"kind", "softmx"}}}}); }), {"softmx", "one of softmax, linformer"}));
  EXPECT_TRUE(holds(message_of([&] { set({{"attention", {{"window", "none"}}}}); }), {"a whole number or auto"}));
  EXPECT_EQ(model.length, 512);
}

TEST(Text, WholeNumbersDoNotWrapAround) {
  ModelConfig model;
  for (auto& field : fields_of(model)) {
    if (field.name != "model.length") continue;
    EXPECT_TRUE(holds(message_of([&] { field.parse("9223372036854775808"); }),
                      {"model.length", "9223372036854775808", "whole number"}));
    field.parse("9223372036854775807");
    EXPECT_EQ(model.length, std::numeric_limits<std::int64_t>::max());
  }
}

TEST(Json, UnknownNamesGetTheNearestKnownOne) {
  ModelConfig model;
  const auto message = [&](const json& object) {
    return message_of([&] { from_json(fields_of(model), object, "f", {"train"}); });
  };
  EXPECT_TRUE(
      holds(message({{"model", {{"lenght", 5}}}}), {"f: unknown key model.lenght; did you mean model.length?"}));
  EXPECT_TRUE(holds(message({{"model", {{"slots", 5}}}}), {"did you mean attention.slots?"}));
  EXPECT_TRUE(
      holds(message({{"attention", {{"zzzzzz", 5}}}}), {"unknown key attention.zzzzzz; [attention] has kind, slots"}));
  EXPECT_TRUE(holds(message({{"modle", json::object()}}), {"unknown section modle; did you mean model?"}));
  EXPECT_TRUE(holds(message({{"zzzzzz", json::object()}}),
                    {"unknown section zzzzzz; the sections are model, attention, train"}));
  EXPECT_TRUE(holds(message({{"model", 5}}), {"model is not a section"}));
  EXPECT_TRUE(holds(message(json::array()), {"expected sections"}));
  from_json(fields_of(model), {{"train", {{"anything", 1}}}}, "f", {"train"});
}

TEST(Json, ASamplingSectionAmongOthers) {
  SamplingConfig sampling;
  from_json(sampling, {{"model", 1}, {"train", 2}, {"generate", {{"top_k", 7}, {"stop", {"a", "b"}}}}}, "f");
  EXPECT_EQ(sampling.top_k, 7);
  EXPECT_EQ(sampling.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(holds(message_of([&] { from_json(sampling, {{"generate", {{"topk", 7}}}}, "f"); }),
                    {"did you mean generate.top_k?"}));
  EXPECT_TRUE(holds(message_of([&] { from_json(sampling, {{"generate", {{"stop", "a"}}}}, "f"); }),
                    {"generate.stop is \"a\"", "list"}));
  EXPECT_TRUE(holds(message_of([&] { from_json(sampling, {{"genrate", 1}}, "f"); }), {"did you mean generate?"}));
}

TEST(SectionsWithout, AreThoseThatOtherVerbsRead) {
  FileConfig config;
  using Names = std::vector<std::string>;
  EXPECT_EQ(sections_without({}), (Names{"model", "attention", "train", "data", "generate"}));
  EXPECT_EQ(sections_without(fields_of(config.model)), (Names{"train", "data", "generate"}));
  EXPECT_EQ(sections_without(fields_of(config.sampling)), (Names{"model", "attention", "train", "data"}));
  EXPECT_EQ(sections_without(fields_of(config)), Names{});
}

// It is for `benchmark` alone.
TEST(AttentionFields, NoneIsCalledPlain) {
  ModelConfig config;
  config.attention.plain = true;
  for (const auto& field : fields_of(config)) EXPECT_EQ(field.name.find("plain"), std::string::npos) << field.name;
  EXPECT_EQ(to_json(fields_of(config)), [] {
    ModelConfig usual;
    return to_json(fields_of(usual));
  }());
  EXPECT_FALSE(config == ModelConfig{});
}

TEST(Precedence, LaterSourcesOverrideEarlierOnes) {
  TrainConfig train;
  auto fields = fields_of(train);
  from_json(fields, parse_json(R"({"train":{"steps":7,"batch":3}})", "f"), "f");
  for (auto& field : fields) {
    if (field.name == "train.steps") field.parse("9");
  }
  EXPECT_EQ(train.steps, 9);             // command line
  EXPECT_EQ(train.batch, 3);             // file
  EXPECT_EQ(train.learning_rate, 5e-4);  // default
}

TEST(Toml, ErrorsNameFileLineAndColumn) {
  const test::TemporaryFolder folder;
  const auto message = [&](const std::string& text) {
    return message_of([&] { read_toml(folder.write("my.toml", text)); });
  };
  EXPECT_TRUE(holds(message("[model]\nlength = = 5\n"), {"my.toml: line 2, column 10"}));
  EXPECT_TRUE(holds(message("[model]\nlength = 5\nlength = 6\n"), {"my.toml: line 3", "length"}));
  EXPECT_TRUE(holds(message("[model\n"), {"line 1"}));
  EXPECT_TRUE(holds(message("[model]\nwidth = 1979-05-27\n"), {"line 2, column 9", "date"}));
  EXPECT_TRUE(holds(message("x = \"\xff\"\n"), {"my.toml: line 1"}));
  EXPECT_TRUE(holds(message_of([&] { read_toml(folder / "nothing.toml"); }), {"nothing.toml", "No such file"}));
}

// The library asserts these, which would end the process.
TEST(Toml, WhatTheLibraryAssertsIsAnError) {
  for (const auto* text : {"[$]\n", "[[$]]\n", "[a]\n[ $b]\n", "x = {$ = 1}\n", "[=]\n", "x = [1, \u01A2]\n",
                           "x = -\"\u01A2\"\n", "x = 1 '\u01A2'\n", "x\"\u01A2\" = 1\n", "x = 'a''\u01A2'\n"}) {
    const auto message = message_of([&] { parse_toml(text, "f"); });
    EXPECT_TRUE(message.starts_with("f: ")) << text << message;
  }
  const auto texts = parse_toml("\uFEFFx = '\u01A2' # \u01A2\ny = \"\"\"\n\u01A2\"\"\"\n", "f");
  EXPECT_EQ(texts["x"], "\u01A2");
  EXPECT_EQ(texts["y"], "\u01A2");
  EXPECT_EQ(parse_toml("\"a\" . 'b' = [ 'x' ,\"y\",\n  'z' ]\r\n \"c\" = { \"d\"='e' }\n", "f").dump(),
            R"({"a":{"b":["x","y","z"]},"c":{"d":"e"}})");
}

TEST(Toml, DepthIsBounded) {
  const auto repeated = [](std::string_view part, std::size_t times) {
    std::string text;
    for (std::size_t i = 0; i < times; ++i) text += part;
    return text;
  };
  for (const std::size_t times : {100, 150'000}) {
    for (const auto& text :
         {"x = " + repeated("[", times), "x = " + repeated("{a=", times), repeated("a.", times) + "a = 1",
          "[" + repeated("a.", times) + "a]\n", "x = {" + repeated("a . ", times) + "a = 1}\n",
          "y = '.'\n" + repeated("'a'.", times) + "a=1", "# '\n" + repeated("\"a\".", times) + "a=1"}) {
      const auto message = message_of([&] { parse_toml(text, "f"); });
      EXPECT_TRUE(message.starts_with("f: line ")) << message;
      EXPECT_LT(message.size(), 300) << message;
    }
  }
  // Keys of fifteen dots within tables of fifteen dots within one another.
  const auto key = repeated("a.", 15) + "a = ";
  EXPECT_TRUE(holds(message_of([&] { parse_toml(key + repeated("{" + key, 20) + "1" + repeated("}", 20), "f"); }),
                    {"f: line 1", "more than 64 deep"}));
}

TEST(Toml, DotsInTextAreNoKeys) {
  const std::string dots(100, '.');
  EXPECT_EQ(
      parse_toml("a = '" + dots + "' # " + dots + "\nb = \"\\\"" + dots + "\"\nc = \"\"\"\n\"" + dots +
                     "\"\"\"\"\nd = [" + "1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, " +
                     "7.5, 8.5, 9.5]\n",
                 "f")
          .size(),
      4);
}

TEST(Toml, NumbersThatAreNoneStandInTheMessageAsWritten) {
  TrainConfig train;
  const auto message = [&](const std::string& value) {
    return message_of([&] { from_json(fields_of(train), parse_toml("[train]\nlearning_rate = " + value, "f"), "f"); });
  };
  EXPECT_TRUE(holds(message("nan"), {"f: train.learning_rate is nan, expected a number"}));
  EXPECT_TRUE(holds(message("inf"), {"train.learning_rate is inf, expected a number"}));
  EXPECT_TRUE(holds(message("-inf"), {"train.learning_rate is -inf, expected a number"}));
  EXPECT_TRUE(holds(message_of([&] { parse_toml("[data]\nseed = 18446744073709551616", "f"); }), {"f: line 2"}));
  EXPECT_TRUE(holds(message_of([&] { parse_toml("[data]\nseed = 010", "f"); }), {"f: line 2"}));
}

TEST(Text, NumbersAreDecimal) {
  TrainConfig train;
  for (auto& field : fields_of(train)) {
    if (field.name != "train.steps" && field.name != "train.clip") continue;
    for (const auto* text : {"", "010", "0x10", " 1", "1 ", "+1", "nan", "inf"})
      EXPECT_TRUE(holds(message_of([&] { field.parse(text); }), {field.name, "'" + std::string(text) + "'", "number"}));
    field.parse("2");
  }
  EXPECT_EQ(train.steps, 2);
  EXPECT_EQ(train.clip, 2);
}

TEST(Text, LongValuesAreShownInPart) {
  TrainConfig train;
  const std::string text(1'000'000, '9');
  for (auto& field : fields_of(train)) EXPECT_LT(message_of([&] { field.parse(text); }).size(), 300) << field.name;
  EXPECT_LT(message_of([&] { from_json(fields_of(train), {{"train", {{"steps", text}}}}, "f"); }).size(), 300);
  EXPECT_LT(message_of([&] { from_json(fields_of(train), {{"train", {{text, 1}}}}, "f"); }).size(), 1000);
  EXPECT_LT(message_of([&] { from_json(fields_of(train), {{text, 1}}, "f"); }).size(), 300);
}

TEST(Toml, Values) {
  const test::TemporaryFolder folder;
  const auto object =
      read_toml(folder.write("x.toml", "# words\na = [1, 2.5, \"x\"]\n[s.t]\nb = true\nc = 1e-5\nd = 1_000\n"));
  EXPECT_EQ(object, parse_json(R"({"a":[1,2.5,"x"],"s":{"t":{"b":true,"c":1e-5,"d":1000}}})", "x"));
}

TEST(Toml, TheFilesOfTheProjectAreValid) {
  for (const auto& entry : std::filesystem::directory_iterator(test::source_path("configs"))) {
    if (entry.path().extension() != ".toml") continue;
    ModelConfig model;
    TrainConfig train;
    auto fields = fields_of(model);
    const auto more = fields_of(train);
    fields.insert(fields.end(), more.begin(), more.end());
    from_json(fields, read_toml(entry.path()), entry.path().string(), {"generate", "data"});
    EXPECT_NO_THROW(resolved(model)) << entry.path();
    EXPECT_NO_THROW(check(train)) << entry.path();
  }
}

TEST(NearestName, MeansSlipsOnly) {
  const std::vector<std::string> names{"length", "layers", "heads"};
  EXPECT_EQ(nearest_name("lenght", names), "length");
  EXPECT_EQ(nearest_name("head", names), "heads");
  EXPECT_EQ(nearest_name("haeds", names), "heads");
  EXPECT_EQ(nearest_name("hands", names), "");
  EXPECT_EQ(nearest_name("layer", names), "layers");
  EXPECT_EQ(nearest_name("vocabulary", names), "");
  EXPECT_EQ(nearest_name("", names), "");
  EXPECT_EQ(nearest_name("x", {}), "");
}

TEST(Form, OfALayerFollowsFromItsNumber) {
  ModelConfig config;
  config.layers = 3;
  config.attention.softmax_layers = {0, 2};
  const auto forms = [&] { return std::vector{form_of(config, 0), form_of(config, 1), form_of(config, 2)}; };
  EXPECT_EQ(forms(), (std::vector{Form::softmax, Form::running, Form::softmax}));
  EXPECT_EQ(config.slots_of(0), 0);
  EXPECT_EQ(config.slots_of(1), 64);
  EXPECT_EQ(form_of(resolved(config), 2), Form::softmax);
  config.causal = false;
  EXPECT_EQ(forms(), (std::vector{Form::bidirectional_softmax, Form::bidirectional, Form::bidirectional_softmax}));
  config.attention.softmax_layers = {};
  config.attention.kind = AttentionKind::softmax;
  EXPECT_EQ(form_of(config, 1), Form::bidirectional_softmax);
}

TEST(Form, FollowsFromTheConfig) {
  ModelConfig config;
  EXPECT_EQ(form_of(config), Form::running);
  config.attention.slots = 0;  // a window alone
  EXPECT_EQ(form_of(config), Form::running);
  config.attention.summary = Summary::block;
  EXPECT_EQ(form_of(config), Form::block);
  config.attention.window = 0;
  EXPECT_EQ(form_of(config), Form::prefix);
  config.causal = false;
  EXPECT_EQ(form_of(config), Form::bidirectional);
  config.attention.kind = AttentionKind::softmax;
  EXPECT_EQ(form_of(config), Form::bidirectional_softmax);
  config.causal = true;
  config.attention.window = 8;  // not used
  EXPECT_EQ(form_of(config), Form::softmax);
}

}  // namespace
}  // namespace linformer
