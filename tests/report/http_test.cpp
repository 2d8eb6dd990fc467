#include "report/http.hpp"

#include <gtest/gtest.h>

namespace linformer::report {
namespace {

TEST(Http, ParsesARequest) {
  const auto request = parse_request("GET /data.json?x=1 HTTP/1.1\r\nAccept: */*\r\nhOsT:  127.0.0.1:8080 \r\n\r\n");
  EXPECT_EQ(request.method, "GET");
  EXPECT_EQ(request.path, "/data.json");
  EXPECT_EQ(request.host, "127.0.0.1:8080");
}

TEST(Http, OtherBytesAreNoRequest) {
  for (const auto* bytes :
       {"", "\r\n\r\n", "GET\r\n\r\n", "GET /\r\n\r\n", "GET / SPDY\r\n\r\n", " / HTTP/1.1\r\n\r\n", "\x16\x03\x01"})
    EXPECT_TRUE(parse_request(bytes).method.empty() && parse_request(bytes).path.empty()) << bytes;
  EXPECT_EQ(parse_request("GET / HTTP/1.1\r\nAccept: x\r\n\r\nHost: 127.0.0.1:1\r\n\r\n").host, "")
      << "of the body, not the head";
}

TEST(Http, HeadersAreBoundedAndHaveOneHost) {
  const auto request = [](std::size_t headers) {
    std::string text = "GET / HTTP/1.1\r\nHost: a\r\n";
    for (std::size_t i = 1; i < headers; ++i) text += "x: y\r\n";
    return parse_request(text + "\r\n");
  };
  EXPECT_EQ(request(kMostHeaders).host, "a");
  EXPECT_EQ(request(kMostHeaders + 1).method, "");
  EXPECT_EQ(request(100'000).method, "");
  EXPECT_EQ(parse_request("GET / HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n\r\n").method, "");
}

TEST(Http, WholeOnlyWithItsBlankLine) {
  EXPECT_FALSE(is_whole("GET / HTTP/1.1\r\nHost: a\r\n"));
  EXPECT_TRUE(is_whole("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
}

TEST(Http, OnlyThisMachineAtThisPort) {
  EXPECT_TRUE(is_this_machine("127.0.0.1:81", 81));
  EXPECT_TRUE(is_this_machine("LocalHost:81", 81));
  EXPECT_TRUE(is_this_machine("localhost", 80));
  for (const auto* host : {"", "evil.example", "evil.example:81", "localhost.evil.example:81",
                           "127.0.0.1.evil.example:81", "localhost", "localhost:82", "127.0.0.1:811"})
    EXPECT_FALSE(is_this_machine(host, 81)) << host;
}

TEST(Http, HeadHasNoBody) {
  const Response response{404, "text/plain", "gone"};
  EXPECT_TRUE(to_bytes(response, false).ends_with("\r\n\r\ngone"));
  const auto head = to_bytes(response, true);
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
  EXPECT_TRUE(head.starts_with("HTTP/1.1 404 Not Found\r\n"));
  EXPECT_NE(head.find("Content-Length: 4\r\n"), std::string::npos);
}

}  // namespace
}  // namespace linformer::report
