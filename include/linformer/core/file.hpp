// Reading whole files, writing files and folders atomically, mapping files into memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace linformer {

/// Returns the whole content of a file. UserError when the file is missing, is a folder, or can't be
/// read, and when a pipe or a device gives more than 256 MiB.
std::string read_file(const std::filesystem::path& path);

/// A file that is being written. UserError, with the system's reason, when a write fails: for example when the disk is
/// full or the folder is read-only.
class FileWriter {
 public:
  void write(const void* bytes, std::size_t count);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Overwrites bytes at `offset`. Used for headers that hold counts which are known only at the end.
  void write_at(std::uint64_t offset, const void* bytes, std::size_t count);
  std::uint64_t size() const { return size_; }

 private:
  friend void write_atomically(const std::filesystem::path&, const std::function<void(FileWriter&)>&);
  FileWriter(int descriptor, std::filesystem::path path) : descriptor_(descriptor), path_(std::move(path)) {}
  void flush();
  int descriptor_;
  std::filesystem::path path_;
  std::string buffer_;
  std::uint64_t size_ = 0;
};

/// Writes the file under a temporary name in the same folder, fsyncs it, renames it to `path`, and fsyncs the folder.
/// If the process is killed at any moment, `path` holds either the whole old content or the whole new content.
void write_atomically(const std::filesystem::path& path, const std::function<void(FileWriter&)>& fill);
void write_atomically(const std::filesystem::path& path, std::string_view content);

/// Adds a line to a file of lines, which is made where there is none: with one call to write, then fsynced. A last line
/// that a kill cut is ended first, so that it stays the only damaged one. UserError when the file can't be written.
void append_line(const std::filesystem::path& path, std::string_view line);

/// Makes a folder under a temporary name beside `path`, lets `fill` write into it (`fill` gets that name), fsyncs the
/// folder and renames it to `path`. An older folder of that name is replaced and then removed. `fill` must write only
/// into that folder. The files that it writes are not fsynced one by one.
void write_folder_atomically(const std::filesystem::path& path,
                             const std::function<void(const std::filesystem::path&)>& fill);

/// Removes from `folder` the temporary files and folders that killed processes left there.
void remove_stale_temporaries(const std::filesystem::path& folder);

/// A read-only memory map of a whole file. UserError when the file can't be mapped. An empty file gives an empty span.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace linformer
