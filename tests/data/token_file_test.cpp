// prepare() and the token files that it writes, whole and damaged.
#include "linformer/data/token_file.hpp"

#include <algorithm>
#include <cmath>

#include "data/support.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/hash.hpp"
#include "linformer/core/json.hpp"
#include "linformer/data/prepare.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

namespace linformer {
namespace {

using test::TemporaryFolder;
namespace fs = std::filesystem;

PrepareOptions options_for(const fs::path& input, const fs::path& out) {
  return {.inputs = {input.string()}, .out = out, .tokenizer = test::source_path("data/gpt2"), .quiet = true};
}

std::string whole_text(const TokenData& data) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(data.train_size() + data.validation_size()));
  data.copy_train(0, data.train_size(), ids.data());
  data.copy_validation(0, data.validation_size(), ids.data() + data.train_size());
  return data.tokenizer()->decode({ids.begin(), ids.end()});
}

TEST(Prepare, DecodesToItsInputs) {
  const TemporaryFolder folder;
  std::mt19937_64 random(7);
  std::string first = test::random_text(random, 20'001, true);
  const std::string second = "  second\n";
  std::erase(first, '\0');  // which would mark it as no text
  folder.write("in/b.txt", second);
  folder.write("in/a/deep.txt", first);
  folder.write("in/.hidden", "not this");
  folder.write("in/picture.png", std::string("\x89PNG\0\0", 6));
  for (const std::string& tokenizer : {std::string("bytes"), test::source_path("data/gpt2")}) {
    PrepareOptions options = options_for(folder.path() / "in", folder.path() / "out");
    options.tokenizer = tokenizer;
    options.overwrite = true;
    const PrepareSummary summary = prepare(options);
    const TokenData data = TokenData::open(options.out);
    const std::string between = data.tokenizer()->end_of_text() ? "<|endoftext|>" : "";
    EXPECT_TRUE(whole_text(data) == first + between + second);
    EXPECT_EQ(summary.files, 2);
    EXPECT_EQ(static_cast<std::size_t>(summary.train_bytes + summary.validation_bytes), (first + second).size());
    EXPECT_EQ(data.train_size(), summary.train_tokens);
    const auto tokens = static_cast<double>(summary.train_tokens + summary.validation_tokens);
    EXPECT_NEAR(static_cast<double>(summary.validation_tokens), 0.1 * tokens, 0.51);
    EXPECT_DOUBLE_EQ(data.validation_bytes_per_token(),
                     static_cast<double>(summary.validation_bytes) / static_cast<double>(summary.validation_tokens));
    EXPECT_FALSE(fs::exists(options.out / "encoded.part"));
  }
}

TEST(Prepare, CorpusVocabularyIsStoredWithTheTokens) {
  const TemporaryFolder folder;
  const std::string text = "She sells sea shells by the sea shore. \xF0\x9F\x90\x9A\n";
  PrepareOptions options = options_for(folder.write("text.txt", text), folder.path() / "out");
  options.corpus_vocabulary = true;
  const PrepareSummary summary = prepare(options);
  const TokenData data = TokenData::open(options.out);
  EXPECT_EQ(data.tokenizer()->name(), "gpt2-corpus");
  EXPECT_EQ(data.tokenizer()->size(), summary.vocabulary);
  EXPECT_LT(summary.vocabulary, 350);
  EXPECT_EQ(whole_text(data), text);
  EXPECT_EQ(static_cast<std::int64_t>(data.tokenizer()->encode(text).size()),
            data.train_size() + data.validation_size());
}

TEST(Prepare, WideVocabulariesTake32Bits) {
  const TemporaryFolder folder;
  std::string ranks;
  {  // 256 bytes and 70000 tokens of three letters and more
    json tokens = json::array();
    const auto digits = [](std::string_view three) {  // base64 of three bytes
      constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
      std::uint32_t word = 0;
      for (const char c : three) word = word << 8 | static_cast<unsigned char>(c);
      return std::string{kDigits[word >> 18], kDigits[word >> 12 & 63], kDigits[word >> 6 & 63], kDigits[word & 63]};
    };
    for (int value = 0; value < 256; ++value) {
      const std::string full = digits(std::string{static_cast<char>(value), '\0', '\0'});
      tokens.push_back(full.substr(0, 2) + "==");
    }
    for (int i = 0; i < 70'000; ++i) {
      tokens.push_back(digits(
          std::string{static_cast<char>('a' + i % 26), static_cast<char>(i / 26 % 256), static_cast<char>(i / 6656)}));
    }
    ranks = json{{"format_version", 1}, {"kind", "bpe"}, {"name", "wide"}, {"end_of_text", false}, {"tokens", tokens}}
                .dump();
  }
  PrepareOptions options = options_for(folder.write("text.txt", "abc hello"), folder.path() / "out");
  options.tokenizer = folder.write("wide.json", ranks).string();
  prepare(options);
  EXPECT_EQ(whole_text(TokenData::open(options.out)), "abc hello");
  EXPECT_EQ(fs::file_size(options.out / "tokens.bin"),
            256u + 4u * load_tokenizer(options.tokenizer)->encode("abc hello").size());
}

TEST(Prepare, BadInputAndOutputAreErrorsThatLoseNothing) {
  const TemporaryFolder folder;
  const fs::path text = folder.write("text.txt", "some text"), empty = folder.write("empty.txt", "");
  const fs::path out = folder.path() / "out";
  EXPECT_THROW(prepare(options_for(empty, out)), UserError);
  EXPECT_THROW(prepare(options_for(folder.path() / "missing.txt", out)), UserError);
  fs::create_directories(folder.path() / "nothing");
  EXPECT_THROW(prepare(options_for(folder.path() / "nothing", out)), UserError);
  PrepareOptions options = options_for(text, out);
  options.inputs = {};
  EXPECT_THROW(prepare(options), UserError);
  options = options_for(text, out);
  for (const double validation : {-0.1, 1.0, std::nan("")}) {
    options.validation = validation;
    EXPECT_THROW(prepare(options), UserError);
  }
  EXPECT_FALSE(fs::exists(out));

  EXPECT_THROW(prepare(options_for(text, text)), UserError);  // a file
  folder.write("work/thesis.txt", "years of it");
  options = options_for(text, folder.path() / "work");
  options.overwrite = true;
  EXPECT_THROW(prepare(options), UserError);
  EXPECT_TRUE(fs::exists(folder.path() / "work/thesis.txt"));

  prepare(options_for(text, out));
  EXPECT_THROW(prepare(options_for(text, out)), UserError);
  options = options_for(empty, out);
  options.overwrite = true;
  EXPECT_THROW(prepare(options), UserError);
  EXPECT_EQ(whole_text(TokenData::open(out)), "some text");  // the failed run left the old one
}

class DamagedTokens : public testing::Test {
 protected:
  void SetUp() override {
    std::mt19937_64 random(8);
    prepare(options_for(folder_.write("text.txt", test::random_text(random, 300, false)), out()));
    std::ifstream file(out() / "tokens.bin", std::ios::binary);
    good_.assign(std::istreambuf_iterator<char>(file), {});
  }
  fs::path out() const { return folder_.path() / "out"; }
  /// Opens and reads it all.
  void read(const std::string& content) const {
    folder_.write("out/tokens.bin", content);
    whole_text(TokenData::open(out()));
  }
  TemporaryFolder folder_;
  std::string good_;
};

TEST_F(DamagedTokens, HeaderFlipsAreErrors) {
  EXPECT_NO_THROW(read(good_));
  for (std::size_t place = 0; place < 256; ++place) {
    std::string bad = good_;
    bad[place] = static_cast<char>(bad[place] ^ 1 << place % 8);
    EXPECT_THROW(read(bad), UserError) << place;
  }
}

TEST_F(DamagedTokens, OtherLengthsAreErrors) {
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{1}, std::size_t{255}, std::size_t{256}, good_.size() - 1}) {
    EXPECT_THROW(read(good_.substr(0, length)), UserError) << length;
  }
  EXPECT_THROW(read(good_ + "x"), UserError);
  EXPECT_THROW(read(good_ + std::string(5000, '\0')), UserError);
}

