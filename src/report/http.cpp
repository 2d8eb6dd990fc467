#include "report/http.hpp"

#include <algorithm>
#include <cctype>

#include "linformer/core/format.hpp"

namespace linformer::report {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r");
  return begin == std::string_view::npos ? "" : text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

std::string_view reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 431:
      return "Request Header Fields Too Large";
    default:
      return "Internal Server Error";
  }
}

}  // namespace

bool is_whole(std::string_view bytes) { return bytes.find("\r\n\r\n") != std::string_view::npos; }

Request parse_request(std::string_view bytes) {
  // A second Host would let two readers of one request see two hosts.
  std::size_t headers = 0, hosts = 0;
  const auto line = bytes.substr(0, bytes.find("\r\n"));
  const auto first = line.find(' '), last = line.rfind(' ');
  Request request;
  const bool three_words = first != std::string_view::npos && first > 0 && last > first;
  if (!three_words || !line.substr(last + 1).starts_with("HTTP/1.")) return request;
  request.method = line.substr(0, first);
  const auto target = line.substr(first + 1, last - first - 1);
  request.path = target.substr(0, target.find('?'));
  for (auto rest = bytes.substr(std::min(line.size() + 2, bytes.size())); !rest.empty();) {
    const auto header = rest.substr(0, rest.find("\r\n"));
    const auto colon = header.find(':');
    if (colon != std::string_view::npos && equal_ignoring_case(header.substr(0, colon), "host")) {
      request.host = trimmed(header.substr(colon + 1));
      ++hosts;
    }
    if (header.empty()) break;
    if (++headers > kMostHeaders || hosts > 1) return {};
    rest.remove_prefix(std::min(header.size() + 2, rest.size()));
  }
  return request;
}

bool is_this_machine(std::string_view host, int port) {
  return std::ranges::any_of(std::initializer_list<std::string_view>{"127.0.0.1", "localhost"},
                             [&](std::string_view name) {
                               return equal_ignoring_case(host, formatted("{}:{}", name, port)) ||
                                      (port == 80 && equal_ignoring_case(host, name));
                             });
}

std::string to_bytes(const Response& response, bool head) {
  return formatted(
             "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: "
             "no-store\r\nX-Content-Type-Options: nosniff\r\n"
             "Cross-Origin-Resource-Policy: same-origin\r\nX-Frame-Options: DENY\r\nConnection: close\r\n\r\n",
             response.status, reason(response.status), response.type, response.body.size()) +
         (head ? "" : response.body);
}

}  // namespace linformer::report
