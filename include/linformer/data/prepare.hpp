// Turns text files into a prepared folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "linformer/config/field.hpp"

namespace linformer {

/// Whether the tokenizer's end-of-text token stands between the texts of two files. automatic: where it has one.
enum class Separator { automatic, on, off };
template <>
struct EnumNames<Separator> {
  static constexpr std::array names{"auto", "on", "off"};
};

struct PrepareOptions {
  std::vector<std::string> inputs;  ///< files, folders (their text files, sorted, at any depth), "-" for standard input
  std::filesystem::path out;
  std::string tokenizer = "gpt2";  ///< as load_tokenizer() takes it
  bool corpus_vocabulary = false;  ///< keep only what the corpus needs of the vocabulary
  double validation = 0.1;         ///< part of the tokens, at the end
  /// As `inputs`. If there are any, their texts are the validation part, and `validation` is not used.
  std::vector<std::string> validation_inputs = {};
  Separator separator = Separator::automatic;
  bool overwrite = false;  ///< replace a prepared folder
  bool quiet = false;      ///< no progress
};

/// A file or folder below an input folder that is not taken, and why.
struct LeftOut {
  std::string path, reason;
};

/// What a user should know of the text of one input: a mark that was dropped, a conversion, bytes that are no text.
struct InputRemark {
  std::string path, text;
};

struct PrepareSummary {
  std::string tokenizer, hash;
  std::int64_t vocabulary = 0, files = 0, separators = 0;
  std::int64_t train_tokens = 0, validation_tokens = 0;  ///< separators are among them
  std::int64_t train_bytes = 0, validation_bytes = 0;    ///< of text, as UTF-8; a separator has none
  std::vector<LeftOut> left_out;
  std::vector<InputRemark> remarks;
  double seconds = 0;
};

/// Writes `out` whole or not at all, in memory that doesn't grow with the text. Each file is encoded by itself; the
/// token file decodes to the texts one after the other, with the separators between. Files are read by read_text()
/// (data/text_file.hpp); of folders, `out` itself, what the program wrote and what is no text are left out. UserError
/// on missing, unreadable or empty inputs, on an `out` that is in use, and on Separator::on where the tokenizer has no
/// end-of-text token.
PrepareSummary prepare(const PrepareOptions& options);

}  // namespace linformer
