// linformer tokenize: text to ids and back, as a stream.
#include <chrono>
#include <memory>
#include <optional>

#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/number.hpp"
#include "linformer/data/tokenizer.hpp"
#include "text_input.hpp"
#include "verbs.hpp"

namespace linformer::cli {
namespace {

struct TokenizeFlags {
  Common common;
  std::string tokenizer = "gpt2", input = "-";
  std::optional<std::string> text;
  bool decode = false, count = false;
};

/// Calls sink(bytes) with the text that the flags name, piece by piece.
void read_given(const TokenizeFlags& flags, const std::function<void(std::string_view)>& sink) {
  if (flags.text) {
    sink(*flags.text);
  } else {
    read_input(flags.input, sink);
  }
}

void print_ids(const TokenizeFlags& flags, const Tokenizer& tokenizer) {
  bool first = true;
  std::string line;
  StreamEncoder encoder(tokenizer, [&](std::span<const std::int32_t> ids) {
    line.clear();
    char digits[16];
    for (const std::int32_t id : ids) {
      if (!first) line += flags.common.json ? ',' : ' ';
      first = false;
      line.append(digits, std::to_chars(digits, digits + sizeof digits, id).ptr);
    }
    put(line);
  });
  if (flags.common.json) put("{\"ids\":[");
  read_given(flags, [&](std::string_view text) { encoder.push(text); });
  encoder.finish();
  put(flags.common.json ? "]}\n" : "\n");
}

void print_count(const TokenizeFlags& flags, const Tokenizer& tokenizer) {
  std::int64_t tokens = 0, bytes = 0;
  std::chrono::duration<double> seconds{0};
  StreamEncoder encoder(tokenizer,
                        [&](std::span<const std::int32_t> ids) { tokens += static_cast<std::int64_t>(ids.size()); });
  const auto timed = [&](const auto& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    seconds += std::chrono::steady_clock::now() - start;
  };
  read_given(flags, [&](std::string_view text) {
    bytes += static_cast<std::int64_t>(text.size());
    timed([&] { encoder.push(text); });
  });
  timed([&] { encoder.finish(); });
  if (flags.common.json) {
    put("{}\n", json{{"tokens", tokens}, {"bytes", bytes}, {"seconds", seconds.count()}}.dump());
  } else {
    put("{} tokens, {} bytes, {:.1f} MB/s\n", tokens, bytes, static_cast<double>(bytes) / 1e6 / seconds.count());
  }
}

/// The bytes of one id. If the text is not a number, the UserError shows it.
std::string_view bytes_of_word(std::string_view word, const Tokenizer& tokenizer) {
  if (!is_whole_number(word))
    fail("\"{}\" is not an id; expected whole numbers with spaces or commas between", excerpt(word));
  const auto id = parse_number<std::int32_t>(word);
  if (!id) fail("id {} is outside the vocabulary of {} ids (0 to {})", word, tokenizer.size(), tokenizer.size() - 1);
  return tokenizer.bytes_of(*id);
}

void print_text(const TokenizeFlags& flags, const Tokenizer& tokenizer) {
  std::string word, text;
  const auto end_word = [&] {
    if (!word.empty()) text += bytes_of_word(word, tokenizer);
    word.clear();
  };
  read_given(flags, [&](std::string_view numbers) {
    for (const char c : numbers) {
      const bool between = c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == ',';
      between ? end_word() : word.push_back(c);
      require(word.size() < 64, "\"{}…\" is not an id; expected whole numbers with spaces or commas between",
              word.substr(0, 40));
    }
    if (!flags.common.json) put(text), text.clear();
  });
  end_word();
  // JSON holds only characters, so a byte that is not part of one becomes U+FFFD.
  put(flags.common.json ? dump(json{{"text", text}}) + "\n" : text);
}

void run(const TokenizeFlags& flags) {
  apply(flags.common);
  const auto tokenizer = load_tokenizer(flags.tokenizer);
  const auto work = flags.decode ? print_text : flags.count ? print_count : print_ids;
  work(flags, *tokenizer);
}

}  // namespace

void add_tokenize(CLI::App& app) {
  auto flags = std::make_shared<TokenizeFlags>();
  auto* verb = app.add_subcommand("tokenize", "Turn text into ids, or ids into text");
  add_common(*verb, flags->common);
  verb->add_option("--tokenizer", flags->tokenizer,
                   "gpt2, bytes, a .tiktoken file, a folder with encoder.json and vocab.bpe, or a tokenizer.json")
      ->capture_default_str();
  auto* input = verb->add_option("input,--input", flags->input,
                                 "file to read, as UTF-8 or as UTF-16 with a mark at its start; - is standard input")
                    ->capture_default_str();
  verb->add_option("--text", flags->text, "the text itself (with --decode: the ids)")->excludes(input);
  auto* back = verb->add_flag("--decode", flags->decode, "ids to text: whole numbers with spaces or commas between");
  verb->add_flag("--count", flags->count, "print only how many tokens and bytes, and the time")->excludes(back);
  verb->callback([flags] { run(*flags); });
}

}  // namespace linformer::cli
