#include "linformer/data/prepare.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <system_error>

#include "data/token_format.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/progress.hpp"
#include "linformer/data/tokenizer.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = 4 << 20;  // bytes of text at a time: enough for several threads

/// A NUL in the first bytes marks what is no text, as in other tools.
bool looks_like_text(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return true;  // reading it will say why not
  char start[4096];
  const ssize_t count = ::read(descriptor, start, sizeof start);
  ::close(descriptor);
  return count <= 0 || std::memchr(start, 0, static_cast<std::size_t>(count)) == nullptr;
}

/// The text files below `folder`, sorted; hidden ones and those in hidden folders are left out.
std::vector<std::string> text_files(const fs::path& folder) {
  std::vector<std::string> files;
  std::error_code error;
  auto entry = fs::recursive_directory_iterator(folder, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    std::error_code ignored;
    if (entry->path().filename().string().starts_with('.')) {
      if (entry->is_directory(ignored)) entry.disable_recursion_pending();
    } else if (entry->is_regular_file(ignored) && looks_like_text(entry->path())) {
      files.push_back(entry->path().string());
    }
  }
  require(!error, "{}: {}", folder.string(), error.message());
  require(!files.empty(), "{} holds no text file", folder.string());
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::string> expand(const std::vector<std::string>& inputs) {
  require(!inputs.empty(), "no input; name text files, folders or - (standard input) with --input");
  require(std::count(inputs.begin(), inputs.end(), "-") <= 1,
          "--input - comes twice, but standard input can be read only once");
  std::vector<std::string> files;
  for (const std::string& input : inputs) {
    std::error_code error;
    require(input == "-" || fs::exists(input, error), "--input {}: no such file or folder", input);
    if (input != "-" && fs::is_directory(input, error)) {
      const auto found = text_files(input);
      files.insert(files.end(), found.begin(), found.end());
    } else {
      files.push_back(input);
    }
  }
  return files;
}

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

struct Encoded {
  std::int64_t tokens = 0;
  std::vector<bool> used;
};

/// Writes the ids of all files, 32 bits each, to `path`.
Encoded encode_files(const std::vector<std::string>& files, const Tokenizer& tokenizer, bool quiet,
                     const fs::path& path) {
  Encoded encoded{.tokens = 0, .used = std::vector<bool>(static_cast<std::size_t>(tokenizer.size()))};
  std::int64_t total = 0, done = 0;
  for (const std::string& file : files) {
    std::error_code error;
    const auto size = fs::file_size(file, error);
    if (!error) total += static_cast<std::int64_t>(size);
  }
  Progress progress("encoding", (total + (1 << 20) - 1) >> 20, 0, quiet);
  write_atomically(path, [&](FileWriter& writer) {
    StreamEncoder encoder(tokenizer, [&](std::span<const std::int32_t> ids) {
      for (const std::int32_t id : ids) encoded.used[static_cast<std::size_t>(id)] = true;
      encoded.tokens += static_cast<std::int64_t>(ids.size());
      writer.write(ids.data(), ids.size_bytes());
    });
    for (const std::string& file : files) {
      read_in_pieces(file, [&](std::string_view text) {
        encoder.push(text);
        done += static_cast<std::int64_t>(text.size());
        progress.update(done >> 20, "MB");
      });
      encoder.finish();
    }
  });
  progress.finish();
  return encoded;
}

std::int64_t byte_count(std::span<const std::int32_t> ids, const Tokenizer& tokenizer) {
  std::int64_t bytes = 0;
  for (const std::int32_t id : ids) bytes += static_cast<std::int64_t>(tokenizer.bytes_of(id).size());
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

void read_in_pieces(const std::string& path, const std::function<void(std::string_view)>& sink) {
  const std::string name = path == "-" ? "standard input" : path;
  const int descriptor = path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  require(descriptor >= 0, "{} can't be read: {}", name, std::strerror(errno));
  struct Close {
    int descriptor;
    ~Close() { ::close(descriptor); }
  } close{descriptor};
  std::string piece(kPiece, '\0');
  for (bool more = true; more;) {
    std::size_t filled = 0;
    while (more && filled < piece.size()) {  // a pipe gives little at a time
      const ssize_t count = ::read(descriptor, piece.data() + filled, piece.size() - filled);
      if (count < 0 && errno == EINTR) continue;
      require(count >= 0, "{} can't be read: {}", name, std::strerror(errno));
      more = count > 0;
      filled += static_cast<std::size_t>(count);
    }
    if (filled > 0) sink(std::string_view(piece).substr(0, filled));
  }
}

PrepareSummary prepare(const PrepareOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  require(options.validation >= 0 && options.validation < 1,
          "--validation is {}, expected a part of the tokens from 0 to below 1", options.validation);
  check_out(options.out, options.overwrite);
  const std::vector<std::string> files = expand(options.inputs);
  const auto base = load_tokenizer(options.tokenizer);
  PrepareSummary summary;
  write_folder_atomically(options.out, [&](const fs::path& folder) {
    const fs::path encoded_path = folder / "encoded.part";
    const Encoded encoded = encode_files(files, *base, options.quiet, encoded_path);
    require(encoded.tokens > 0, "the input is empty: {} of no text", files.size() == 1 ? files[0] : "all files");
    // The corpus has the same tokens under its own vocabulary, so that its ids are only renumbered.
    std::vector<std::int32_t> renumbered;
    const auto tokenizer = options.corpus_vocabulary ? corpus_tokenizer(*base, encoded.used, &renumbered) : base;
    {
      const MappedFile mapped(encoded_path);
      const std::span<const std::int32_t> ids(reinterpret_cast<const std::int32_t*>(mapped.bytes().data()),
                                              static_cast<std::size_t>(encoded.tokens));
      const auto validation =
          static_cast<std::size_t>(std::llround(options.validation * static_cast<double>(ids.size())));
      const auto train_ids = ids.first(ids.size() - validation), validation_ids = ids.last(validation);
      summary = {.tokenizer = tokenizer->name(),
                 .hash = tokenizer->hash(),
                 .vocabulary = tokenizer->size(),
                 .files = static_cast<std::int64_t>(files.size()),
                 .train_tokens = static_cast<std::int64_t>(train_ids.size()),
                 .validation_tokens = static_cast<std::int64_t>(validation),
                 .train_bytes = byte_count(train_ids, *base),
                 .validation_bytes = byte_count(validation_ids, *base)};
      const TokenHeader header{.id_bytes = tokenizer->size() <= 65536 ? 2u : 4u,
                               .vocabulary = static_cast<std::uint64_t>(summary.vocabulary),
                               .train_tokens = static_cast<std::uint64_t>(summary.train_tokens),
                               .validation_tokens = static_cast<std::uint64_t>(summary.validation_tokens),
                               .train_bytes = static_cast<std::uint64_t>(summary.train_bytes),
                               .validation_bytes = static_cast<std::uint64_t>(summary.validation_bytes),
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
