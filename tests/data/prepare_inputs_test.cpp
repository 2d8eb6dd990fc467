// What prepare() takes of its inputs, and what stands between them.
#include "linformer/data/prepare.hpp"

#include <algorithm>

#include "data/support.hpp"
#include "linformer/core/error.hpp"
#include "linformer/data/token_file.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

namespace linformer {
namespace {

using namespace std::string_literals;
using test::TemporaryFolder;
namespace fs = std::filesystem;
using Ids = std::vector<std::int64_t>;

Ids ids_of(const fs::path& folder) {
  const TokenData data = TokenData::open(folder);
  Ids ids(static_cast<std::size_t>(data.train_size() + data.validation_size()));
  data.copy_train(0, data.train_size(), ids.data());
  data.copy_validation(0, data.validation_size(), ids.data() + data.train_size());
  return ids;
}

class PrepareInputs : public testing::Test {
 protected:
  PrepareInputs() { folder_.write("texts/a.txt", "first "); }

  PrepareSummary run(const std::vector<std::string>& inputs, const fs::path& out = "") {
    options_.inputs = inputs;
    options_.out = out.empty() ? folder_.path() / "out" : out;
    const auto summary = prepare(options_);
    const auto ids = ids_of(options_.out);
    text_ = TokenData::open(options_.out).tokenizer()->decode({ids.begin(), ids.end()});
    return summary;
  }
  PrepareSummary run() { return run({texts().string()}); }
  fs::path texts() const { return folder_.path() / "texts"; }

  /// However the input spelled it, and without following the path itself.
  std::string below_texts(const fs::path& path) const {
    return (fs::canonical(path.parent_path()) / path.filename()).lexically_relative(fs::canonical(texts())).string();
  }
  /// "path: reason" with paths below texts.
  std::vector<std::string> left_out(const PrepareSummary& summary) const {
    std::vector<std::string> lines;
    for (const auto& [path, reason] : summary.left_out) lines.push_back(below_texts(path) + ": " + reason);
    return lines;
  }
  using Lines = std::vector<std::string>;

