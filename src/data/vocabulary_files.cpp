// Reads the file forms of byte-pair vocabularies.
#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>

#include "data/bpe_tokenizer.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/json.hpp"

namespace linformer {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::size_t kMostTokens = 1 << 24;
constexpr std::size_t kGpt2Ordinary = 50256;

constexpr std::array<int, 256> digit_values() {
  std::array<int, 256> values{};
  values.fill(-1);
  for (std::size_t i = 0; i < kDigits.size(); ++i) values[static_cast<unsigned char>(kDigits[i])] = static_cast<int>(i);
  return values;
}
constexpr auto kDigitValues = digit_values();

/// Calls line(text, number) for each line, numbered from 1.
template <class Line>
void for_each_line(std::string_view text, Line line) {
  for (std::size_t start = 0, number = 1; start < text.size(); ++number) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    std::string_view content = text.substr(start, end - start);
    if (content.ends_with('\r')) content.remove_suffix(1);
    line(content, number);
    start = end + 1;
  }
}

/// GPT-2's files show each byte as a character: visible bytes as themselves, the others in order from U+0100 on.
std::unordered_map<std::string, char> shown_bytes() {
  std::unordered_map<std::string, char> bytes;
  int hidden = 0;
  for (int value = 0; value < 256; ++value) {
    const bool visible = (value >= '!' && value <= '~') || (value >= 0xA1 && value <= 0xAC) || value >= 0xAE;
    const int code = visible ? value : 256 + hidden++;
    std::string character;
    if (code < 128) {
      character = static_cast<char>(code);
    } else {
      character = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
    }
    bytes[character] = static_cast<char>(value);
  }
  return bytes;
}

/// The bytes that a token in such a file stands for. Empty when one of its characters stands for no byte.
std::string hidden_bytes(std::string_view shown, const std::unordered_map<std::string, char>& bytes) {
  std::string result;
  for (std::size_t i = 0; i < shown.size();) {
    const std::size_t length = static_cast<unsigned char>(shown[i]) < 128 ? 1 : 2;
    const auto found = bytes.find(std::string(shown.substr(i, length)));
    if (found == bytes.end()) return {};
    result += found->second;
    i += length;
  }
  return result;
}

void mark_gpt2(BpeVocabulary& vocabulary) {
  const bool gpt2 = vocabulary.tokens.size() == kGpt2Ordinary;
  vocabulary.name = gpt2 ? "gpt2" : "bpe";
  vocabulary.end_of_text = gpt2;
  if (gpt2) vocabulary.tokens.emplace_back(kEndOfText);
}

}  // namespace

