// A process that measures one point, as the parent process sees it.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

#include "linformer/core/json.hpp"

namespace linformer {

/// The exit status of a child that ran out of memory and couldn't report it.
constexpr int kMemoryStatus = 77;

/// SIGINT or SIGTERM arrived while a child was at work.
struct BenchmarkStopped {
  int signal;
};

class BenchmarkChild {
 public:
  /// Starts `program benchmark --point`. UserError when it can't be started.
  explicit BenchmarkChild(const std::filesystem::path& program);
  ~BenchmarkChild();  ///< ends it
  BenchmarkChild(const BenchmarkChild&) = delete;
  BenchmarkChild& operator=(const BenchmarkChild&) = delete;

  /// Sends a request and waits for the answer. If the child dies, the answer is {"status":"memory"|"failed","reason"}.
  /// Throws BenchmarkStopped.
  json ask(const json& request);

 private:
  bool send(const std::string& line);
  bool receive(std::string& line);
  json last_words();
  pid_t pid_ = -1;
  int to_ = -1, from_ = -1;
  std::string buffer_;
};

}  // namespace linformer
