#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/getfile/getfile_server.h"
#include "tests/getfile/http_reply.h"
#include "tests/harness/daemon_process.h"
#include "tests/harness/deadline.h"
#include "tests/harness/fake_server.h"
#include "tests/harness/raw_peer.h"
#include "tests/ipc_proxy_cache/proxies.h"

// getfile-proxy without a cache, before an origin that does what the test says.

namespace ds::ipc_proxy_cache {
namespace {

using getfile::Answers;
using getfile::Content;
using getfile::Get;
using testing::FakeServer;
using ::testing::HasSubstr;
using testing::RawPeer;
using ::testing::StartsWith;

class ProxyOriginTest : public ::testing::Test {
 protected:
  std::unique_ptr<DaemonProcess> Proxy(const FakeServer& origin,
                                       std::vector<std::string> flags = {}) const {
    return machine_.Proxy(Url(origin), std::move(flags));
  }
  const Machine machine_{};
};

TEST_F(ProxyOriginTest, AnObjectComesByGetfileAndByHttp) {
  FakeServer origin({FakeServer::Answer(
      HttpOk("hello", "Content-Type: text/x\r\nETag: \"1\"\r\nAge: 7\r\nSet-Cookie: a=b\r\n"))});
  const auto proxy = Proxy(origin);
  EXPECT_EQ(proxy->Key("cache"), "none");
  EXPECT_THAT(Getfile(*proxy, "/a%b"), Answers(getfile::Ok("hello")));
  const HttpReply reply = Http(*proxy, "/x%20y?q=1");
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

TEST_F(ProxyOriginTest, RangesAndConditionsAreAnsweredFromTheWhole) {
  const std::string content = Content(3'000'000);
  FakeServer origin({FakeServer::Answer(HttpOk(content, "ETag: \"1\"\r\n"))});
  const auto proxy = Proxy(origin);
  const HttpReply part = Http(*proxy, "/a", "Range: bytes=1000000-1999999\r\n");
  EXPECT_EQ(part.code, 206);
  EXPECT_TRUE(part.body == content.substr(1'000'000, 1'000'000));
  EXPECT_EQ(Http(*proxy, "/a", "If-None-Match: \"1\"\r\n").code, 304);
}

TEST_F(ProxyOriginTest, StatusesBecomeThoseOfGetfile) {
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
    const auto proxy = Proxy(origin);
    EXPECT_THAT(Getfile(*proxy, "/a"), Answers(expected)) << code;
    EXPECT_EQ(Http(*proxy, "/a").code, http) << code;
  }
}

TEST_F(ProxyOriginTest, AnOriginThatIsNotThereIsAnError) {
  std::string url;
  {
    const FakeServer gone({FakeServer::Answer("")});
    url = Url(gone);
  }
  const auto proxy = machine_.Proxy(url);
  EXPECT_THAT(Getfile(*proxy, "/a"), Answers(getfile::kError));
  EXPECT_EQ(Http(*proxy, "/a").code, 502);
}

TEST_F(ProxyOriginTest, AnOriginThatSaysNothingIsAGatewayTimeout) {
  FakeServer origin({[](FakeServer::Conversation& conversation) { conversation.WaitForEnd(); }});
  const auto proxy = Proxy(origin, {"--connect-timeout", "0.05", "--first-byte-timeout", "0.05"});
  EXPECT_EQ(Http(*proxy, "/a").code, 504);
}

TEST_F(ProxyOriginTest, WhatBreaksOffEndsEarly) {
  FakeServer origin({FakeServer::Answer(
      "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\n1234")});
  const auto proxy = Proxy(origin);
  EXPECT_THAT(Getfile(*proxy, "/a"), Answers("GETFILE OK 9\r\n\r\n1234"));
}

TEST_F(ProxyOriginTest, AChunkedAnswerGetsItsLength) {
  FakeServer origin(
      {FakeServer::Answer("HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: "
                          "chunked\r\n\r\n5\r\nhello\r\n3\r\n...\r\n0\r\n\r\n")});
  const auto in_memory = Proxy(origin);
  EXPECT_THAT(Getfile(*in_memory, "/a"), Answers(getfile::Ok("hello...")));
  const auto in_a_file = Proxy(origin, {"--max-unknown", "4"});
  EXPECT_THAT(Getfile(*in_a_file, "/a"), Answers(getfile::Ok("hello...")));
}

TEST_F(ProxyOriginTest, AChunkedAnswerThatBreaksOffIsAnError) {
  FakeServer origin({FakeServer::Answer(
      "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")});
  const auto proxy = Proxy(origin);
  EXPECT_THAT(Getfile(*proxy, "/a"), Answers(getfile::kError));
}

TEST_F(ProxyOriginTest, AnEmptyObjectIsAnObject) {
  FakeServer origin({FakeServer::Answer(HttpOk(""))});
  const auto proxy = Proxy(origin);
  EXPECT_THAT(Getfile(*proxy, "/a"), Answers(getfile::Ok("")));
}

TEST_F(ProxyOriginTest, HeadHasTheLengthThatOnlyAGetTells) {
  FakeServer origin({FakeServer::Answer("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
                     FakeServer::Answer(HttpOk("hello"))});
  const auto proxy = Proxy(origin);
  const auto received = RawPeer::Exchange(
      proxy->host(), proxy->port(), "HEAD /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(received.bytes, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_THAT(received.bytes, ::testing::EndsWith("\r\n\r\n"));
}

TEST_F(ProxyOriginTest, ASlowClientHoldsTheOriginBackAndNotTheMemory) {
  const std::string content = Content(96U << 20U);
  FakeServer origin({FakeServer::Answer(HttpOk(content))});
  const auto proxy = Proxy(origin);
  auto peer = RawPeer::Connect(proxy->host(), proxy->port(), {.receive_buffer_bytes = 65536});
  ASSERT_TRUE(peer.ok()) << peer.status();
  ASSERT_TRUE(peer->Send(Get("/a")));
  EXPECT_EQ(peer->Read(1'000'000).bytes.size(), 1'000'000U);
  const auto received = peer->ReadToEnd();
  const std::string whole = getfile::Ok(content);
  EXPECT_TRUE(received.bytes == whole.substr(1'000'000));
  if (testing::kSlowdown == 1) {  // a sanitizer has memory of its own
    EXPECT_LT(proxy->resident_bytes(), 64U << 20U);
  }
}

TEST_F(ProxyOriginTest, WhatIsNoOptionIsRefusedBeforeAnythingIsServed) {
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
    SCOPED_TRACE(wrong.named);
    DaemonProcess proxy({.program = "getfile-proxy", .arguments = wrong.arguments});
    ASSERT_TRUE(proxy.Start().ok());
    EXPECT_TRUE(proxy.Wait().Exited(2));
    EXPECT_THAT(proxy.stderr_text(), HasSubstr(wrong.named));
    EXPECT_TRUE(proxy.stdout_lines().empty()) << "no ready line";
  }
}

TEST_F(ProxyOriginTest, WithoutACacheAMissMayBeNotFound) {
  FakeServer origin({FakeServer::Answer(HttpOk("x"))});
  const auto proxy = Proxy(origin, {"--on-miss", "not-found"});
  EXPECT_THAT(Getfile(*proxy, "/a"), Answers(getfile::kNotFound));
  EXPECT_EQ(origin.requests().size(), 0U);
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
