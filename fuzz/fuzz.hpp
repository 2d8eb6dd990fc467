// What the fuzzers share. A fuzzer gives bytes to a reader; a UserError is the right answer to bad ones, and anything
// else that ends the call is a finding: another exception, a sanitizer's report, a hang, too much memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>

#include <unistd.h>

#include "linformer/core/error.hpp"
#include "linformer/core/json.hpp"

namespace linformer::fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Ends the process, which makes the input a finding, unless `condition` holds.
inline void expect(bool condition, const char* what) {
  if (condition) return;
  std::cerr << "finding: " << what << '\n';
  std::abort();
}

/// Calls `read`, and looks at the message of its UserError: short, and on one line of text.
template <class Read>
void user_error_or_none(Read&& read) {
  constexpr std::size_t kLongest = 1000;
  try {
    read();
  } catch (const UserError& error) {
    expect(std::strlen(error.what()) <= kLongest, "a message repeats the input");
    for (const char* c = error.what(); *c != '\0'; ++c)
      expect(static_cast<unsigned char>(*c) >= ' ', "a message holds control characters");
  }
}

/// A folder in memory, for readers that take paths; it is gone when the process ends.
class Folder {
 public:
  Folder() : path_("/dev/shm/linformer_fuzz_" + std::to_string(getpid())) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, std::string_view content) const {
    std::ofstream(path_ / name, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace linformer::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
