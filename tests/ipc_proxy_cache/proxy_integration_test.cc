#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "tests/getfile/getfile_server.h"
#include "tests/harness/eventually.h"
#include "tests/harness/fake_server.h"
#include "tests/harness/proc.h"
#include "tests/harness/sha256.h"
#include "tests/ipc_proxy_cache/nginx_origin.h"
#include "tests/ipc_proxy_cache/proxies.h"

// getfile-proxy without a cache, before nginx; what nginx cannot do is told by a script.

namespace ds::ipc_proxy_cache {
namespace {

using getfile::Answers;
using getfile::Content;
using getfile::Get;
using testing::Eventually;
using testing::FakeServer;
using ::testing::HasSubstr;
using testing::kDeadline;
using testing::RawPeer;
using testing::Sha256Hex;

class ProxyTest : public ::testing::Test {
 protected:
  std::unique_ptr<DaemonProcess> Proxy(const std::string& origin,
                                       std::vector<std::string> flags = {}) const {
    return machine_.Proxy(origin, std::move(flags));
  }
  const Machine machine_{};
};

TEST_F(ProxyTest, EverySizeComesWholeByBothProtocols) {
  const NginxOrigin origin;
  const auto proxy = Proxy(origin.url());
  EXPECT_EQ(proxy->Key("cache"), "none");
  for (const std::size_t size : {0U, 1U, 560U, 16384U, 65536U, 262'145U, 1'000'001U, 16U << 20U}) {
    const std::string content = Content(size);
    const std::string path = fmt::format("/size-{}", size);
    origin.Write(path.substr(1), content);
    EXPECT_THAT(Getfile(*proxy, path), Answers(getfile::Ok(content))) << size;
    const HttpReply reply = Http(*proxy, path);
    EXPECT_EQ(reply.code, 200) << size;
    EXPECT_EQ(Sha256Hex(reply.body), Sha256Hex(content)) << size;
    EXPECT_EQ(reply.Field("X-Cache"), "PASS");
    EXPECT_EQ(origin.Fetches(path), 2U) << "there is no HEAD before a GET, and nothing is kept";
  }
}

TEST_F(ProxyTest, AnOriginWithAPathIsPutInFront) {
  const NginxOrigin origin;
  origin.Write("folder/a%b", "hello");
  const auto proxy = Proxy(origin.url() + "/folder/");
  EXPECT_THAT(Getfile(*proxy, "/a%b"), Answers(getfile::Ok("hello")));
  EXPECT_EQ(Http(*proxy, "/a%25b").body, "hello");
}

TEST_F(ProxyTest, StatusesOfTheOriginAreTranslated) {
  const NginxOrigin origin;
  const auto proxy = Proxy(origin.url());
  const struct {
    std::string path;
    std::string_view getfile;
    int http;
  } cases[] = {{"/absent", getfile::kNotFound, 404},     {"/status/404", getfile::kNotFound, 404},
               {"/status/403", getfile::kNotFound, 403}, {"/status/410", getfile::kNotFound, 410},
               {"/status/500", getfile::kError, 502},    {"/status/503", getfile::kError, 502},
               {"/drop", getfile::kError, 502}};
  for (const auto& wanted : cases) {
    EXPECT_THAT(Getfile(*proxy, wanted.path), Answers(wanted.getfile)) << wanted.path;
    EXPECT_EQ(Http(*proxy, wanted.path).code, wanted.http) << wanted.path;
  }
}

TEST_F(ProxyTest, FiveRedirectsAreFollowedAndNoMore) {
  const NginxOrigin origin;
  origin.Write("a", "hello");
  const auto proxy = Proxy(origin.url());
  for (int n = 1; n <= 7; ++n) {
    const auto received = Getfile(*proxy, fmt::format("/to/{}/a", n));
    if (n <= 5) {
      EXPECT_THAT(received, Answers(getfile::Ok("hello"))) << n;
    } else {
      EXPECT_THAT(received, Answers(getfile::kError)) << n;
    }
  }
  EXPECT_THAT(Getfile(*proxy, "/to/loop"), Answers(getfile::kError));
  EXPECT_EQ(Http(*proxy, "/to/loop").code, 502);
  EXPECT_EQ(origin.Fetches("/to/loop"), 12U) << "six for each of the two clients";
}

TEST_F(ProxyTest, RedirectsLeadToNoOtherSchemes) {
  const NginxOrigin origin({.locations = R"(
      location = /to-file { return 302 file:///etc/hostname; }
      location = /to-ftp { return 302 ftp://127.0.0.1/a; })"});
  const auto proxy = Proxy(origin.url());
  EXPECT_THAT(Getfile(*proxy, "/to-file"), Answers(getfile::kError));
  EXPECT_THAT(Getfile(*proxy, "/to-ftp"), Answers(getfile::kError));
}

TEST_F(ProxyTest, HttpsIsVerifiedAndNotLeftByRedirects) {
  const NginxOrigin origin({.tls = true});
  const std::string content = Content(1'000'000);
  origin.Write("a", content);
  const auto trusting = Proxy(origin.tls_url(), {"--origin-ca", origin.certificate()});
  EXPECT_THAT(Getfile(*trusting, "/a"), Answers(getfile::Ok(content)));
  EXPECT_THAT(Getfile(*trusting, "/to-plain/"), Answers(getfile::kError));
  const auto wary = Proxy(origin.tls_url());
  EXPECT_THAT(Getfile(*wary, "/a"), Answers(getfile::kError));
  const auto plain = Proxy(origin.url(), {"--origin-ca", origin.certificate()});
  EXPECT_THAT(Getfile(*plain, "/to-tls/"), Answers(getfile::Ok("")));
}

TEST_F(ProxyTest, AChunkedAnswerIsCollectedInMemoryOrInAFileWithoutAName) {
  const NginxOrigin origin;
  const std::string content = Content(3'000'000);
  origin.Write("a", content);
  ASSERT_THAT(RawPeer::Exchange(origin.url().substr(7, origin.url().rfind(':') - 7), 8080,
                                "GET /chunked/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                  .bytes,
              HasSubstr("Transfer-Encoding: chunked"));
  const auto in_memory = Proxy(origin.url());
  EXPECT_THAT(Getfile(*in_memory, "/chunked/a"), Answers(getfile::Ok(content)));
  const auto spilled =
      Proxy(origin.url(), {"--max-unknown", "1M", "--temp-dir", machine_.folder().path()});
  Download client(*spilled, "/chunked/a");
  EXPECT_TRUE(client.Finish());
  EXPECT_EQ(Sha256Hex(client.body()), Sha256Hex(content));
  EXPECT_EQ(client.Field("Content-Length"), "3000000");
  EXPECT_TRUE(std::ranges::none_of(
      testing::ListFolder(machine_.folder().path()),
      [&](const std::string& path) { return path != machine_.folder().path("new"); }));
}

TEST_F(ProxyTest, ASlowOriginIsStreamed) {
  const std::string content = Content(1'300'000);
  std::promise<void> go_on;
  FakeServer origin({InTwoParts(HttpOk(content), go_on.get_future().share())});
  const auto proxy = Proxy(Url(origin));
  Download client = Download::Begun(*proxy, "/a");
  go_on.set_value();
  EXPECT_TRUE(client.Finish());
  EXPECT_EQ(Sha256Hex(client.body()), Sha256Hex(content));
}

TEST_F(ProxyTest, WhenTheOriginDiesTheClientSeesKOfN) {
  NginxOrigin origin;
  const std::string content = Content(8'000'000);
  origin.Write("a", content);
  const auto proxy = Proxy(origin.url());
  Download http(*proxy, "/slow/a");
  Download by_getfile(*proxy, "/slow/a", Download::Protocol::kGetfile);
  EXPECT_TRUE(http.ReadTo(100'000) && by_getfile.ReadTo(100'000));
  origin.Kill();
  for (Download* const client : {&http, &by_getfile}) {
    EXPECT_FALSE(client->Finish());
    EXPECT_NE(client->end(), RawPeer::End::kTimeout);
    EXPECT_LT(client->body().size(), content.size());
    EXPECT_TRUE(content.starts_with(client->body()));
  }
  EXPECT_THAT(Getfile(*proxy, "/a"), Answers(getfile::kError));
  origin.Start();
  EXPECT_THAT(Getfile(*proxy, "/a"), Answers(getfile::Ok(content)));
}

TEST_F(ProxyTest, ASilentOriginIsAnErrorAfterTheTimeOutForItsFirstByte) {
  FakeServer origin({[](FakeServer::Conversation& conversation) { conversation.WaitForEnd(); }});
  const auto proxy =
      Proxy(Url(origin), {"--connect-timeout", "0.05", "--first-byte-timeout", "0.05"});
  EXPECT_THAT(Getfile(*proxy, "/a"), Answers(getfile::kError));
  EXPECT_EQ(Http(*proxy, "/a").code, 504);
}

TEST_F(ProxyTest, AnOriginThatStallsIsGivenUpAndTheClientSeesKOfN) {
  FakeServer origin({[](FakeServer::Conversation& conversation) {
    conversation.ReadRequest();
    conversation.Send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234");
    conversation.WaitForEnd();
  }});
  const auto proxy = Proxy(Url(origin), {"--stall-timeout", "0.1"});
  EXPECT_THAT(Getfile(*proxy, "/a"), Answers("GETFILE OK 9\r\n\r\n1234"));
}

TEST_F(ProxyTest, AnOriginThatCannotBeConnectedToIsAnError) {
  // Its backlog is full: connecting takes for ever.
  const net::HostPort nowhere{"127.0.0.1", 1};
  const auto refused = Proxy(nowhere.ToString());
  EXPECT_EQ(Http(*refused, "/a").code, 502);
  const auto nameless = Proxy("http://no-such-host.invalid", {"--connect-timeout", "2"});
  EXPECT_THAT(Getfile(*nameless, "/a"), Answers(getfile::kError));
}

TEST_F(ProxyTest, BytesThatAreNoHttpAreAnError) {
  const std::vector<std::string> wrongs = {
      "SSH-2.0-OpenSSH_9.2\r\n",
      "\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
      "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nx",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"};
  for (const std::string& wrong : wrongs) {
    FakeServer origin({FakeServer::Answer(wrong)});
    const auto proxy = Proxy(Url(origin));
    EXPECT_THAT(Getfile(*proxy, "/a"), Answers(getfile::kError)) << wrong;
    EXPECT_THAT(Http(*proxy, "/a").code, ::testing::AnyOf(502, 504)) << wrong;
  }
}

TEST_F(ProxyTest, AHeadWithoutEndIsGivenUp) {
  FakeServer origin({[](FakeServer::Conversation& conversation) {
    conversation.ReadRequest();
    conversation.Send("HTTP/1.1 200 OK\r\n");
    const std::string line = "X-Field: " + std::string(1000, 'x') + "\r\n";
    for (int i = 0; i < 1000; ++i) conversation.Send(line);
  }});
  const auto proxy = Proxy(Url(origin));
  EXPECT_THAT(Getfile(*proxy, "/a"), Answers(getfile::kError));
}

TEST_F(ProxyTest, AClientThatClosesEarlyEndsItsFetch) {
  const NginxOrigin origin;
  origin.Write("a", Content(16U << 20U));
  const auto proxy = Proxy(origin.url());
  const std::size_t before = proxy->open_descriptors();
  for (int i = 0; i < 20; ++i) {
    Download client(*proxy, "/slow/a");
    EXPECT_TRUE(client.ReadTo(1000));
    if (i % 2 == 0) client.Reset();
  }
  // nginx writes the line when the connection has gone, the proxy's end of it with that.
  EXPECT_TRUE(Eventually(kDeadline, "every fetch is over",
                         [&] { return origin.Fetches("/slow/a") == 20; }));
  EXPECT_TRUE(Eventually(kDeadline, "no descriptor is left",
                         [&] { return proxy->open_descriptors() <= before; }));
}

TEST_F(ProxyTest, ConnectionsToTheOriginAreUsedAgain) {
  FakeServer origin({FakeServer::AnswerAll("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")});
  const auto proxy = Proxy(Url(origin), {"-t", "1"});
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Http(*proxy, "/a").body, "x");
  EXPECT_EQ(origin.requests().size(), 20U);
  EXPECT_EQ(origin.connections(), 1U);
}

TEST_F(ProxyTest, AKeptConnectionDoesNotWaitForFullSegments) {
  // Nagle's algorithm would hold the end of an answer until the client, which may wait 40 ms,
  // acknowledges what came before it.
  FakeServer origin({FakeServer::Answer(HttpOk("hello"))});
  const auto proxy = Proxy(Url(origin));
  RawPeer peer = RawPeer::Connect(proxy->host(), proxy->port()).value();
  ASSERT_TRUE(peer.Send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n"));
  EXPECT_FALSE(peer.Read(1).bytes.empty());
  const auto no_delay = getfile::SocketOptionOfPeer(proxy->pid(), peer, IPPROTO_TCP, TCP_NODELAY);
  if (!no_delay) GTEST_SKIP() << "needs pidfd_getfd";
  EXPECT_NE(*no_delay, 0);
}

TEST_F(ProxyTest, AHundredClientsOfASlowOriginAreServedSideBySide) {
  const NginxOrigin origin;
  const std::string content = Content(1'200'000);
  origin.Write("a", content);
  const auto proxy = Proxy(origin.url());
  std::vector<Download> clients;
  for (int i = 0; i < 100; ++i) {
    clients.emplace_back(*proxy, fmt::format("/slow/a?{}", i));
  }
  for (Download& client : clients) {
    EXPECT_TRUE(client.Finish());
    EXPECT_TRUE(client.body() == content);
  }
  EXPECT_EQ(OriginFetches(*proxy), 100);
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
