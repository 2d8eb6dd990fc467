// An owned file descriptor, and the system's word for what went wrong.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

namespace linformer {

inline std::string system_reason() { return std::generic_category().message(errno); }

class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  ~Descriptor() {
    if (valid()) ::close(descriptor_);
  }
  Descriptor(Descriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  bool valid() const { return descriptor_ >= 0; }
  int get() const { return descriptor_; }
  /// Gives it away.
  int release() { return std::exchange(descriptor_, -1); }
  /// Closes now; false where the system only now reports a failed write.
  bool close() { return ::close(release()) == 0; }

 private:
  int descriptor_;
};

}  // namespace linformer
