// Files and folders that appear whole or not at all.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <string>
#include <string_view>

#include "core/descriptor.hpp"
#include "linformer/core/disk_full.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kBuffer = std::size_t{1} << 18;

// For what the system does: errno says why it did not.
void require_written(bool done, const fs::path& path) {
  const int reason = errno;
  if (!done) fail_to_write(reason, formatted("{}: can't be written: {}", path.string(), system_reason()));
}

// Tells this process from an earlier one of the same number: in a container the program often has the same number each
// time.
std::string process_tag() {
  static const auto start = std::chrono::system_clock::now().time_since_epoch().count();
  return formatted("{}-{:x}-", ::getpid(), start);
}

// Where the new content is built: ".NAME.tmp-PID-START-COUNT" beside `path`.
fs::path temporary_prefix(const fs::path& path) {
  return path.parent_path() / ("." + path.filename().string() + ".tmp-");
}
fs::path temporary_name(const fs::path& path) {
  static std::atomic<int> count{0};
  return temporary_prefix(path).string() + process_tag() + std::to_string(count++);
}

// Whether `name` is of the form that temporary_name() gives, and its process is no more.
bool is_stale(std::string_view name) {
  constexpr std::string_view kMark = ".tmp-";
  const auto mark = name.rfind(kMark);
  if (mark == std::string_view::npos || !name.starts_with('.')) return false;
  const auto tag = name.substr(mark + kMark.size());
  pid_t owner = 0;
  const auto read = std::from_chars(tag.data(), tag.data() + tag.size(), owner);
  if (read.ec != std::errc() || owner <= 0 || read.ptr == tag.data() + tag.size() || *read.ptr != '-') return false;
  return owner == ::getpid() ? !tag.starts_with(process_tag()) : ::kill(owner, 0) != 0 && errno == ESRCH;
}

// Processes that were killed while they wrote left their temporaries: gigabytes, for checkpoints.
void remove_stale(const fs::path& folder, const std::string& prefix) {
  std::error_code ignored;
  for (fs::directory_iterator entry(folder, ignored), end; !ignored && entry != end; entry.increment(ignored)) {
    const auto name = entry->path().filename().string();
    std::error_code not_removed;
    if (name.starts_with(prefix) && is_stale(name)) fs::remove_all(entry->path(), not_removed);
  }
}
void remove_stale_beside(const fs::path& path) {
  remove_stale(path.has_parent_path() ? path.parent_path() : fs::path("."), temporary_prefix(path).filename().string());
}

// "runs/a/" and "runs/a" are one folder, and a link's target is what gets replaced.
fs::path destination(const fs::path& path) {
  auto target = path.has_filename() ? path : path.parent_path();
  std::error_code ignored;
  if (fs::is_symlink(target, ignored)) target = fs::weakly_canonical(target);
  const auto parent = target.has_parent_path() ? target.parent_path() : fs::path(".");
  require(target.has_filename(), "'{}': expected the name of a file or folder to write", path.string());
  require(fs::is_directory(parent, ignored), "{}: can't be written: the folder {} does not exist; create it first",
          path.string(), parent.string());
  return target;
}

void sync(const fs::path& path, int flags) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags)};
  // Some file systems can't fsync folders (EINVAL): there nothing more can be done.
  const bool synced = file.valid() && (::fsync(file.get()) == 0 || errno == EINVAL);
  require_written(synced, path);
}

void sync_parent(const fs::path& path) {
  sync(path.has_parent_path() ? path.parent_path() : fs::path("."), O_DIRECTORY);
}

void sync_tree(const fs::path& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_symlink()) continue;
    if (entry.is_directory()) sync(entry.path(), O_DIRECTORY);
    if (entry.is_regular_file()) sync(entry.path(), 0);
  }
  sync(folder, O_DIRECTORY);
}

