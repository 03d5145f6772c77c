#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/getfile/getfile_server.h"
#include "tests/getfile/http_reply.h"
#include "tests/harness/daemon_process.h"
#include "tests/harness/deadline.h"
#include "tests/harness/fake_server.h"
#include "tests/harness/raw_peer.h"

// getfile-proxy without a cache, before an origin that does what the test says.

namespace ds::ipc_proxy_cache {
namespace {

using getfile::Answers;
using getfile::Content;
using getfile::Get;
using getfile::HttpReply;
using testing::DaemonProcess;
using testing::FakeServer;
using ::testing::HasSubstr;
using testing::RawPeer;
using ::testing::StartsWith;

// The origin talks to one peer at a time, and the proxy's workers have connections of their own: so
// each answer closes its connection.
std::string HttpOk(std::string_view body, std::string_view fields = "") {
  return fmt::format("HTTP/1.1 200 OK\r\nConnection: close\r\n{}Content-Length: {}\r\n\r\n{}",
                     fields, body.size(), body);
}

class Proxy {
 public:
  explicit Proxy(std::uint16_t origin_port, std::vector<std::string> flags = {})
      : process_(
            {.program = "getfile-proxy", .arguments = Arguments(origin_port, std::move(flags))}) {
    if (const absl::Status ready = process_.StartAndWaitReady(); !ready.ok()) {
      ADD_FAILURE() << ready;
      std::abort();
    }
  }

  DaemonProcess& process() { return process_; }
  RawPeer::Received Exchange(std::string_view request) {
    return RawPeer::Exchange(process_.host(), process_.port(), request);
  }
  HttpReply Http(std::string_view path, std::string_view fields = "") {
    const auto received = Exchange(
        fmt::format("GET {} HTTP/1.1\r\nHost: h\r\n{}Connection: close\r\n\r\n", path, fields));
    const auto replies = getfile::ReadReplies(received.bytes);
    return replies.size() == 1 ? replies[0] : HttpReply{0, {}, {}, received.bytes};
  }

 private:
  static std::vector<std::string> Arguments(std::uint16_t port, std::vector<std::string> flags) {
    std::vector<std::string> all{"-s",
                                 fmt::format("127.0.0.1:{}", port),
                                 "-p",
                                 "0",
                                 "-t",
                                 "2",
                                 "--cache-socket",
                                 "/nonexistent/cache.sock"};
    all.insert(all.end(), flags.begin(), flags.end());
    return all;
  }

