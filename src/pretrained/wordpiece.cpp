#include "linformer/pretrained/wordpiece.hpp"

#include <array>
#include <sstream>

#include "data/unicode.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/file.hpp"

namespace linformer {
namespace {

constexpr std::size_t kLongestWord = 100;  // characters; longer ones are [UNK]

std::uint32_t code_point(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i])); };
  if (bytes.size() == 1) return byte(0);
  auto code = byte(0) & (0xFFU >> (bytes.size() + 1));
  for (std::size_t i = 1; i < bytes.size(); ++i) code = code << 6U | (byte(i) & 0x3FU);
  return code;
}

// U+00C0 to U+00FF in lower case without accents; ' ' where the letter has none to lose.
constexpr std::string_view kLatin = "aaaaaa ceeeeiiii nooooo  uuuuy  aaaaaa ceeeeiiii nooooo  uuuuy y";

bool within(std::uint32_t code, std::uint32_t first, std::uint32_t last) { return first <= code && code <= last; }
bool is_mark(std::uint32_t code) { return within(code, 0x300, 0x36F); }
bool is_space(std::uint32_t code) {
  return code == ' ' || code == '\t' || code == '\n' || code == '\r' || code == 0xA0 || code == 0x1680 ||
         within(code, 0x2000, 0x200A) || code == 0x202F || code == 0x205F || code == 0x3000;
}
bool is_dropped(std::uint32_t code) {
  return code < 32 || within(code, 0x7F, 0x9F) || code == 0xAD || code == 0xFFFD || code == 0xFEFF ||
         within(code, 0x200B, 0x200F) || within(code, 0x202A, 0x202E) || within(code, 0x2060, 0x206F) || is_mark(code);
}
// What is a word of its own: punctuation, and each Chinese character.
bool stands_alone(std::uint32_t code) {
  if (code < 128) return unicode::detail::kAscii[code] == unicode::Class::kOther && !is_dropped(code);
  for (const auto single : {0xA1U, 0xA7U, 0xABU, 0xB6U, 0xB7U, 0xBBU, 0xBFU}) {
    if (code == single) return true;
  }
  return within(code, 0x2010, 0x2027) || (within(code, 0x2030, 0x205E) && code != 0x2044 && code != 0x2052) ||
         within(code, 0x3001, 0x3003) || within(code, 0x3008, 0x3011) || within(code, 0x3400, 0x4DBF) ||
         within(code, 0x4E00, 0x9FFF) || within(code, 0xF900, 0xFAFF) || within(code, 0x20000, 0x2FA1F);
}

// One character in lower case, without its accent.
std::string folded(std::string_view bytes, std::uint32_t code) {
  if (code < 128) return std::string(1, static_cast<char>(code >= 'A' && code <= 'Z' ? code + 32 : code));
  if (!within(code, 0xC0, 0xFF)) return std::string(bytes);
  if (kLatin[code - 0xC0] != ' ') return std::string(1, kLatin[code - 0xC0]);
  const bool upper = code < 0xDF && code != 0xD7;
  return {bytes[0], static_cast<char>(upper ? bytes[1] + 0x20 : bytes[1])};
}

}  // namespace

WordPiece::WordPiece(const std::filesystem::path& vocabulary) {
  std::istringstream lines(read_file(vocabulary));
  std::int64_t id = 0;
  for (std::string token; std::getline(lines, token); ++id) {
    if (!token.empty() && token.back() == '\r') token.pop_back();
    require(ids_.emplace(token, id).second, "{}: line {}: token '{}' is there twice", vocabulary.string(), id + 1,
            excerpt(token));
  }
  require(ids_.contains("[UNK]"), "{}: no [UNK] in it; expected the vocabulary of a BERT encoder, a token a line",
          vocabulary.string());
  unknown_ = ids_["[UNK]"];
}

std::int64_t WordPiece::id(const std::string& token) const {
  const auto found = ids_.find(token);
  require(found != ids_.end(), "the vocabulary has no token '{}'", excerpt(token));
  return found->second;
}

void WordPiece::encode_word(std::string_view word, std::vector<std::int64_t>& out) const {
  const auto continues = [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U; };
  std::size_t characters = 0;
  for (const char byte : word) characters += !continues(byte);
  std::vector<std::int64_t> pieces;
  for (std::size_t from = 0; from < word.size();) {
    auto to = word.size();
    auto found = ids_.end();
    for (; to > from && characters <= kLongestWord; --to) {
      if (to < word.size() && continues(word[to])) continue;
      found = ids_.find((from > 0 ? "##" : "") + std::string(word.substr(from, to - from)));
      if (found != ids_.end()) break;
    }
    if (found == ids_.end()) {
      out.push_back(unknown_);  // of the whole word
      return;
    }
    pieces.push_back(found->second);
    from = to;
  }
  out.insert(out.end(), pieces.begin(), pieces.end());
}

std::vector<std::int64_t> WordPiece::encode(std::string_view text) const {
  std::vector<std::int64_t> ids;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) encode_word(word, ids);
    word.clear();
  };
  for (std::size_t place = 0; place < text.size();) {
    const auto character = unicode::character_at(text, place);
    const auto bytes = text.substr(place, character.length);
    place += character.length;
    if (character.type == unicode::Class::kInvalid) continue;
    const auto code = code_point(bytes);
    if (is_space(code)) {
      end_word();
    } else if (!is_dropped(code)) {
      const bool alone = stands_alone(code);
      if (alone) end_word();
      word += folded(bytes, code);
      if (alone) end_word();
    }
  }
  end_word();
  return ids;
}

}  // namespace linformer
