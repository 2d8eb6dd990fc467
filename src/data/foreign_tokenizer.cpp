#include "data/foreign_tokenizer.hpp"

#include <algorithm>
#include <fstream>
#include <string_view>

#include "linformer/core/file.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/lenient_json.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

constexpr auto kHuggingFace = "is a tokenizer.json of Hugging Face's tokenizers, which linformer does not read yet";
constexpr auto kHalf =
    "is one of the two files of a GPT-2 vocabulary; name the folder that holds both, as encoder.json and vocab.bpe "
    "(Hugging Face calls them vocab.json and merges.txt)";

std::string start_of(const fs::path& path) {
  std::string start(4096, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  start.resize(static_cast<std::size_t>(file.gcount()));
  return start;
}

/// A SentencePiece model starts with its first piece, in protocol buffers: field 1 { field 1: text, field 2: float }.
bool is_sentencepiece(std::string_view start) {
  if (start.size() < 5 || start[0] != '\n' || start[2] != '\n') return false;
  const std::size_t after = 4 + static_cast<unsigned char>(start[3]);
  return after < start.size() && start[after] == '\x15';
}

bool has_line(std::string_view text, std::string_view line) {
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    auto found = text.substr(start, end - start);
    if (found.ends_with('\r')) found.remove_suffix(1);
    if (found == line) return true;
    start = end + 1;
  }
  return false;
}

}  // namespace

std::string foreign_tokenizer(const json& object) {
  if (!object.is_object()) return {};
  const auto has = [&](const char* key) { return object.contains(key); };
  // The project's own has "kind"; Hugging Face's has "model", and these.
  if (!has("kind") && has("model") && (has("added_tokens") || has("pre_tokenizer") || has("normalizer")))
    return kHuggingFace;
  if (has("tokenizer_class")) return "is a tokenizer_config.json of Hugging Face's, not a vocabulary";
  constexpr std::size_t kBytes = 256;  // of which every such vocabulary has a token each
  const bool numbers_only = std::ranges::all_of(object, [](const json& value) { return value.is_number_integer(); });
  if (numbers_only && object.size() >= kBytes) return kHalf;
  return {};
}

std::string foreign_tokenizer_file(const fs::path& path) {
  const std::string start = start_of(path);
  if (start.starts_with("{\"format_version\"")) return {};  // the program's own
  if (start.starts_with('{')) return foreign_tokenizer(parse_json_or_discard(read_file(path)));
  if (is_sentencepiece(start)) return "is a SentencePiece model, which linformer does not read yet";
  if (start.starts_with("#version: ")) return kHalf;
  if (has_line(start, "[UNK]")) return "is a WordPiece vocabulary, which linformer does not read as a tokenizer";
  return {};
}

std::string foreign_tokenizer_folder(const fs::path& folder) {
  std::error_code ignored;
  const auto holds = [&](const char* name) { return fs::is_regular_file(folder / name, ignored); };
  if (holds("vocab.json") && holds("merges.txt"))
    return "holds a vocab.json and a merges.txt, Hugging Face's names for the two files of a GPT-2 vocabulary; copy "
           "them as encoder.json and vocab.bpe if the vocabulary has no more tokens than its merges make";
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const auto name = entry.path().filename().string();
    if ((name.ends_with(".model") || name == "vocab.txt") && entry.is_regular_file(ignored)) {
      if (auto found = foreign_tokenizer_file(entry.path()); !found.empty())
        return "holds " + name + ", which " + found;
    }
  }
  return {};
}

}  // namespace linformer