std::string base64_encode(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::string_view group = bytes.substr(i, 3);
    std::uint32_t word = 0;
    for (std::size_t j = 0; j < 3; ++j)
      word = word << 8 | (j < group.size() ? static_cast<unsigned char>(group[j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j) text += j <= group.size() ? kDigits[word >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  std::string bytes;
  std::uint32_t word = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int value = i + padding >= text.size() ? 0 : kDigitValues[static_cast<unsigned char>(text[i])];
    if (value < 0) return std::nullopt;
    word = word << 6 | static_cast<std::uint32_t>(value);
    if (i % 4 == 3) bytes += {static_cast<char>(word >> 16), static_cast<char>(word >> 8), static_cast<char>(word)};
  }
  bytes.resize(bytes.size() - std::min(padding, bytes.size()));
  return bytes;
}

BpeVocabulary read_rank_file(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  BpeVocabulary vocabulary;
  for_each_line(text, [&](std::string_view line, std::size_t number) {
    if (line.empty()) return;
    const std::size_t space = std::min(line.find(' '), line.size());
    const auto token = base64_decode(line.substr(0, space));
    std::size_t rank = 0;
    const char* const end = line.data() + line.size();
    const auto [stop, error] = std::from_chars(line.data() + std::min(space + 1, line.size()), end, rank);
    // No file has more tokens than bytes: a rank beyond that would take memory for nothing.
    const auto most = std::min(kMostTokens, text.size());
    require(token && !token->empty() && error == std::errc() && stop == end && rank < most,
            "{}: line {} is not a token in base64, a space and its rank", path.string(), number);
    if (vocabulary.tokens.size() <= rank) vocabulary.tokens.resize(rank + 1);
    require(vocabulary.tokens[rank].empty(), "{}: line {}: rank {} comes twice", path.string(), number, rank);
    vocabulary.tokens[rank] = *token;
  });
  for (std::size_t rank = 0; rank < vocabulary.tokens.size(); ++rank) {
    require(!vocabulary.tokens[rank].empty(), "{}: rank {} is missing; expected 0 to {} each once", path.string(), rank,
            vocabulary.tokens.size() - 1);
  }
  mark_gpt2(vocabulary);
  return vocabulary;
}

BpeVocabulary read_encoder_and_merges(const std::filesystem::path& folder) {
  const std::filesystem::path merges_path = folder / "vocab.bpe", encoder_path = folder / "encoder.json";
  const auto bytes = shown_bytes();
  BpeVocabulary vocabulary;
  // The order of ranks in the original GPT-2 release: visible bytes, other bytes, then one token per merge.
  for (const bool visible : {true, false}) {
    for (int value = 0; value < 256; ++value) {
      const bool shows = (value >= '!' && value <= '~') || (value >= 0xA1 && value <= 0xAC) || value >= 0xAE;
      if (shows == visible) vocabulary.tokens.push_back({static_cast<char>(value)});
    }
  }
  for_each_line(read_file(merges_path), [&](std::string_view line, std::size_t number) {
    if (line.empty() || (number == 1 && line.starts_with("#version"))) return;
    const std::size_t space = std::min(line.find(' '), line.size() - 1);
    const std::string left = hidden_bytes(line.substr(0, space), bytes),
                      right = hidden_bytes(line.substr(space + 1), bytes);
    require(!left.empty() && !right.empty(), "{}: line {} is not two tokens and a space between", merges_path.string(),
            number);
    vocabulary.tokens.push_back(left + right);
  });
  mark_gpt2(vocabulary);
  const auto encoder = read_json(encoder_path);
  require(encoder.is_object(), "{}: no object of tokens and ids", encoder_path.string());
  std::size_t agreed = 0;
  for (const auto& [shown, id] : encoder.items()) {
    const std::string token = shown == kEndOfText ? shown : hidden_bytes(shown, bytes);
    const bool whole = id.is_number_unsigned() && id.get<std::size_t>() < vocabulary.tokens.size();
    if (!whole || vocabulary.tokens[id.get<std::size_t>()] != token) {
      fail("{}: token \"{}\" has id {}, but {} says otherwise", encoder_path.string(), excerpt(shown), json_excerpt(id),
           merges_path.string());
    }
    ++agreed;
  }
  require(agreed == vocabulary.tokens.size(), "{} has {} tokens, {} makes {}: they belong to different vocabularies",
          encoder_path.string(), agreed, merges_path.string(), vocabulary.tokens.size());
  return vocabulary;
}

BpeVocabulary bpe_from_json(const json& object) {
  const auto field = [&](const char* key) -> const json& {
    require(object.contains(key), "tokenizer: \"{}\" is missing", key);
    return object[key];
  };
  require(field("name").is_string() && field("end_of_text").is_boolean() && field("tokens").is_array(),
          "tokenizer: expected name (text), end_of_text (true or false) and tokens (a list)");
  constexpr std::size_t kLongestName = 64;  // bytes, as many as a token file holds
  require(field("name").get_ref<const std::string&>().size() <= kLongestName,
          "tokenizer: the name is {}, expected at most {} bytes", json_excerpt(field("name")), kLongestName);
  BpeVocabulary vocabulary{.name = field("name"), .tokens = {}, .end_of_text = field("end_of_text")};
  for (const json& item : field("tokens")) {
    const auto token = item.is_string() ? base64_decode(item.get_ref<const std::string&>()) : std::nullopt;
    if (!token || token->empty())
      fail("tokenizer: token {} is {}, expected base64", vocabulary.tokens.size(), json_excerpt(item));
    vocabulary.tokens.push_back(*token);
  }
  if (vocabulary.end_of_text) vocabulary.tokens.emplace_back(kEndOfText);
  return vocabulary;
}

}  // namespace linformer