TEST_F(DamagedTokens, IdsOutsideTheVocabularyAreErrors) {
  std::string bad = good_;
  bad[256 + 20] = bad[256 + 21] = '\xFF';
  EXPECT_THROW(read(bad), UserError);
}

TEST_F(DamagedTokens, AnotherVocabularyIsAnError) {
  folder_.write("out/tokenizer.json", load_tokenizer("bytes")->to_json().dump());
  EXPECT_THROW(TokenData::open(out()), UserError);
  fs::remove(out() / "tokenizer.json");
  EXPECT_THROW(TokenData::open(out()), UserError);
}

TEST_F(DamagedTokens, ANameInAMessageIsOneLineOfText) {
  folder_.write("out/tokenizer.json", load_tokenizer("bytes")->to_json().dump());
  std::string bad = good_;
  bad.replace(56, 4, "a\nb\x1b");
  bad.replace(192, 64, sha256(std::string_view(bad).substr(0, 192)));
  const auto message = test::message_of([&] { read(bad); });
  EXPECT_NE(message.find("another vocabulary (a?b?"), std::string::npos) << message;
}

TEST_F(DamagedTokens, ReadsOutsideTheSplitAreErrors) {
  const TokenData data = TokenData::open(out());
  std::int64_t id = 0;
  EXPECT_THROW(data.copy_train(data.train_size(), 1, &id), UserError);
  EXPECT_THROW(data.copy_train(-1, 1, &id), UserError);
  EXPECT_THROW(data.copy_validation(0, data.validation_size() + 1, &id), UserError);
  EXPECT_THROW(data.copy_validation(1, -1, &id), UserError);
  EXPECT_THROW(TokenData::open(folder_.path() / "missing"), UserError);
}

}  // namespace
}  // namespace linformer
