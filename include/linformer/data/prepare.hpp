// Turns text files into a prepared folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace linformer {

struct PrepareOptions {
  std::vector<std::string> inputs;  ///< files, folders (their text files, sorted, at any depth), "-" for standard input
  std::filesystem::path out;
  std::string tokenizer = "gpt2";  ///< as load_tokenizer() takes it
  bool corpus_vocabulary = false;  ///< keep only what the corpus needs of the vocabulary
  double validation = 0.1;         ///< part of the tokens, at the end
  bool overwrite = false;          ///< replace a prepared folder
  bool quiet = false;              ///< no progress
};

struct PrepareSummary {
  std::string tokenizer, hash;
  std::int64_t vocabulary = 0, files = 0;
  std::int64_t train_tokens = 0, validation_tokens = 0, train_bytes = 0, validation_bytes = 0;
  double seconds = 0;
};

/// Writes the folder `out` completely, or writes nothing. The memory needed doesn't grow with the text. Each file is
/// encoded on its own; the token file decodes to the files one after the other. UserError for inputs that are missing,
/// unreadable or empty, and for an `out` that is in use.
PrepareSummary prepare(const PrepareOptions& options);

/// Reads `path` ("-": standard input) and calls sink(bytes) with one piece after the other. UserError when it can't be
/// read.
void read_in_pieces(const std::string& path, const std::function<void(std::string_view)>& sink);

}  // namespace linformer
