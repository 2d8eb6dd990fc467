// Round trips, the forms of a vocabulary, the corpus vocabulary, streams. TokenIds against tiktoken:
// tests/python/test_tokenizer.py.
#include "linformer/data/tokenizer.hpp"

#include <algorithm>

#include "data/bpe_tokenizer.hpp"
#include "data/support.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/json.hpp"
#include "support/errors.hpp"

namespace linformer {
namespace {

using namespace std::string_literals;
using TokenIds = std::vector<std::int32_t>;
using test::gpt2;

TEST(Tokenizer, Gpt2IsTheKnownVocabulary) {
  EXPECT_EQ(gpt2()->size(), 50257);
  EXPECT_EQ(gpt2()->name(), "gpt2");
  EXPECT_EQ(gpt2()->hash(), "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930");
  EXPECT_EQ(gpt2()->encode("Hello world"), (TokenIds{15496, 995}));
  EXPECT_EQ(gpt2()->bytes_of(50256), "<|endoftext|>");
  const TokenIds ids = gpt2()->encode("<|endoftext|>");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 50256), 0);
}

TEST(Tokenizer, AnyBytesRoundTrip) {
  std::string every;
  for (int value = 0; value < 256; ++value) every += static_cast<char>(value);
  std::mt19937_64 random(3);
  for (const auto& tokenizer : {gpt2(), load_tokenizer("bytes")}) {
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(every)), every);
    EXPECT_TRUE(tokenizer->encode("").empty());
    for (int i = 0; i < 300; ++i) {
      const std::string text = test::random_text(random, 40, true);
      ASSERT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
    }
  }
}

TEST(Tokenizer, IdsOutsideTheVocabularyAreErrors) {
  EXPECT_THROW(gpt2()->bytes_of(50257), UserError);
  EXPECT_THROW(gpt2()->bytes_of(-1), UserError);
  EXPECT_THROW(load_tokenizer("bytes")->bytes_of(256), UserError);
  EXPECT_THROW(gpt2()->decode({1, 60000}), UserError);
}

TEST(Tokenizer, LongPiecesMergeAsShortOnesDo) {
  // The merges by scan and by heap on the same pieces, around the length where one hands over to the other.
  const auto& ranks = dynamic_cast<const BpeTokenizer&>(*gpt2()).ranks();
  std::mt19937_64 random(4);
  for (const std::size_t length : {1u, 2u, 63u, 64u, 65u, 200u}) {
    for (int i = 0; i < 50; ++i) {
      std::string piece;
      for (std::size_t j = 0; j < length; ++j) piece += "aeinst"[random() % 6];
      TokenIds expected;  // by definition: the lowest rank of all neighbours, leftmost, until there is none
      std::vector<std::string> parts;
      for (const char c : piece) parts.emplace_back(1, c);
      for (;;) {
        std::size_t best = parts.size();
        std::int32_t rank = 1 << 30;
        for (std::size_t j = 0; j + 1 < parts.size(); ++j) {
          const std::int32_t found = ranks.find(parts[j] + parts[j + 1]);
          if (found != Ranks::kNone && found < rank) rank = found, best = j;
        }
        if (best == parts.size()) break;
        parts[best] += parts[best + 1];
        parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
      }
      for (const auto& part : parts) expected.push_back(ranks.find(part));
      ASSERT_EQ(ranks.merge(piece, 1 << 30), expected) << piece;
    }
  }
}

