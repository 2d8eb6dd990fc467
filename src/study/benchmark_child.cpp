#include "study/benchmark_child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/core/stop_signal.hpp"

extern char** environ;

namespace linformer {
namespace {

constexpr int kPollMilliseconds = 100;

std::array<int, 2> open_pipe() {
  std::array<int, 2> ends{};
  // Closed on exec, or children would hold each other's pipes open.
  require(pipe2(ends.data(), O_CLOEXEC) == 0, "can't make a pipe to the measuring process: {}", std::strerror(errno));
  return ends;
}

}  // namespace

BenchmarkChild::BenchmarkChild(const std::filesystem::path& program) {
  const auto input = open_pipe(), output = open_pipe();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  std::string name = "linformer", verb = "benchmark", flag = "--point";
  std::array<char*, 4> arguments{name.data(), verb.data(), flag.data(), nullptr};
  const int error = posix_spawn(&pid_, program.c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(input[0]), close(output[1]);
  to_ = input[1], from_ = output[0];
  if (error == 0) return;
  close(to_), close(from_);
  fail("{}: a measuring process can't be started: {}", program.string(), std::strerror(error));
}

BenchmarkChild::~BenchmarkChild() {
  close(to_), close(from_);
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

bool BenchmarkChild::send(const std::string& line) {
  for (std::size_t done = 0; done < line.size();) {
    const auto count = write(to_, line.data() + done, line.size() - done);  // SIGPIPE is ignored by the program
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    done += static_cast<std::size_t>(count);
  }
  return true;
}

bool BenchmarkChild::receive(std::string& line) {
  for (;;) {
    if (const auto end = buffer_.find('\n'); end != std::string::npos) {
      line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return true;
    }
    if (const int signal = StopSignal::received()) throw BenchmarkStopped{signal};
    pollfd ready{.fd = from_, .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, kPollMilliseconds) <= 0) continue;
    std::array<char, 4096> bytes;
    const auto count = read(from_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    buffer_.append(bytes.data(), static_cast<std::size_t>(count));
  }
}

json BenchmarkChild::last_words() {
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  // From the terminal a signal reaches parent and child, and the child may be the first to go.
  if (const int signal = StopSignal::received()) throw BenchmarkStopped{signal};
  if (WIFEXITED(status) && WEXITSTATUS(status) == kMemoryStatus)
    return {{"status", "memory"}, {"reason", "an allocation failed on a worker thread"}};
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
    return {{"status", "memory"},
            {"reason", "the process was killed (SIGKILL), as the kernel does when memory runs out"}};
  if (WIFSIGNALED(status))
    return {{"status", "failed"}, {"reason", formatted("the process died of signal {}", WTERMSIG(status))}};
  return {{"status", "failed"}, {"reason", formatted("the process ended with status {}", WEXITSTATUS(status))}};
}

json BenchmarkChild::ask(const json& request) {
  std::string line;
  if (pid_ <= 0) return {{"status", "failed"}, {"reason", "the process has ended"}};
  if (!send(dump(request) + '\n') || !receive(line)) return last_words();
  return parse_json(line, "a measuring process");
}

}  // namespace linformer
