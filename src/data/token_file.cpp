#include "linformer/data/token_file.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "data/token_format.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/hash.hpp"

namespace linformer {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are little-endian and mapped as they are");

constexpr std::string_view kMagic{"LINFTOK\n", 8};
constexpr std::size_t kNameBytes = 64, kHashBytes = 64;
constexpr std::size_t kSumAt = kTokenHeaderBytes - kHashBytes;  // SHA-256 of the header before it

/// Walks through the header. pack() writes with it, unpack() reads with it.
class Cursor {
 public:
  explicit Cursor(char* place) : place_(place) {}
  template <class Number>
  void put(Number value) {
    std::memcpy(place_, &value, sizeof value), place_ += sizeof value;
  }
  template <class Number>
  void get(Number& value) {
    std::memcpy(&value, place_, sizeof value), place_ += sizeof value;
  }
  void put(std::string_view text, std::size_t room) {
    std::memcpy(place_, text.data(), std::min(text.size(), room)), place_ += room;
  }
  void get(std::string& text, std::size_t room) { text.assign(place_, strnlen(place_, room)), place_ += room; }

 private:
  char* place_;
};

}  // namespace

std::array<char, kTokenHeaderBytes> pack(const TokenHeader& header) {
  std::array<char, kTokenHeaderBytes> bytes{};
  Cursor cursor(bytes.data());
  cursor.put(kMagic, kMagic.size());
  cursor.put(kTokenVersion);
  cursor.put(header.id_bytes);
  for (const std::uint64_t count : {header.vocabulary, header.train_tokens, header.validation_tokens,
                                    header.train_bytes, header.validation_bytes}) {
    cursor.put(count);
  }
  cursor.put(header.tokenizer, kNameBytes);
  cursor.put(header.hash, kHashBytes);
  cursor.put(header.separators);
  const std::string sum = sha256(std::string_view(bytes.data(), kSumAt));
  std::memcpy(bytes.data() + kSumAt, sum.data(), kHashBytes);
  return bytes;
}

TokenHeader unpack(std::span<const std::byte> file, const std::string& source) {
  require(file.size() >= kTokenHeaderBytes && std::memcmp(file.data(), kMagic.data(), kMagic.size()) == 0,
          "{} is not a token file, or is cut; make it again with `linformer prepare`", source);
  std::array<char, kTokenHeaderBytes> bytes;
  std::memcpy(bytes.data(), file.data(), bytes.size());
  Cursor cursor(bytes.data() + kMagic.size());
  std::uint32_t version = 0;
  cursor.get(version);
  require(version == kTokenVersion, "{} has format version {}, expected {}; make it again with `linformer prepare`",
          source, version, kTokenVersion);
  require(sha256(std::string_view(bytes.data(), kSumAt)) == std::string_view(bytes.data() + kSumAt, kHashBytes),
          "{} is damaged: its header doesn't have the SHA-256 that it names; make it again with `linformer prepare`",
          source);
  TokenHeader header;
  cursor.get(header.id_bytes);
  for (std::uint64_t* count : {&header.vocabulary, &header.train_tokens, &header.validation_tokens, &header.train_bytes,
                               &header.validation_bytes}) {
    cursor.get(*count);
  }
  cursor.get(header.tokenizer, kNameBytes);
  cursor.get(header.hash, kHashBytes);
  cursor.get(header.separators);
  constexpr std::uint64_t kMost = std::uint64_t{1} << 56;
  const bool sane =
      (header.id_bytes == 2 || header.id_bytes == 4) && header.train_tokens < kMost && header.validation_tokens < kMost;
  require(sane, "{} is damaged: {} bytes an id, {} and {} tokens", source, header.id_bytes, header.train_tokens,
          header.validation_tokens);
  const std::uint64_t expected = kTokenHeaderBytes + (header.train_tokens + header.validation_tokens) * header.id_bytes;
  require(file.size() == expected,
          "{} has {} bytes, but its header promises {}: it is cut or has something appended; "
          "make it again with `linformer prepare`",
          source, file.size(), expected);
  return header;
}

