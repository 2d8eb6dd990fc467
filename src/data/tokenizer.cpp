#include "linformer/data/tokenizer.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <system_error>

#include "data/bpe_tokenizer.hpp"
#include "data/foreign_tokenizer.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/hash.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/number.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMostNumbers = std::int64_t{1} << 25;

/// Id = byte.
class BytesTokenizer final : public Tokenizer {
 public:
  BytesTokenizer() {
    for (std::size_t value = 0; value < bytes_.size(); ++value) bytes_[value] = static_cast<char>(value);
  }
  std::int64_t size() const override { return 256; }
  std::vector<std::int32_t> encode(std::string_view text) const override {
    std::vector<std::int32_t> ids(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) ids[i] = static_cast<unsigned char>(text[i]);
    return ids;
  }
  std::size_t safe_cut(std::string_view text, std::size_t from) const override {
    return text.size() > from ? text.size() : 0;
  }
  std::string_view bytes_of(std::int32_t id) const override {
    require(id >= 0 && id < 256, "id {} is outside the vocabulary of 256 ids (0 to 255)", id);
    return {&bytes_[static_cast<std::size_t>(id)], 1};
  }
  std::string name() const override { return "bytes"; }
  std::string hash() const override {
    std::vector<std::string> tokens;
    for (const char byte : bytes_) tokens.emplace_back(1, byte);
    return sha256(rank_file(tokens, tokens.size()));
  }
  json to_json() const override {
    return {{"format_version", 1}, {"name", "bytes"}, {"kind", "bytes"}, {"hash", hash()}};
  }

 private:
  std::array<char, 256> bytes_;
};

/// Id = number, written out. All numbers stand in one text, since the few bytes of a file may ask for millions of them.
class NumbersTokenizer final : public Tokenizer {
 public:
  explicit NumbersTokenizer(std::int64_t size) : size_(size) {
    text_.reserve(place_of(size));
    for (std::int64_t id = 0; id < size; ++id) text_.append(std::to_string(id)).append(" ");
  }
  std::int64_t size() const override { return size_; }
  std::vector<std::int32_t> encode(std::string_view text) const override {
    constexpr std::string_view kSpaces = " \t\n";
    std::vector<std::int32_t> ids;
    for (auto first = text.find_first_not_of(kSpaces); first < text.size();
         first = text.find_first_not_of(kSpaces, first)) {
      const auto word = text.substr(first, text.find_first_of(kSpaces, first) - first);
      const auto id = parse_number<std::int32_t>(word).value_or(-1);
      if (id < 0 || id >= size()) {
        fail("'{}' is no id: this vocabulary is the numbers from 0 to {}, with spaces between them", excerpt(word),
             size() - 1);
      }
      ids.push_back(id);
      first += word.size();
    }
    return ids;
  }
  std::size_t safe_cut(std::string_view text, std::size_t from) const override {
    const auto space = text.find_last_of(" \t\n");
    return space == std::string_view::npos || space < from ? 0 : space + 1;
  }
  std::string_view bytes_of(std::int32_t id) const override {
    require(id >= 0 && id < size(), "id {} is outside the vocabulary of {} ids", id, size());
    const auto place = place_of(id);
    return std::string_view(text_).substr(place, place_of(id + std::int64_t{1}) - place);
  }
  std::string name() const override { return "numbers"; }
  std::string hash() const override {
    std::vector<std::string> tokens;
    for (std::int64_t id = 0; id < size_; ++id) tokens.push_back(std::to_string(id) + " ");
    return sha256(rank_file(tokens, tokens.size()));
  }
  json to_json() const override {
    return {{"format_version", 1}, {"name", name()}, {"kind", "numbers"}, {"size", size()}, {"hash", hash()}};
  }

 private:
  /// Bytes of the numbers below `id`, each with its space.
  static std::size_t place_of(std::int64_t id) {
    std::int64_t place = 0;
    for (std::int64_t first = 0, next = 10, width = 2; first < id; first = next, next *= 10, ++width)
      place += (std::min(id, next) - first) * width;
    return static_cast<std::size_t>(place);
  }

  std::int64_t size_;
  std::string text_;
};

/// Looks for the GPT-2 files that `make setup` fetched: in LINFORMER_DATA, in the current folder, and in the source
/// tree that the program was built from.
fs::path gpt2_folder() {
  std::vector<fs::path> candidates;
  if (const char* data = std::getenv("LINFORMER_DATA"); data != nullptr && *data != '\0')
    candidates.push_back(fs::path(data) / "gpt2");
  candidates.push_back(fs::path("data") / "gpt2");
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) candidates.push_back(program.parent_path() / ".." / ".." / "data" / "gpt2");
  for (const fs::path& candidate : candidates) {
    if (fs::is_regular_file(candidate / "vocab.bpe", error)) return candidate;
  }
  fail(
      "the GPT-2 vocabulary (gpt2/encoder.json and gpt2/vocab.bpe) is not in {}. Run `make setup`, name the folder "
      "above "
      "gpt2 with LINFORMER_DATA, or use --tokenizer bytes",
      fs::weakly_canonical(candidates.front().parent_path(), error).string());
}

