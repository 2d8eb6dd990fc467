// A folder that one process writes at a time.
#pragma once

#include <filesystem>
#include <string_view>

namespace linformer {

/// Holds a folder while it lives. When the process ends, in whatever way, the system frees the folder: a killed process
/// holds nothing.
class FolderLock {
 public:
  /// The file that is locked. It is removed together with the lock. A killed process leaves it, which does no harm.
  static constexpr std::string_view kFile = ".lock";

  /// `folder` has to exist. UserError when it can't be written, or when it is held: the message says by which process,
  /// and since when. On a file system without locks nothing is checked.
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
