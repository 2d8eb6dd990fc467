// Files: whole reads, atomic writes, memory maps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace linformer {

/// The whole of a file. UserError when it is missing, a folder or unreadable.
std::string read_file(const std::filesystem::path& path);

/// An open file under construction. Throws UserError with the system's reason when the disk is full or the folder is
/// read-only.
class FileWriter {
 public:
  void write(const void* bytes, std::size_t count);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Overwrites bytes at `offset`, for headers whose counts are known last.
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

/// Writes `path` under a temporary name beside it, fsyncs, renames, fsyncs the folder: whatever happens, `path` holds
/// the old or the new content whole.
void write_atomically(const std::filesystem::path& path, const std::function<void(FileWriter&)>& fill);
void write_atomically(const std::filesystem::path& path, std::string_view content);

/// Builds a folder under a temporary name beside `path` (filled by `fill`, which gets that name), fsyncs it and renames
/// it to `path`; an older folder of that name is replaced and then removed. `fill` writes into that folder only: files
/// that it writes are not fsynced one by one.
void write_folder_atomically(const std::filesystem::path& path,
                             const std::function<void(const std::filesystem::path&)>& fill);

/// Removes from `folder` what the two above left there in processes that were killed.
void remove_stale_temporaries(const std::filesystem::path& folder);

/// A read-only memory map of a whole file. UserError when it can't be mapped; an empty file gives an empty span.
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
