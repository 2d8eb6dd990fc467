#include "linformer/data/prepare.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <optional>
#include <set>
#include <span>
#include <system_error>
#include <utility>

#include "data/input_files.hpp"
#include "data/token_format.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/progress.hpp"
#include "linformer/data/text_file.hpp"
#include "linformer/data/tokenizer.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

void check_out(const fs::path& out, bool overwrite) {
  std::error_code error;
  require(!out.empty(), "--out is empty; name a folder to write");
  if (!fs::exists(out, error)) return;
  require(fs::is_directory(out, error), "--out {} is a file; name a folder", out.string());
  if (fs::is_empty(out, error)) return;
  require(fs::exists(out / "tokens.bin", error), "--out {} holds other things than prepared text; name a new folder",
          out.string());
  require(overwrite, "--out {} is prepared already; use --overwrite to replace it, or name another folder",
          out.string());
}

/// The token to put between texts, if any.
std::optional<std::int32_t> separator_of(const Tokenizer& tokenizer, Separator wanted) {
  const auto end = tokenizer.end_of_text();
  require(wanted != Separator::on || end,
          "--separator on: the tokenizer \"{}\" has no end-of-text token to put between texts; use --separator off, or "
          "--tokenizer gpt2",
          tokenizer.name());
  return wanted == Separator::off ? std::nullopt : end;
}

struct Encoded {
  std::int64_t tokens = 0, separators = 0;
  std::int64_t training = 0;  // tokens before the first validation file, where there are such files
  std::vector<bool> used = {};
  std::vector<InputRemark> remarks = {};
};

std::int64_t size_of(const std::string& file) {
  std::error_code error;
  const auto size = fs::file_size(file, error);
  return error ? 0 : static_cast<std::int64_t>(size);
}

/// Writes the ids of all files, 32 bits each, to `path`. The last `held_out` files are for validation.
Encoded encode_files(const std::vector<std::string>& files, std::size_t held_out, const Tokenizer& tokenizer,
                     std::optional<std::int32_t> separator, bool quiet, const fs::path& path) {
  Encoded encoded{.used = std::vector<bool>(static_cast<std::size_t>(tokenizer.size()))};
  std::int64_t total = 0, done = 0;
  for (const std::string& file : files) total += size_of(file);
  Progress progress("encoding", (total + (1 << 20) - 1) >> 20, 0, quiet);
  write_atomically(path, [&](FileWriter& writer) {
    const auto put = [&](std::span<const std::int32_t> ids) {
      for (const std::int32_t id : ids) encoded.used[static_cast<std::size_t>(id)] = true;
      encoded.tokens += static_cast<std::int64_t>(ids.size());
      writer.write(ids.data(), ids.size_bytes());
    };
    StreamEncoder encoder(tokenizer, put);
    for (std::size_t i = 0; i < files.size(); ++i) {
      const auto& file = files[i];
      if (i + held_out == files.size()) encoded.training = encoded.tokens;
      bool separate = separator && encoded.tokens > 0;  // before the first text of this file, if it has any
      std::int64_t read = 0;
      const auto reading = read_text(file, [&](std::string_view text) {
        if (std::exchange(separate, false)) {
          put(std::span(&*separator, 1));
          ++encoded.separators;
        }
        encoder.push(text);
        read += static_cast<std::int64_t>(text.size());
        progress.update((done + read) >> 20, "MB");
      });
      encoder.finish();
      // Text that was converted has another size than its file.
      done += file == "-" ? read : size_of(file);
      if (auto remark = remark_of(reading); !remark.empty()) {
        encoded.remarks.push_back({.path = name_of_input(file), .text = std::move(remark)});
      }
    }
  });
  progress.finish();
  return encoded;
}

// Text that is trained on can't judge a model.
void check_apart(const std::vector<std::string>& training, const std::vector<std::string>& validation) {
  const auto place_of = [](const std::string& file) {
    std::error_code ignored;
    return file == "-" ? fs::path(file) : fs::weakly_canonical(file, ignored);
  };
  std::set<fs::path> places;
  for (const auto& file : training) places.insert(place_of(file));
  for (const auto& file : validation)
    require(!places.contains(place_of(file)),
            "{} is among the texts of --input and of --validation-input; name it in one of them", file);
}

std::int64_t byte_count(std::span<const std::int32_t> ids, const Tokenizer& tokenizer) {
  const std::int32_t no_text = tokenizer.end_of_text().value_or(-1);
  std::int64_t bytes = 0;
  for (const std::int32_t id : ids) {
    if (id != no_text) bytes += static_cast<std::int64_t>(tokenizer.bytes_of(id).size());
  }
  return bytes;
}