constexpr auto kMend = "Put the file back from where it came, or make it anew with `linformer prepare`";

/// Calls `make()`, and adds the file or folder `path` to its errors.
template <class Make>
std::shared_ptr<const Tokenizer> made_from(const fs::path& path, Make&& make) {
  try {
    return make();
  } catch (const UserError& mistake) {
    fail("{}: {}. {}", path.string(), mistake.what(), kMend);
  }
}

/// Files of other programs are whole: nothing is to be put back.
void refuse_foreign(const fs::path& path, const std::string& what) {
  require(what.empty(), "{} {}. {}", path.string(), what, kReadableTokenizers);
}

std::shared_ptr<const Tokenizer> bpe_tokenizer(const fs::path& path, BpeVocabulary vocabulary) {
  return made_from(path, [&] { return std::make_shared<BpeTokenizer>(std::move(vocabulary)); });
}

}  // namespace

std::string Tokenizer::decode(const std::vector<std::int32_t>& ids) const {
  std::string text;
  for (const std::int32_t id : ids) text += bytes_of(id);
  return text;
}

bool same_ids(const Tokenizer& one, const Tokenizer& other) {
  return one.size() == other.size() && one.hash() == other.hash();
}

std::shared_ptr<const Tokenizer> load_tokenizer(const std::string& name_or_path) {
  if (name_or_path == "bytes") return std::make_shared<BytesTokenizer>();
  if (name_or_path == "gpt2") return std::make_shared<BpeTokenizer>(read_encoder_and_merges(gpt2_folder()));
  const fs::path path = name_or_path;
  std::error_code error;
  require(fs::exists(path, error),
          "tokenizer \"{}\": no such file or folder. Expected gpt2, bytes, a .tiktoken file, a folder with "
          "encoder.json and vocab.bpe, or a tokenizer.json",
          name_or_path);
  if (fs::is_directory(path, error)) {
    if (fs::exists(path / "tokenizer.json", error)) return load_tokenizer((path / "tokenizer.json").string());
    if (!fs::exists(path / "vocab.bpe", error)) refuse_foreign(path, foreign_tokenizer_folder(path));
    return bpe_tokenizer(path, read_encoder_and_merges(path));
  }
  require(!fs::is_regular_file(path, error) || fs::file_size(path, error) > 0,
          "{}: the file is empty, expected a vocabulary. {}", path.string(), kMend);
  refuse_foreign(path, foreign_tokenizer_file(path));
  if (path.extension() != ".json") return bpe_tokenizer(path, read_rank_file(path));
  const json object = read_json(path);
  return made_from(path, [&] { return tokenizer_from_json(object); });
}

std::shared_ptr<const Tokenizer> numbers_tokenizer(std::int64_t size) {
  return std::make_shared<NumbersTokenizer>(size);
}

std::shared_ptr<const Tokenizer> tokenizer_from_json(const json& object) {
  refuse_foreign("tokenizer", foreign_tokenizer(object));
  require(object.is_object() && object.contains("kind") && object["kind"].is_string(),
          "not a tokenizer: expected an object with \"kind\"");
  require(object.contains("format_version") && object["format_version"] == 1,
          "tokenizer: expected \"format_version\" 1");
  const std::string kind = object["kind"];
  if (kind == "bytes") return std::make_shared<BytesTokenizer>();
  if (kind == "numbers") {
    const bool sound = object.contains("size") && object["size"].is_number_integer() && object["size"] > 0 &&
                       object["size"] <= kMostNumbers;
    require(sound, "tokenizer: expected \"size\", a whole number from 1 to {}", kMostNumbers);
    return numbers_tokenizer(object["size"]);
  }
  require(kind == "bpe", "tokenizer: \"kind\" is \"{}\", expected bpe, bytes or numbers", excerpt(kind));
  return std::make_shared<BpeTokenizer>(bpe_from_json(object));
}

void StreamEncoder::push(std::string_view text) {
  pending_ += text;
  const std::size_t cut = tokenizer_.safe_cut(pending_, searched_);
  // A safe cut needs a few bytes after it, so the last bytes are searched again when more text comes.
  constexpr std::size_t kAgain = 4;
  if (cut == 0) {
    searched_ = pending_.size() - std::min(pending_.size(), kAgain);
    return;
  }
  sink_(tokenizer_.encode(std::string_view(pending_).substr(0, cut)));
  searched_ = 0;
  pending_.erase(0, cut);
}

void StreamEncoder::finish() {
  if (!pending_.empty()) sink_(tokenizer_.encode(pending_));
  pending_.clear();
  searched_ = 0;
}

}  // namespace linformer