  DaemonProcess process_;
};

TEST(ProxyOriginTest, AnObjectComesByGetfileAndByHttp) {
  FakeServer origin({FakeServer::Answer(
      HttpOk("hello", "Content-Type: text/x\r\nETag: \"1\"\r\nAge: 7\r\nSet-Cookie: a=b\r\n"))});
  Proxy proxy(origin.port());
  EXPECT_EQ(proxy.process().Key("cache"), "none");
  EXPECT_THAT(proxy.Exchange(Get("/a%b")), Answers(getfile::Ok("hello")));
  const HttpReply reply = proxy.Http("/x%20y?q=1");
  EXPECT_EQ(reply.code, 200);
  EXPECT_EQ(reply.body, "hello");
  EXPECT_EQ(reply.Field("Content-Type"), "text/x");
  EXPECT_EQ(reply.Field("ETag"), "\"1\"");
  EXPECT_EQ(reply.Field("Age"), "7");
  EXPECT_EQ(reply.Field("X-Cache"), "PASS");
  EXPECT_EQ(reply.Field("Set-Cookie"), "<none>");
  ASSERT_EQ(origin.requests().size(), 2U);
  EXPECT_THAT(origin.requests()[0], StartsWith("GET /a%25b HTTP/1.1\r\n"));
  EXPECT_THAT(origin.requests()[1], StartsWith("GET /x%20y?q=1 HTTP/1.1\r\n"));
}

TEST(ProxyOriginTest, RangesAndConditionsAreAnsweredFromTheWhole) {
  const std::string content = Content(3'000'000);
  FakeServer origin({FakeServer::Answer(HttpOk(content, "ETag: \"1\"\r\n"))});
  Proxy proxy(origin.port());
  const HttpReply part = proxy.Http("/a", "Range: bytes=1000000-1999999\r\n");
  EXPECT_EQ(part.code, 206);
  EXPECT_TRUE(part.body == content.substr(1'000'000, 1'000'000));
  EXPECT_EQ(proxy.Http("/a", "If-None-Match: \"1\"\r\n").code, 304);
}

TEST(ProxyOriginTest, StatusesBecomeThoseOfGetfile) {
  const struct {
    int origin;
    std::string_view getfile;
    int http;
  } cases[] = {{404, getfile::kNotFound, 404}, {403, getfile::kNotFound, 403},
               {410, getfile::kNotFound, 410}, {500, getfile::kError, 502},
               {503, getfile::kError, 502},    {401, getfile::kError, 502},
               {204, getfile::kError, 502}};
  for (const auto& [code, expected, http] : cases) {
    FakeServer origin({FakeServer::Answer(
        fmt::format("HTTP/1.1 {} X\r\nConnection: close\r\n{}\r\n{}", code,
                    code == 204 ? "" : "Content-Length: 4\r\n", code == 204 ? "" : "page"))});
    Proxy proxy(origin.port());
    EXPECT_THAT(proxy.Exchange(Get("/a")), Answers(expected)) << code;
    EXPECT_EQ(proxy.Http("/a").code, http) << code;
  }
}

TEST(ProxyOriginTest, AnOriginThatIsNotThereIsAnError) {
  std::uint16_t port = 0;
  {
    const FakeServer gone({FakeServer::Answer("")});
    port = gone.port();
  }
  Proxy proxy(port);
  EXPECT_THAT(proxy.Exchange(Get("/a")), Answers(getfile::kError));
  EXPECT_EQ(proxy.Http("/a").code, 502);
}

TEST(ProxyOriginTest, AnOriginThatSaysNothingIsAGatewayTimeout) {
  FakeServer origin({[](FakeServer::Conversation& conversation) { conversation.WaitForEnd(); }});
  Proxy proxy(origin.port(), {"--connect-timeout", "0.05", "--first-byte-timeout", "0.05"});
  EXPECT_EQ(proxy.Http("/a").code, 504);
}

TEST(ProxyOriginTest, WhatBreaksOffEndsEarly) {
  FakeServer origin({FakeServer::Answer(
      "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\n1234")});
  Proxy proxy(origin.port());
  EXPECT_THAT(proxy.Exchange(Get("/a")), Answers("GETFILE OK 9\r\n\r\n1234"));
}

TEST(ProxyOriginTest, AChunkedAnswerGetsItsLength) {
  FakeServer origin(
      {FakeServer::Answer("HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: "
                          "chunked\r\n\r\n5\r\nhello\r\n3\r\n...\r\n0\r\n\r\n")});
  Proxy in_memory(origin.port());
  EXPECT_THAT(in_memory.Exchange(Get("/a")), Answers(getfile::Ok("hello...")));
  Proxy in_a_file(origin.port(), {"--max-unknown", "4"});
  EXPECT_THAT(in_a_file.Exchange(Get("/a")), Answers(getfile::Ok("hello...")));
}

TEST(ProxyOriginTest, AChunkedAnswerThatBreaksOffIsAnError) {
  FakeServer origin({FakeServer::Answer(
      "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")});
  Proxy proxy(origin.port());
  EXPECT_THAT(proxy.Exchange(Get("/a")), Answers(getfile::kError));
}

TEST(ProxyOriginTest, AnEmptyObjectIsAnObject) {
  FakeServer origin({FakeServer::Answer(HttpOk(""))});
  Proxy proxy(origin.port());
  EXPECT_THAT(proxy.Exchange(Get("/a")), Answers(getfile::Ok("")));
}

TEST(ProxyOriginTest, HeadHasTheLengthThatOnlyAGetTells) {
  FakeServer origin({FakeServer::Answer("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
                     FakeServer::Answer(HttpOk("hello"))});
  Proxy proxy(origin.port());
  const auto received = proxy.Exchange("HEAD /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(received.bytes, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_THAT(received.bytes, ::testing::EndsWith("\r\n\r\n"));
}

TEST(ProxyOriginTest, ASlowClientHoldsTheOriginBackAndNotTheMemory) {
  const std::string content = Content(96U << 20U);
  FakeServer origin({FakeServer::Answer(HttpOk(content))});
  Proxy proxy(origin.port());
  auto peer = RawPeer::Connect(proxy.process().host(), proxy.process().port(),
                               {.receive_buffer_bytes = 65536});
  ASSERT_TRUE(peer.ok()) << peer.status();
  ASSERT_TRUE(peer->Send(Get("/a")));
  EXPECT_EQ(peer->Read(1'000'000).bytes.size(), 1'000'000U);
  const auto received = peer->ReadToEnd();
  const std::string whole = getfile::Ok(content);
  EXPECT_TRUE(received.bytes == whole.substr(1'000'000));
  if (testing::kSlowdown == 1) {  // a sanitizer has memory of its own
    EXPECT_LT(proxy.process().resident_bytes(), 64U << 20U);
  }
}

TEST(ProxyOriginTest, WhatIsNoOptionIsRefusedBeforeAnythingIsServed) {
  const struct {
    std::vector<std::string> arguments;
    const char* named;  ///< in the message
  } cases[] = {{{}, "--origin"},
               {{"-s", "ftp://a"}, "ftp"},
               {{"-s", "a", "-z", "823"}, "--segment-bytes"},
               {{"-s", "a", "-n", "0"}, "--segments"},
               {{"-s", "a", "--on-miss", "1"}, "--on-miss"},
               {{"-s", "a", "--temp-dir", "/nonexistent"}, "--temp-dir"},
               {{"-s", "a", "--origin-ca", "/nonexistent"}, "--origin-ca"},
               {{"-s", "a", "--cache-socket", std::string(300, 'x')}, "--cache-socket"}};
  for (const auto& wrong : cases) {
    const auto result = testing::RunTool("getfile-proxy", wrong.arguments);
    EXPECT_EQ(result.exit_code, 2) << wrong.named;
    EXPECT_THAT(result.err, HasSubstr(wrong.named));
    EXPECT_EQ(result.out, "") << "no ready line";
  }
}

TEST(ProxyOriginTest, WithoutACacheAMissMayBeNotFound) {
  FakeServer origin({FakeServer::Answer(HttpOk("x"))});
  Proxy proxy(origin.port(), {"--on-miss", "not-found"});
  EXPECT_THAT(proxy.Exchange(Get("/a")), Answers(getfile::kNotFound));
  EXPECT_EQ(origin.requests().size(), 0U);
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