TEST(Tokenizer, ThreadsAndStreamsGiveTheIdsOfTheWhole) {
  std::mt19937_64 random(5);
  for (const bool invalid : {false, true}) {
    const std::string text = test::random_text(random, 600'000, invalid);  // long enough for several threads
    const TokenIds whole = gpt2()->encode(text);
    TokenIds parts, streamed;
    StreamEncoder encoder(*gpt2(), [&](auto ids) { streamed.insert(streamed.end(), ids.begin(), ids.end()); });
    for (std::size_t start = 0, count = 1; start < text.size(); start += count) {
      count = 1 + random() % 5000;
      encoder.push(std::string_view(text).substr(start, count));
    }
    encoder.finish();
    EXPECT_TRUE(streamed == whole);
    EXPECT_TRUE(gpt2()->decode(whole) == text);
  }
}

TEST(Tokenizer, EveryFormOfAVocabularyIsTheSame) {
  const test::TemporaryFolder folder;
  const auto& tokens = dynamic_cast<const BpeTokenizer&>(*gpt2()).ranks().tokens();
  const auto ranks = load_tokenizer(folder.write("r50k_base.tiktoken", rank_file(tokens, 50256)).string());
  const auto whole = load_tokenizer(folder.write("tokenizer.json", gpt2()->to_json().dump()).string());
  const auto inside = load_tokenizer(folder.path().string());
  for (const auto& other : {ranks, whole, inside}) {
    EXPECT_EQ(other->hash(), gpt2()->hash());
    EXPECT_EQ(other->name(), "gpt2");
    EXPECT_EQ(other->size(), 50257);
  }
  EXPECT_EQ(tokenizer_from_json(load_tokenizer("bytes")->to_json())->hash(), load_tokenizer("bytes")->hash());
}

TEST(Tokenizer, BrokenVocabulariesAreErrors) {
  const test::TemporaryFolder folder;
  const auto bad = [&](const std::string& name, std::string_view content) {
    EXPECT_THROW(load_tokenizer(folder.write(name, content).string()), UserError) << name;
  };
  EXPECT_THROW(load_tokenizer("no/such/vocabulary"), UserError);
  EXPECT_THROW(load_tokenizer(folder.path().string()), UserError);
  bad("empty.tiktoken", "");
  bad("word.tiktoken", "IQ==\n");
  bad("number.tiktoken", "IQ== x\n");
  bad("base64.tiktoken", "I*== 0\n");
  bad("twice.tiktoken", "IQ== 0\nIg== 0\n");
  bad("gap.tiktoken", "IQ== 0\nIg== 2\n");
  bad("huge.tiktoken", "IQ== 99999999999\n");
  bad("beyond.tiktoken", "IQ== 16777215\n");
  bad("few.tiktoken", "IQ== 0\n");
  bad("list.json", "[]");
  bad("kind.json", R"({"format_version":1,"kind":"words","name":"x"})");
  bad("version.json", R"({"format_version":2,"kind":"bytes"})");
  bad("missing.json", R"({"format_version":1,"kind":"bpe"})");
  bad("types.json", R"({"format_version":1,"kind":"bpe","name":1,"end_of_text":false,"tokens":[]})");
  bad("token.json", R"({"format_version":1,"kind":"bpe","name":"x","end_of_text":false,"tokens":["!"]})");
  bad("pair/vocab.bpe", "#version: 0.2\na b c\n");
  folder.write("other/vocab.bpe", "#version: 0.2\na b\n");
  folder.write("other/encoder.json", R"({"a":5})");
  EXPECT_THROW(load_tokenizer((folder.path() / "other").string()), UserError);
}

TEST(Tokenizer, ErrorsNameTheFileAndWhatToDo) {
  const test::TemporaryFolder folder;
  for (const auto& [name, content] : {std::pair{"tokenizer.json", ""},
                                      {"empty.tiktoken", ""},
                                      {"few.tiktoken", "IQ== 0\n"},
                                      {"version.json", R"({"format_version":2})"}}) {
    const auto path = folder.write(name, content).string();
    const auto message = test::message_of([&] { load_tokenizer(path); });
    EXPECT_EQ(message.rfind(path + ": ", 0), 0u) << message;
    EXPECT_NE(message.find("Put the file back"), std::string::npos) << message;
  }
  EXPECT_NE(test::message_of([&] { load_tokenizer(folder.path().string()); }).find("tokenizer.json: the file is empty"),
            std::string::npos);
}

TEST(Tokenizer, FilesOfOtherProgramsAreNamed) {
  const test::TemporaryFolder folder;
  const auto refused = [&](const std::string& name, std::string_view content, const std::string& what) {
    const auto path = folder.write(name, content);
    for (const auto& given : {path, path.parent_path()}) {
      const auto message = test::message_of([&] { load_tokenizer(given.string()); });
      EXPECT_NE(message.find(what), std::string::npos) << message;
      EXPECT_NE(message.find("Use --tokenizer gpt2 or bytes"), std::string::npos) << message;
      EXPECT_EQ(message.find("Put the file back"), std::string::npos) << message;
    }
  };
  constexpr std::string_view kHuggingFace =
      R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[{"id":0,"content":"</s>"}],"normalizer":null,)"
      R"("pre_tokenizer":{"type":"ByteLevel"},"decoder":null,"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}})";
  refused("hf/tokenizer.json", kHuggingFace, "Hugging Face's tokenizers, which linformer does not read yet");
  EXPECT_NE(test::message_of([&] { tokenizer_from_json(json::parse(kHuggingFace)); }).find("does not read yet"),
            std::string::npos);
  refused("piece/spiece.model", "\n\x0E\n\x05<pad>\x15\0\0\0\0\x18\x03\n"s, "SentencePiece");
  refused("word/vocab.txt", "[PAD]\r\n[unused0]\r\n[UNK]\r\nthe\r\n", "WordPiece");
  json vocabulary = json::object();
  for (int id = 0; id < 300; ++id) vocabulary["t" + std::to_string(id)] = id;
  folder.write("pair/vocab.json", vocabulary.dump());
  refused("pair/merges.txt", "#version: 0.2\na b\n", "Hugging Face");
  for (const std::string name : {"pair/vocab.json", "pair/merges.txt"}) {
    const auto message = test::message_of([&] { load_tokenizer((folder.path() / name).string()); });
    EXPECT_NE(message.find("one of the two files"), std::string::npos) << message;
  }
}