struct TokenData::Impl {
  std::string source;
  MappedFile file;
  TokenHeader header;
  std::shared_ptr<const Tokenizer> tokenizer;

  /// Copies ids, from `offset` of the part that starts at token `base` and has `size` tokens.
  void copy(std::uint64_t base, std::uint64_t size, std::int64_t offset, std::int64_t count, std::int64_t* out) const {
    require(offset >= 0 && count >= 0 && static_cast<std::uint64_t>(offset) <= size &&
                static_cast<std::uint64_t>(count) <= size - static_cast<std::uint64_t>(offset),
            "{}: {} tokens from {} asked, the split has {}", source, count, offset, size);
    const auto first = base + static_cast<std::uint64_t>(offset);
    const std::byte* const ids = file.bytes().data() + kTokenHeaderBytes + first * header.id_bytes;
    header.id_bytes == 2 ? widen<std::uint16_t>(ids, count, out) : widen<std::uint32_t>(ids, count, out);
  }

  template <class Id>
  void widen(const std::byte* ids, std::int64_t count, std::int64_t* out) const {
    for (std::int64_t i = 0; i < count; ++i) {
      Id id;
      std::memcpy(&id, ids + static_cast<std::size_t>(i) * sizeof id, sizeof id);
      require(id < header.vocabulary,
              "{} is damaged: it holds id {}, outside its vocabulary of {}; make it again with "
              "`linformer prepare`",
              source, id, header.vocabulary);
      out[i] = static_cast<std::int64_t>(id);
    }
  }
};

TokenData TokenData::open(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokens.bin";
  std::error_code error;
  require(std::filesystem::is_directory(folder, error),
          "{} is not a folder; expected one that `linformer prepare` made", folder.string());
  require(std::filesystem::is_regular_file(path, error),
          "{} has no tokens.bin; expected a folder that `linformer prepare` made", folder.string());
  auto impl = std::make_shared<Impl>();
  impl->source = path.string();
  impl->file = MappedFile(path);
  impl->header = unpack(impl->file.bytes(), impl->source);
  impl->tokenizer = load_tokenizer((folder / "tokenizer.json").string());
  const Tokenizer& tokenizer = *impl->tokenizer;
  require(
      impl->header.hash == tokenizer.hash() && impl->header.vocabulary == static_cast<std::uint64_t>(tokenizer.size()),
      "{} was made with another vocabulary ({}, {} ids) than the tokenizer.json beside it ({}, {} ids); make the "
      "folder again with "
      "`linformer prepare`",
      impl->source, excerpt(impl->header.tokenizer), impl->header.vocabulary, excerpt(tokenizer.name()),
      tokenizer.size());
  TokenData data;
  data.impl_ = std::move(impl);
  return data;
}

std::int64_t TokenData::train_size() const { return static_cast<std::int64_t>(impl_->header.train_tokens); }
std::int64_t TokenData::validation_size() const { return static_cast<std::int64_t>(impl_->header.validation_tokens); }
std::int64_t TokenData::separators() const { return static_cast<std::int64_t>(impl_->header.separators); }

void TokenData::copy_train(std::int64_t offset, std::int64_t count, std::int64_t* out) const {
  impl_->copy(0, impl_->header.train_tokens, offset, count, out);
}

void TokenData::copy_validation(std::int64_t offset, std::int64_t count, std::int64_t* out) const {
  impl_->copy(impl_->header.train_tokens, impl_->header.validation_tokens, offset, count, out);
}

double TokenData::validation_bytes_per_token() const {
  require(validation_size() > 0, "{} has no validation tokens; prepare it with a larger --validation", impl_->source);
  return static_cast<double>(impl_->header.validation_bytes) / static_cast<double>(impl_->header.validation_tokens);
}

std::shared_ptr<const Tokenizer> TokenData::tokenizer() const { return impl_->tokenizer; }
std::string TokenData::vocabulary_hash() const { return impl_->header.hash; }

}  // namespace linformer
