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