  TemporaryFolder folder_;
  PrepareOptions options_{.inputs = {}, .out = {}, .tokenizer = "bytes", .overwrite = true, .quiet = true};
  std::string text_;
};

TEST_F(PrepareInputs, TheFolderToWriteIsNoInputHoweverItIsSpelled) {
  const auto out = texts() / "books";
  EXPECT_TRUE(run({texts().string()}, out).left_out.empty());
  const auto first = ids_of(out);
  fs::create_directory_symlink(texts(), folder_.path() / "link");
  fs::create_directory_symlink(out, texts() / "again");
  const auto relative = fs::relative(texts());
  for (const auto& input :
       {texts(), texts() / "", texts() / ".", relative, folder_.path() / "link", texts() / "books" / ".."}) {
    for (const auto& spelling :
         {out, out / "", relative / "books", folder_.path() / "link" / "books", texts() / "." / "books"}) {
      const auto summary = run({input.string()}, spelling);
      EXPECT_EQ(ids_of(out), first) << input << " to " << spelling;
      EXPECT_EQ(left_out(summary), (Lines{"again: a link to a folder", "books: the folder to write"}));
    }
  }
}

TEST_F(PrepareInputs, WhatTheProgramWroteIsNoInput) {
  folder_.write("texts/prepared/tokens.bin", "");
  folder_.write("texts/prepared/tokenizer.json", "{}");
  folder_.write("texts/deep/run/config.json", R"({"train":{},"data":{},"seed":0})");
  folder_.write("texts/deep/run/checkpoints/step-000001/config.json", R"({"train":{},"data":{},"seed":0})");
  folder_.write("texts/model/config.json", "{}");
  folder_.write("texts/model/model.safetensors", "");
  folder_.write("texts/grid/ablation.json", R"({"type":"ablation"})");
  folder_.write("texts/grid/table.jsonl", "{}");
  folder_.write("texts/benchmark.jsonl", R"({"type":"machine"})");
  folder_.write("texts/deep/z.txt", "second");
  const auto summary = run();
  EXPECT_EQ(text_, "first second");
  EXPECT_EQ(left_out(summary), (Lines{"benchmark.jsonl: results of this program", "deep/run: a training run",
                                      "grid: an ablation", "model: a model", "prepared: prepared text"}));
}

TEST_F(PrepareInputs, LinksIntoSuchFoldersAreNone) {
  folder_.write("run/config.json", R"({"train":{},"data":{},"seed":0})");
  folder_.write("run/metrics.jsonl", "{}");
  folder_.write("run/tensorboard/notes.txt", "x");
  folder_.write("elsewhere/b.txt", "linked");
  fs::create_symlink(folder_.path() / "run/metrics.jsonl", texts() / "metrics.jsonl");
  fs::create_symlink(folder_.path() / "run/tensorboard/notes.txt", texts() / "notes.txt");
  fs::create_symlink(folder_.path() / "elsewhere/b.txt", texts() / "b.txt");
  fs::create_symlink(folder_.path() / "nowhere", texts() / "broken.txt");
  run({texts().string()});
  fs::create_symlink(folder_.path() / "out/tokenizer.json", texts() / "c.json");
  const auto summary = run();
  EXPECT_EQ(text_, "first linked");
  EXPECT_EQ(left_out(summary), (Lines{"broken.txt: not a regular file", "c.json: the folder to write",
                                      "metrics.jsonl: a training run", "notes.txt: a training run"}));
}

TEST_F(PrepareInputs, AFileThatIsNamedIsTaken) {
  const auto file = folder_.write("texts/run/metrics.jsonl", "lines");
  folder_.write("texts/run/config.json", R"({"train":{},"data":{},"seed":0})");
  EXPECT_EQ(run({texts().string(), file.string()}).files, 2);
  EXPECT_EQ(text_, "first lines");
}

TEST_F(PrepareInputs, AFolderThatIsNamedAndIsAnOutputIsLeftOut) {
  // As a pattern names it: --input texts/*
  const auto out = texts() / "books";
  run({texts().string()}, out);
  const auto summary = run({(texts() / "a.txt").string(), out.string()}, out);
  EXPECT_EQ(text_, "first ");
  EXPECT_EQ(left_out(summary), (Lines{"books: the folder to write"}));
}

TEST_F(PrepareInputs, NothingToReadIsAnError) {
  run();
  const auto message = [&](const fs::path& input) { return test::message_of([&] { run({input.string()}); }); };
  EXPECT_NE(message(folder_.path() / "out").find("out: is the folder to write"), std::string::npos);
  folder_.write("run/config.json", R"({"train":{},"data":{},"seed":0})");
  EXPECT_NE(message(folder_.path() / "run").find("run: is a training run"), std::string::npos);
  folder_.write("pictures/a.png", "\x89PNG\0\0"s);
  EXPECT_NE(message(folder_.path() / "pictures").find("a.png (NUL bytes"), std::string::npos);
}

TEST_F(PrepareInputs, OtherFilesAreLeftOutByName) {
  folder_.write("texts/.git/config", "x");
  folder_.write("texts/.hidden", "x");
  folder_.write("texts/b.png", "\x89PNG\0\0"s);
  folder_.write("texts/c.txt", "T\0h\0e\0 \0t\0e\0x\0t\0"s);
  folder_.write("texts/d.txt", "\xFF\xFE\0\0x\0\0\0"s);
  const auto summary = run();
  EXPECT_EQ(text_, "first ");
  EXPECT_EQ(left_out(summary), (Lines{".git: hidden", ".hidden: hidden", "b.png: NUL bytes, so no text",
                                      "c.txt: UTF-16 without a mark", "d.txt: UTF-32"}));
}

TEST_F(PrepareInputs, MarkedTextIsConvertedInFoldersAndByName) {
  const auto marked = folder_.write("texts/b.txt", "\xEF\xBB\xBFmarked ");
  const auto wide = folder_.write("texts/c.txt", "\xFF\xFEw\0\xE9\0"s);
  for (const auto& inputs :
       {Lines{texts().string()}, Lines{(texts() / "a.txt").string(), marked.string(), wide.string()}}) {
    const auto summary = run(inputs);
    EXPECT_EQ(text_, "first marked w\xC3\xA9");
    EXPECT_EQ(summary.train_bytes + summary.validation_bytes, 16);
    ASSERT_EQ(summary.remarks.size(), 2u);
    EXPECT_EQ(summary.remarks[0].path, marked.string());
    EXPECT_EQ(summary.remarks[1].path, wide.string());
    EXPECT_NE(summary.remarks[1].text.find("UTF-16"), std::string::npos);
  }
}

TEST_F(PrepareInputs, NamedBytesAreTakenAndSaid) {
  const auto summary = run({folder_.write("samples", "\1\0\2\0\3"s).string()});
  EXPECT_EQ(text_, "\1\0\2\0\3"s);
  ASSERT_EQ(summary.remarks.size(), 1u);
  EXPECT_NE(summary.remarks[0].text.find("NUL"), std::string::npos);
  EXPECT_THROW(run({folder_.write("wide.txt", "T\0h\0e\0 \0t\0e\0x\0t\0"s).string()}), UserError);
}

class PrepareSeparator : public PrepareInputs {
 protected:
  PrepareSeparator() {
    options_.tokenizer = test::source_path("data/gpt2");
    folder_.write("texts/b.txt", "");
    folder_.write("texts/c.txt", "\xEF\xBB\xBF");  // a mark alone is no text
    folder_.write("texts/d.txt", " second<|endoftext|>");
    folder_.write("texts/e.txt", "third");
    folder_.write("texts/f.txt", "");
  }
  Ids joined(std::int64_t separator, std::int64_t count) const {
    Ids ids;
    for (const std::string text : {"first ", " second<|endoftext|>", "third"}) {
      if (!ids.empty()) ids.insert(ids.end(), static_cast<std::size_t>(count), separator);
      const auto more = test::gpt2()->encode(text);
      ids.insert(ids.end(), more.begin(), more.end());
    }
    return ids;
  }
  static constexpr std::int64_t kTextBytes = 6 + 20 + 5;
};

TEST_F(PrepareSeparator, StandsBetweenTextsWhereTheTokenizerHasOne) {
  for (const auto wanted : {Separator::automatic, Separator::on}) {
    options_.separator = wanted;
    const auto summary = run();
    EXPECT_EQ(ids_of(options_.out), joined(50256, 1));
    EXPECT_EQ(summary.separators, 2);
    EXPECT_EQ(summary.train_bytes + summary.validation_bytes, kTextBytes);
    EXPECT_EQ(TokenData::open(options_.out).separators(), 2);
    std::string header(192, '\0');
    std::ifstream(options_.out / "tokens.bin", std::ios::binary).read(header.data(), 192);
    EXPECT_EQ(header.substr(184), "\2\0\0\0\0\0\0\0"s);
  }
  options_.separator = Separator::off;
  EXPECT_EQ(run().separators, 0);
  EXPECT_EQ(ids_of(options_.out), joined(0, 0));
}

TEST_F(PrepareSeparator, CountsNoBytesOfTheValidation) {
  const auto ids = joined(50256, 1);
  const auto third = static_cast<std::int64_t>(test::gpt2()->encode("third").size());
  options_.validation = static_cast<double>(third + 1) / static_cast<double>(ids.size());  // and the one before it
  const auto summary = run();
  ASSERT_EQ(summary.validation_tokens, third + 1);
  EXPECT_EQ(summary.validation_bytes, 5);
  EXPECT_DOUBLE_EQ(TokenData::open(options_.out).validation_bytes_per_token(), 5.0 / static_cast<double>(third + 1));
}

TEST_F(PrepareSeparator, TheCorpusVocabularyKeepsIt) {
  options_.corpus_vocabulary = true;
  const auto summary = run();
  const auto tokenizer = TokenData::open(options_.out).tokenizer();
  ASSERT_EQ(tokenizer->end_of_text(), tokenizer->size() - 1);
  const auto ids = ids_of(options_.out);
  EXPECT_EQ(std::ranges::count(ids, tokenizer->size() - 1), 2);
  EXPECT_EQ(text_, "first <|endoftext|> second<|endoftext|><|endoftext|>third");
  EXPECT_EQ(summary.train_bytes + summary.validation_bytes, kTextBytes);
  // The vocabulary serves other texts, which get the same separator.
  options_.corpus_vocabulary = false;
  options_.tokenizer = (options_.out / "tokenizer.json").string();
  EXPECT_EQ(run({texts().string()}, folder_.path() / "second").separators, 2);
  EXPECT_EQ(ids_of(folder_.path() / "second"), ids);
}

TEST_F(PrepareSeparator, OneTextNeedsNone) {
  options_.corpus_vocabulary = true;
  EXPECT_EQ(run({(texts() / "a.txt").string()}).separators, 0);
  EXPECT_EQ(TokenData::open(options_.out).tokenizer()->end_of_text(), std::nullopt);
}

TEST_F(PrepareSeparator, BytesHaveNone) {
  options_.tokenizer = "bytes";
  EXPECT_EQ(run().separators, 0);
  EXPECT_EQ(text_, "first  second<|endoftext|>third");
  options_.separator = Separator::on;
  const auto message = test::message_of([&] { run(); });
  EXPECT_NE(message.find("--separator on"), std::string::npos) << message;
  EXPECT_NE(message.find("bytes"), std::string::npos) << message;
}

class PrepareValidation : public PrepareInputs {
 protected:
  PrepareValidation() {
    folder_.write("held/x.txt", "third ");
    folder_.write("held/y.txt", "fourth");
    folder_.write("texts/b.txt", "second ");
    options_.validation_inputs = {(folder_.path() / "held").string()};
  }
  std::string part(bool training) const {
    const auto data = TokenData::open(options_.out);
    Ids ids(static_cast<std::size_t>(training ? data.train_size() : data.validation_size()));
    training ? data.copy_train(0, data.train_size(), ids.data())
             : data.copy_validation(0, data.validation_size(), ids.data());
    return data.tokenizer()->decode({ids.begin(), ids.end()});
  }
  std::string refusal(const std::vector<std::string>& inputs) {
    return test::message_of([&] { run(inputs); });
  }
};

TEST_F(PrepareValidation, InputsOfTheirOwnAreTheValidationPart) {
  const auto summary = run();
  EXPECT_EQ(part(true), "first second ");
  EXPECT_EQ(part(false), "third fourth");
  EXPECT_EQ(summary.files, 4);
  EXPECT_EQ(summary.train_bytes, 13);
  EXPECT_EQ(summary.validation_bytes, 12);
  options_.tokenizer = test::source_path("data/gpt2");
  EXPECT_EQ(run().separators, 3);
  EXPECT_EQ(part(true), "first <|endoftext|>second ");
  EXPECT_EQ(part(false), "<|endoftext|>third <|endoftext|>fourth");
}

TEST_F(PrepareValidation, WhatIsTrainedOnIsNoValidation) {
  const auto texts_again = refusal({texts().string(), (folder_.path() / "texts/../held").string()});
  EXPECT_NE(texts_again.find("--validation-input"), std::string::npos) << texts_again;
  folder_.write("nothing.txt", "");
  options_.validation_inputs = {(folder_.path() / "nothing.txt").string()};
  EXPECT_NE(refusal({texts().string()}).find("--validation-input hold no text"), std::string::npos);
  options_.validation_inputs = {texts().string()};
  EXPECT_NE(refusal({(folder_.path() / "nothing.txt").string()}).find("--input hold no text"), std::string::npos);
  options_.validation_inputs = {(folder_.path() / "missing").string()};
  EXPECT_NE(refusal({texts().string()}).find("missing"), std::string::npos);
}

}  // namespace
}  // namespace linformer
