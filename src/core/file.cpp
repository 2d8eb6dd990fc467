#include "linformer/core/file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/descriptor.hpp"
#include "linformer/core/error.hpp"

namespace linformer {
namespace {

// Opens for reading; says in one place why a path can't be read.
Descriptor open_to_read(const std::filesystem::path& path, struct stat& status) {
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  require(file.valid(), "{}: can't be read: {}", path.string(), system_reason());
  require(::fstat(file.get(), &status) == 0, "{}: can't be read: {}", path.string(), system_reason());
  require(!S_ISDIR(status.st_mode), "{}: is a folder, expected a file", path.string());
  return file;
}

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  struct stat status{};
  const auto file = open_to_read(path, status);
  std::string content;
  constexpr std::size_t kStep = std::size_t{1} << 16;
  constexpr std::size_t kMostOfPipe = std::size_t{1} << 28;  // /dev/zero has no end
  // One byte more than the size, so that the read that finds the end needs no growth; pipes have size 0 and grow.
  content.resize(S_ISREG(status.st_mode) ? static_cast<std::size_t>(status.st_size) + 1 : kStep);
  std::size_t size = 0;
  for (;;) {
    if (size == content.size()) content.resize(content.size() * 2 + kStep);
    const auto count = ::read(file.get(), content.data() + size, content.size() - size);
    if (count < 0 && errno == EINTR) continue;
    require(count >= 0, "{}: can't be read: {}", path.string(), system_reason());
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
    require(S_ISREG(status.st_mode) || size <= kMostOfPipe,
            "{}: is no regular file and gives more than {} bytes; save what it gives as a file, and name that",
            path.string(), kMostOfPipe);
  }
  content.resize(size);
  return content;
}

void append_line(const std::filesystem::path& path, std::string_view line) {
  const Descriptor file{::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666)};
  require(file.valid(), "{}: can't be written: {}", path.string(), system_reason());
  char last = '\n';
  if (const auto end = ::lseek(file.get(), 0, SEEK_END); end > 0)
    require(::pread(file.get(), &last, 1, end - 1) == 1, "{}: can't be read: {}", path.string(), system_reason());
  auto text = std::string(last == '\n' ? "" : "\n").append(line).append("\n");
  for (std::string_view rest = text; !rest.empty();) {
    const auto count = ::write(file.get(), rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    require(count > 0, "{}: can't be written: {}", path.string(), system_reason());
    rest.remove_prefix(static_cast<std::size_t>(count));
  }
  require(::fsync(file.get()) == 0 || errno == EINVAL, "{}: can't be written: {}", path.string(), system_reason());
}

MappedFile::MappedFile(const std::filesystem::path& path) {
  struct stat status{};
  const auto file = open_to_read(path, status);
  require(S_ISREG(status.st_mode), "{}: is not a regular file, so it can't be mapped into memory", path.string());
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;
  void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  require(mapped != MAP_FAILED, "{}: can't be mapped into memory: {}", path.string(), system_reason());
  data_ = static_cast<const std::byte*>(mapped);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace linformer
