#include "linformer/core/folder_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <string>
#include <utility>

#include "core/descriptor.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kHolder = "process ";  // with which a holder's line begins
constexpr std::size_t kLongestHolder = 200;

std::string time_now() {
  const auto now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text.data();
}

// On a folder that machines share, a process has a number only together with its machine.
std::string this_process() {
  std::array<char, 64> host{};
  gethostname(host.data(), host.size() - 1);
  return formatted("{}{} on {}, since {}", kHolder, ::getpid(), host.data(), time_now());
}

// What the holder wrote; it may not have come to it yet.
std::string holder_of(int descriptor) {
  std::string line(kLongestHolder, '\0');
  const auto count = ::pread(descriptor, line.data(), line.size(), 0);
  line.resize(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  line.resize(std::min(line.find('\n'), line.size()));
  return line.starts_with(kHolder) ? line : "another process";
}

}  // namespace

FolderLock::FolderLock(fs::path folder) : folder_(std::move(folder)) {
  // The file may be removed by its holder between the opening and the locking: then the lock is on a file that nobody
  // else will find.
  while (!take()) ::close(std::exchange(descriptor_, -1));
  const auto line = this_process() + "\n";
  // Only the message of others needs it: a full disk is no reason to stop.
  const bool written = ::ftruncate(descriptor_, 0) == 0 &&
                       ::pwrite(descriptor_, line.data(), line.size(), 0) == static_cast<ssize_t>(line.size());
  static_cast<void>(written);
}

bool FolderLock::take() {
  const auto path = folder_ / kFile;
  // The folder may be somebody else's: what lies under this name is written to only where it is a file of its own, and
  // no link to another.
  Descriptor file{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666)};
  require(file.valid(), "{}: can't be written: {}", path.string(), system_reason());
  struct stat found{};
  const bool plain = ::fstat(file.get(), &found) == 0 && S_ISREG(found.st_mode) && found.st_nlink <= 1;
  require(plain, "{}: expected a file that only this name belongs to; remove it", path.string());
  const bool locked = ::flock(file.get(), LOCK_EX | LOCK_NB) == 0;
  const bool held = !locked && errno == EWOULDBLOCK;
  require(!held, "{}: is being written by {}; wait until it ends, or choose another --out", folder_.string(),
          held ? holder_of(file.get()) : "");
  descriptor_ = file.release();
  return !locked || stands();
}

// Whether the locked file is the one that others find under its name.
bool FolderLock::stands() const {
  struct stat own{}, there{};
  return ::fstat(descriptor_, &own) == 0 && ::lstat((folder_ / kFile).c_str(), &there) == 0 &&
         own.st_dev == there.st_dev && own.st_ino == there.st_ino;
}

FolderLock::~FolderLock() {
  if (descriptor_ < 0) return;
  if (stands()) ::unlink((folder_ / kFile).c_str());
  ::close(descriptor_);
}

FolderLock::FolderLock(FolderLock&& other) noexcept
    : folder_(std::move(other.folder_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

}  // namespace linformer