template <class Id>
void write_ids(FileWriter& writer, std::span<const std::int32_t> ids, const std::vector<std::int32_t>& renumbered) {
  std::vector<Id> block;
  for (std::size_t start = 0; start < ids.size(); start += block.size()) {
    const auto part = ids.subspan(start, std::min<std::size_t>(ids.size() - start, 1 << 16));
    block.clear();
    for (const std::int32_t id : part) {
      block.push_back(static_cast<Id>(renumbered.empty() ? id : renumbered[static_cast<std::size_t>(id)]));
    }
    writer.write(block.data(), block.size() * sizeof(Id));
  }
}

}  // namespace

PrepareSummary prepare(const PrepareOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  require(options.validation >= 0 && options.validation < 1,
          "--validation is {}, expected a part of the tokens from 0 to below 1", options.validation);
  check_out(options.out, options.overwrite);
  InputFiles inputs = find_input_files(options.inputs, options.out);
  std::vector<std::string>& files = inputs.files;
  std::size_t held_out = 0;
  if (!options.validation_inputs.empty()) {
    auto more = find_input_files(options.validation_inputs, options.out, "--validation-input");
    check_apart(files, more.files);
    held_out = more.files.size();
    std::ranges::move(more.files, std::back_inserter(files));
    std::ranges::move(more.left_out, std::back_inserter(inputs.left_out));
  }
  const auto base = load_tokenizer(options.tokenizer);
  const auto separator = separator_of(*base, options.separator);
  PrepareSummary summary;
  write_folder_atomically(options.out, [&](const fs::path& folder) {
    const fs::path encoded_path = folder / "encoded.part";
    Encoded encoded = encode_files(files, held_out, *base, separator, options.quiet, encoded_path);
    require(encoded.tokens > 0, "the input is empty: {} no text",
            files.size() == 1 ? files[0] + " holds" : "its files hold");
    require(held_out == 0 || (encoded.training > 0 && encoded.tokens > encoded.training),
            "the files of {} hold no text; name others, or leave --validation-input out",
            encoded.training > 0 ? "--validation-input" : "--input");
    // The corpus has the same tokens under its own vocabulary, so that its ids are only renumbered.
    std::vector<std::int32_t> renumbered;
    const auto tokenizer = options.corpus_vocabulary ? corpus_tokenizer(*base, encoded.used, &renumbered) : base;
    {
      const MappedFile mapped(encoded_path);
      const std::span<const std::int32_t> ids(reinterpret_cast<const std::int32_t*>(mapped.bytes().data()),
                                              static_cast<std::size_t>(encoded.tokens));
      const auto validation =
          held_out > 0 ? ids.size() - static_cast<std::size_t>(encoded.training)
                       : static_cast<std::size_t>(std::llround(options.validation * static_cast<double>(ids.size())));
      const auto train_ids = ids.first(ids.size() - validation), validation_ids = ids.last(validation);
      summary = {.tokenizer = tokenizer->name(),
                 .hash = tokenizer->hash(),
                 .vocabulary = tokenizer->size(),
                 .files = static_cast<std::int64_t>(files.size()),
                 .separators = encoded.separators,
                 .train_tokens = static_cast<std::int64_t>(train_ids.size()),
                 .validation_tokens = static_cast<std::int64_t>(validation),
                 .train_bytes = byte_count(train_ids, *base),
                 .validation_bytes = byte_count(validation_ids, *base),
                 .left_out = std::move(inputs.left_out),
                 .remarks = std::move(encoded.remarks)};
      const TokenHeader header{.id_bytes = tokenizer->size() <= 65536 ? 2u : 4u,
                               .vocabulary = static_cast<std::uint64_t>(summary.vocabulary),
                               .train_tokens = static_cast<std::uint64_t>(summary.train_tokens),
                               .validation_tokens = static_cast<std::uint64_t>(summary.validation_tokens),
                               .train_bytes = static_cast<std::uint64_t>(summary.train_bytes),
                               .validation_bytes = static_cast<std::uint64_t>(summary.validation_bytes),
                               .separators = static_cast<std::uint64_t>(summary.separators),
                               .tokenizer = summary.tokenizer,
                               .hash = summary.hash};
      write_atomically(folder / "tokens.bin", [&](FileWriter& writer) {
        const auto bytes = pack(header);
        writer.write(bytes.data(), bytes.size());
        header.id_bytes == 2 ? write_ids<std::uint16_t>(writer, ids, renumbered)
                             : write_ids<std::uint32_t>(writer, ids, renumbered);
      });
    }
    fs::remove(encoded_path);
    write_atomically(folder / "tokenizer.json", tokenizer->to_json().dump() + "\n");
  });
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return summary;
}

}  // namespace linformer