// Puts the folder `made` where `path` is. Afterwards `made` holds the older folder, if there was one.
void put_in_place(const fs::path& made, const fs::path& path) {
  if (::rename(made.c_str(), path.c_str()) == 0) return;  // nothing, or an empty folder, was there
  const bool occupied = errno == ENOTEMPTY || errno == EEXIST;
  require_written(occupied, path);
  if (::renameat2(AT_FDCWD, made.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) return;
  require(errno == EINVAL || errno == ENOSYS, "{}: can't be replaced: {}", path.string(), system_reason());
  // A file system without exchange: for a moment there is only the older folder, under another name.
  const auto older = temporary_name(path);
  fs::rename(path, older);
  fs::rename(made, path);
  fs::rename(older, made);
}

// While write_folder_atomically() fills its temporary folder, files in it need no fsync of their own: the whole folder
// is synced before it gets its name, and each fsync costs milliseconds.
thread_local int folders_being_filled = 0;
struct FillingFolder {
  FillingFolder() { ++folders_being_filled; }
  ~FillingFolder() { --folders_being_filled; }
};

// Removes the temporary when the writing fails, or what is left of it when it succeeds.
struct Remover {
  fs::path path;
  ~Remover() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

// Calls `write_from(done)`, which writes some of what stands behind the first `done` bytes, until all `count` are
// written.
template <class WriteFrom>
void write_all(std::size_t count, const fs::path& path, const WriteFrom& write_from) {
  for (std::size_t done = 0; done < count;) {
    const auto written = write_from(done);
    if (written < 0 && errno == EINTR) continue;
    require_written(written >= 0, path);
    require(written > 0, "{}: can't be written: no progress", path.string());
    done += static_cast<std::size_t>(written);
  }
}

}  // namespace

void FileWriter::write(const void* bytes, std::size_t count) {
  const auto* data = static_cast<const char*>(bytes);
  size_ += count;
  if (buffer_.size() + count < kBuffer) {
    if (count) buffer_.append(data, count);
    return;
  }
  flush();
  write_all(count, path_, [&](std::size_t done) { return ::write(descriptor_, data + done, count - done); });
}

void FileWriter::write_at(std::uint64_t offset, const void* bytes, std::size_t count) {
  require(offset <= size_ && count <= size_ - offset, "{}: write_at outside of what was written", path_.string());
  flush();
  const auto* data = static_cast<const char*>(bytes);
  write_all(count, path_, [&](std::size_t done) {
    return ::pwrite(descriptor_, data + done, count - done, static_cast<off_t>(offset + done));
  });
}

void FileWriter::flush() {
  write_all(buffer_.size(), path_,
            [&](std::size_t done) { return ::write(descriptor_, buffer_.data() + done, buffer_.size() - done); });
  buffer_.clear();
}

void write_atomically(const fs::path& path, const std::function<void(FileWriter&)>& fill) {
  const auto target = destination(path);
  std::error_code ignored;
  // Renaming over a device or pipe would destroy it.
  require(!fs::exists(target, ignored) || fs::is_regular_file(target, ignored),
          "{}: is a folder or device, expected the name of a regular file", path.string());
  remove_stale_beside(target);
  const auto temporary = temporary_name(target);
  Descriptor file{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)};
  require_written(file.valid(), path);
  const Remover remover{temporary};
  FileWriter writer(file.get(), path);
  fill(writer);
  writer.flush();
  const bool synced_later = folders_being_filled > 0;
  require_written(synced_later || ::fsync(file.get()) == 0, path);
  require_written(file.close(), path);
  require_written(::rename(temporary.c_str(), target.c_str()) == 0, path);
  if (!synced_later) sync_parent(target);
}

void remove_stale_temporaries(const fs::path& folder) { remove_stale(folder, "."); }

void write_atomically(const fs::path& path, std::string_view content) {
  write_atomically(path, [content](FileWriter& writer) { writer.write(content); });
}

void write_folder_atomically(const fs::path& path, const std::function<void(const fs::path&)>& fill) {
  const auto target = destination(path);
  std::error_code ignored;
  require(!fs::exists(target, ignored) || fs::is_directory(target, ignored),
          "{}: is a file, expected the name of a folder", path.string());
  remove_stale_beside(target);
  const auto temporary = temporary_name(target);
  require_written(::mkdir(temporary.c_str(), 0777) == 0, path);
  const Remover remover{temporary};
  try {
    {
      const FillingFolder filling;
      fill(temporary);
    }
    sync_tree(temporary);
    put_in_place(temporary, target);
  } catch (const fs::filesystem_error& error) {
    fail_to_write(error.code().value(), formatted("{}: can't be written: {}", path.string(), error.code().message()));
  }
  sync_parent(target);
}

}  // namespace linformer
