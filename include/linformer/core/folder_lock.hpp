// A folder that one process writes at a time.
#pragma once

#include <filesystem>
#include <string_view>

namespace linformer {

/// Holds a folder while it lives. The system frees it when the process ends, in whatever way: a killed process holds
/// nothing.
class FolderLock {
 public:
  /// The file that is locked. It is gone when the lock is; a killed process leaves it behind, which does no harm.
  static constexpr std::string_view kFile = ".lock";

  /// `folder` has to exist. UserError when the folder can't be written, or when it is held: the message names the
  /// process that holds it, and since when. A file system that has no locks is trusted.
  explicit FolderLock(std::filesystem::path folder);
  ~FolderLock();
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&&) = delete;

 private:
  bool take();
  bool stands() const;
  std::filesystem::path folder_;
  int descriptor_ = -1;
};

}  // namespace linformer