TEST(Tokenizer, Gpt2sFilesUnderTheirOtherNamesCanBeCopied) {
  const test::TemporaryFolder folder;  // what the message about them says
  const std::filesystem::path from = test::source_path("data/gpt2");
  std::filesystem::copy(from / "encoder.json", folder.path() / "encoder.json");
  std::filesystem::copy(from / "vocab.bpe", folder.path() / "vocab.bpe");
  std::filesystem::copy(from / "vocab.bpe", folder.path() / "merges.txt");
  EXPECT_TRUE(same_ids(*load_tokenizer(folder.path().string()), *gpt2()));
  EXPECT_NE(test::message_of([&] { load_tokenizer((folder.path() / "merges.txt").string()); }).find("name the folder"),
            std::string::npos);
}

TEST(Tokenizer, OnlyGpt2HasAnEndOfText) {
  EXPECT_EQ(gpt2()->end_of_text(), 50256);
  EXPECT_EQ(load_tokenizer("bytes")->end_of_text(), std::nullopt);
  EXPECT_EQ(numbers_tokenizer(7)->end_of_text(), std::nullopt);
}

std::shared_ptr<const Tokenizer> vocabulary_of(const std::string& text, TokenIds* renumbered = nullptr) {
  std::vector<bool> used(static_cast<std::size_t>(gpt2()->size()));
  for (const auto id : gpt2()->encode(text)) used[static_cast<std::size_t>(id)] = true;
  return corpus_tokenizer(*gpt2(), used, renumbered);
}

TEST(CorpusVocabulary, TheCorpusKeepsItsTokens) {
  std::mt19937_64 random(6);
  const std::string text =
      "It is a truth universally acknowledged, that a single man in possession of a good fortune "
      "antidisestablishmentarianism " +
      test::random_text(random, 3000, true);
  TokenIds renumbered;
  const auto corpus = vocabulary_of(text, &renumbered);
  TokenIds expected = gpt2()->encode(text);
  for (auto& id : expected) id = renumbered[static_cast<std::size_t>(id)];
  EXPECT_EQ(corpus->encode(text), expected);
  EXPECT_EQ(corpus->name(), "gpt2-corpus");
  EXPECT_LT(corpus->size(), 1000);
  EXPECT_NE(corpus->hash(), gpt2()->hash());
  TokenIds kept;  // in rank order
  std::copy_if(renumbered.begin(), renumbered.end(), std::back_inserter(kept), [](auto id) { return id >= 0; });
  EXPECT_TRUE(std::is_sorted(kept.begin(), kept.end()));
  EXPECT_EQ(static_cast<std::int64_t>(kept.size()), corpus->size());
}

TEST(CorpusVocabulary, KeepsAnEndOfTextThatIsUsed) {
  std::vector<bool> used(50257);
  used[50256] = true;
  TokenIds renumbered;
  const auto with = corpus_tokenizer(*gpt2(), used, &renumbered), without = vocabulary_of("");
  EXPECT_EQ(with->size(), without->size() + 1);
  EXPECT_EQ(with->end_of_text(), without->size());
  EXPECT_EQ(renumbered[50256], without->size());
  EXPECT_EQ(without->end_of_text(), std::nullopt);
  EXPECT_EQ(tokenizer_from_json(with->to_json())->end_of_text(), with->end_of_text());
  // The hash is that of the rank file, which has no end of text.
  EXPECT_EQ(with->hash(), without->hash());
  EXPECT_FALSE(same_ids(*with, *without));
  EXPECT_TRUE(same_ids(*with, *tokenizer_from_json(with->to_json())));
}

TEST(CorpusVocabulary, OtherTextEncodesByTheMergesThatRemain) {
  const auto corpus = vocabulary_of("universally");
  const std::string other = "university \xF0\x9F\x98\x80 never seen";
  EXPECT_EQ(corpus->decode(corpus->encode(other)), other);
  EXPECT_LT(corpus->encode("universally").size(), corpus->encode("ylasrevinu").size());
  // Every token that is left can be made of two others: its merges are there.
  const auto& ranks = dynamic_cast<const BpeTokenizer&>(*corpus).ranks();
  for (std::int32_t id = 0; id < corpus->size(); ++id) {
    const auto parts = ranks.merge(corpus->bytes_of(id), id);
    EXPECT_EQ(parts.size(), corpus->bytes_of(id).size() == 1 ? 1u : 2u) << corpus->bytes_of(id);
  }
  const auto again = tokenizer_from_json(corpus->to_json());
  EXPECT_EQ(again->hash(), corpus->hash());
  EXPECT_EQ(again->encode(other), corpus->encode(other));
  EXPECT_THROW(corpus_tokenizer(*load_tokenizer("bytes"), std::vector<bool>(256, true)), UserError);
}

}  // namespace
}  // namespace linformer
