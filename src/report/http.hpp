// The small part of HTTP/1.1 that one page needs.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace linformer::report {

struct Response {
  int status = 200;
  std::string type = "text/plain; charset=utf-8", body;
};

struct Request {
  std::string method, path, host;  ///< path without its query; host as the header gives it, "" without one
};

constexpr std::size_t kLargestRequest = 16'384;  // bytes
constexpr std::size_t kMostHeaders = 100;        // browsers send some twenty

/// True when `bytes` hold the whole head of a request.
bool is_whole(std::string_view bytes);
/// The request that `bytes` begin with; method "" when that is none, or one with more than kMostHeaders headers or with
/// two hosts.
Request parse_request(std::string_view bytes);
/// Whether a Host header names this machine at `port`: 127.0.0.1 or localhost.
bool is_this_machine(std::string_view host, int port);
/// The bytes to send; the connection ends with them. `head`: without the body.
std::string to_bytes(const Response& response, bool head);

}  // namespace linformer::report
