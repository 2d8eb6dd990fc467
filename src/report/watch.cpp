#include "linformer/report/watch.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>
#include <vector>

#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "linformer/report/document.hpp"
#include "linformer/report/page.hpp"
#include "report/http.hpp"

namespace linformer {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kWaitMilliseconds = 200;
constexpr auto kConnectionLife = std::chrono::seconds(20);
constexpr std::size_t kConnections = 64;

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  int get() const { return value_; }

 private:
  int value_;
};

// Reads the request, then writes the answer. Neither of them blocks, because browsers open connections that they may
// never use.
struct Connection {
  Descriptor socket;
  Clock::time_point end = Clock::now() + kConnectionLife;
  std::string received, answer;
  std::size_t sent = 0;
};

struct Listener {
  Descriptor socket;
  int port;
};

Listener listen_on(int port) {
  Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  require(socket.get() >= 0, "can't make a network socket: {}", std::strerror(errno));
  const int yes = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  socklen_t size = sizeof address;
  const bool bound = ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     ::listen(socket.get(), 16) == 0 &&
                     ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0;
  require(bound, "can't listen at 127.0.0.1 port {}: {}; give another --port, or 0 for any free port", port,
          std::strerror(errno));
  return {std::move(socket), ntohs(address.sin_port)};
}

class Server {
 public:
  Server(std::filesystem::path folder, const WatchOptions& options)
      : folder_(std::move(folder)), options_(options), listener_(listen_on(options.port)) {}

  std::string address() const { return formatted("http://127.0.0.1:{}/", listener_.port); }

  void run() {
    while (!options_.stop()) {
      std::vector<pollfd> polled{{listener_.socket.get(), POLLIN, 0}};
      for (const auto& one : connections_)
        polled.push_back({one.socket.get(), static_cast<short>(one.answer.empty() ? POLLIN : POLLOUT), 0});
      if (::poll(polled.data(), polled.size(), kWaitMilliseconds) < 0 && errno != EINTR)
        fail("waiting for requests: {}", std::strerror(errno));
      std::vector<Connection> kept;
      for (std::size_t i = 0; i < connections_.size(); ++i) {
        const bool ready = polled[i + 1].revents != 0;
        if (Clock::now() < connections_[i].end && (!ready || serve(connections_[i])))
          kept.push_back(std::move(connections_[i]));
      }
      connections_ = std::move(kept);
      if (polled[0].revents & POLLIN) take();
    }
  }

 private:
  void take() {
    const int socket = ::accept4(listener_.socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (socket < 0) return;
    Connection connection{Descriptor(socket), Clock::now() + kConnectionLife, {}, {}, 0};
    if (connections_.size() < kConnections) connections_.push_back(std::move(connection));
  }

  // False when the connection has ended.
  bool serve(Connection& connection) {
    if (connection.answer.empty()) {
      char bytes[4096];
      const auto count = ::recv(connection.socket.get(), bytes, sizeof bytes, 0);
      if (count <= 0) return count < 0 && (errno == EAGAIN || errno == EINTR);
      connection.received.append(bytes, static_cast<std::size_t>(count));
      const bool whole = report::is_whole(connection.received);
      if (!whole && connection.received.size() < report::kLargestRequest) return true;
      const auto request = report::parse_request(connection.received);
      connection.answer = report::to_bytes(whole ? answer(request) : report::Response{431, "text/plain", "too long\n"},
                                           request.method == "HEAD");
    }
    const auto rest = std::string_view(connection.answer).substr(connection.sent);
    const auto count = ::send(connection.socket.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (count < 0) return errno == EAGAIN || errno == EINTR;
    connection.sent += static_cast<std::size_t>(count);
    return connection.sent < connection.answer.size();
  }

  report::Response answer(const report::Request& request) {
    if (request.method.empty()) return {400, "text/plain", "not a request\n"};
    if (!report::is_this_machine(request.host, listener_.port)) return {403, "text/plain", "open " + address() + "\n"};
    if (request.method != "GET" && request.method != "HEAD") return {405, "text/plain", "only GET\n"};
    if (request.path == "/") return {200, "text/html; charset=utf-8", render_page(document(), true)};
    if (request.path == "/data.json") return {200, "application/json", dump(document())};
    return {404, "text/plain", "there are / and /data.json\n"};
  }

  // If several pages are open, they share one reading per second.
  const json& document() {
    if (document_.is_null() || Clock::now() - read_at_ > std::chrono::seconds(1)) {
      document_ = read_report({folder_}, {.version = options_.version, .command = options_.command});
      read_at_ = Clock::now();
    }
    return document_;
  }

  std::filesystem::path folder_;
  const WatchOptions& options_;
  Listener listener_;
  std::vector<Connection> connections_;
  json document_;
  Clock::time_point read_at_{};
};

}  // namespace

void watch(const std::filesystem::path& folder, const WatchOptions& options) {
  require(std::filesystem::is_directory(folder),
          "{} is not a folder; expected the folder of a run, which `linformer train --out` makes", folder.string());
  Server server(folder, options);
  options.listening(server.address());
  server.run();
}

}  // namespace linformer
