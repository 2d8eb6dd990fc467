// The request that `watch` answers.
#include "fuzz.hpp"
#include "report/http.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace linformer;
  const auto bytes = fuzz::text_of(data, size);
  const auto request = report::parse_request(bytes);
  if (request.method.empty()) fuzz::expect(request.path.empty() && request.host.empty(), "half a request");
  fuzz::expect(request.method.size() + request.path.size() + request.host.size() <= size, "more than was sent");
  for (const int port : {80, 8080}) {
    if (!report::is_this_machine(request.host, port)) continue;
    fuzz::expect(request.host.size() <= std::strlen("127.0.0.1:8080"), "another machine's name");
  }
  // A request that has come whole is the same whatever follows it.
  if (const auto end = bytes.find("\r\n\r\n"); end != std::string_view::npos) {
    fuzz::expect(report::is_whole(bytes), "not whole");
    const auto again = report::parse_request(bytes.substr(0, end + 4));
    fuzz::expect(again.path == request.path && again.host == request.host, "the body is read");
  }
  return 0;
}
