#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/getfile/getfile_server.h"
#include "tests/getfile/http_reply.h"
#include "tests/harness/child_process.h"
#include "tests/harness/daemon_process.h"
#include "tests/harness/eventually.h"
#include "tests/harness/fake_server.h"
#include "tests/harness/raw_peer.h"
#include "tests/harness/temp_dir.h"
#include "tests/ipc_proxy_cache/proxies.h"

// getfile-proxy and getfile-cached together, before an origin that does what the test says.

namespace ds::ipc_proxy_cache {
namespace {

using getfile::Answers;
using getfile::Content;
using getfile::Get;
using getfile::HttpReply;
using testing::DaemonProcess;
using testing::Eventually;
using testing::FakeServer;
using testing::kDeadline;
using testing::RawPeer;

std::string HttpOk(std::string_view body, std::string_view fields = "") {
  return fmt::format("HTTP/1.1 200 OK\r\nConnection: close\r\n{}Content-Length: {}\r\n\r\n{}",
                     fields, body.size(), body);
}

class ProxyCacheTest : public ::testing::Test {
 protected:
  std::unique_ptr<DaemonProcess> Cache(std::vector<std::string> flags = {}) {
    flags.insert(flags.end(), {"--socket", socket()});
    return Started("getfile-cached", std::move(flags));
  }
  std::unique_ptr<DaemonProcess> Proxy(std::uint16_t origin, std::vector<std::string> flags = {},
                                       const std::string& program = "getfile-proxy") {
    flags.insert(flags.end(), {"-s", fmt::format("127.0.0.1:{}", origin), "-p", "0", "-t", "1",
                               "--cache-socket", socket(), "--metrics", "127.0.0.1:0"});
    return Started(program, std::move(flags));
  }
  /// One that has found its cache.
  std::unique_ptr<DaemonProcess> LinkedProxy(std::uint16_t origin) {
    auto proxy = Proxy(origin);
    AwaitLinks(*proxy, 1);
    return proxy;
  }
  /// A getfile-proxy that has a file system of 1 MiB at `folder`, of its own.
  std::string OnSmallDisk(const std::string& folder) const {
    const std::string script = folder_.Write(
        "getfile-proxy",
        fmt::format("#!/bin/sh\n"
                    "exec unshare -Urm sh -c 'mount -t tmpfs -o size=1m tmpfs \"$0\" || exit 99\n"
                    "exec \"$@\"' '{}' '{}' \"$@\"\n",
                    folder, testing::FindProgram("getfile-proxy", /*search_path=*/false).value()));
    std::filesystem::permissions(script, std::filesystem::perms::owner_all);
    return script;
  }
  std::string socket() const { return folder_.path("cache.sock"); }

  static void AwaitLog(DaemonProcess& process, std::string_view text) {
    EXPECT_TRUE(Eventually(kDeadline, fmt::format("the log has '{}'", text),
                           [&] { return process.stderr_text().find(text) != std::string::npos; }));
  }
  static std::string Ask(std::string_view path) {
    return fmt::format("GET {} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", path);
  }
  static HttpReply Http(DaemonProcess& proxy, std::string_view path) {
    const auto received = RawPeer::Exchange(proxy.host(), proxy.port(), Ask(path));
    const auto replies = getfile::ReadReplies(received.bytes);
    return replies.size() == 1 ? replies[0] : HttpReply{0, {}, {}, received.bytes};
  }
  /// As soon as the proxy has found its cache: until then answers pass.
  static HttpReply HttpLinked(DaemonProcess& proxy, std::string_view path) {
    EXPECT_TRUE(Eventually(kDeadline, "the proxy has a cache",
                           [&] { return Http(proxy, "/linked").Field("X-Cache") != "PASS"; }));
    return Http(proxy, path);
  }

 private:
  static std::unique_ptr<DaemonProcess> Started(const std::string& program,
                                                std::vector<std::string> flags) {
    auto process =
        std::make_unique<DaemonProcess>(DaemonProcess::Options{program, std::move(flags)});
    if (const absl::Status ready = process->StartAndWaitReady(); !ready.ok()) {
      ADD_FAILURE() << ready;
      std::abort();
    }
    return process;
  }

  const testing::TempDir folder_;
};

class ProxyCacheSizesTest : public ProxyCacheTest,
                            public ::testing::WithParamInterface<std::size_t> {};

TEST_P(ProxyCacheSizesTest, WhatOneProxyHasFetchedAnotherHits) {
  const std::string content = Content(GetParam());
  FakeServer origin({FakeServer::Answer(HttpOk(content, "ETag: \"1\"\r\n"))});
  const auto cache = Cache();
  const auto first = Proxy(origin.port());
  const auto second = Proxy(origin.port());
  EXPECT_EQ(first->Key("cache"), socket());
  const HttpReply warm = HttpLinked(*second, "/a");
  EXPECT_TRUE(warm.body == content);
  const std::size_t fetches = origin.requests().size();
  const HttpReply hit = HttpLinked(*first, "/a");
  EXPECT_EQ(hit.code, 200);
  EXPECT_EQ(hit.Field("X-Cache"), "HIT");
  EXPECT_EQ(hit.Field("ETag"), "\"1\"");
  EXPECT_TRUE(hit.body == content);
  EXPECT_EQ(origin.requests().size(), fetches);
  EXPECT_THAT(RawPeer::Exchange(first->host(), first->port(), Get("/a")),
              Answers(getfile::Ok(content)));
}

INSTANTIATE_TEST_SUITE_P(Sizes, ProxyCacheSizesTest,
                         ::testing::Values(0, 1, 560, 16384, 16385, 65472, 65473, 262144, 1'000'001,
                                           16U << 20U));

TEST_F(ProxyCacheTest, AFollowerStreamsWhileTheLeaderFetches) {
  const std::string content = Content(1'000'000);
  std::promise<void> go_on;
  FakeServer origin({[&](FakeServer::Conversation& conversation) {
    conversation.ReadRequest();
    const std::string answer = HttpOk(content);
    conversation.Send(answer.substr(0, 500'000));
    go_on.get_future().wait();
    conversation.Send(answer.substr(500'000));
  }});
  const auto cache = Cache();
  const auto first = Proxy(origin.port());
  const auto second = Proxy(origin.port());
  std::vector<RawPeer> peers;
  for (DaemonProcess* const proxy : {first.get(), second.get(), first.get()}) {
    peers.push_back(RawPeer::Connect(proxy->host(), proxy->port()).value());
    ASSERT_TRUE(peers.back().Send(Get("/a")));
    EXPECT_EQ(peers.back().Read(400'000).bytes.size(), 400'000U);
  }
  go_on.set_value();
  for (RawPeer& peer : peers) {
    EXPECT_TRUE(peer.ReadToEnd().bytes == getfile::Ok(content).substr(400'000));
  }
  EXPECT_EQ(origin.requests().size(), 1U);
}

TEST_F(ProxyCacheTest, WhenTheLeaderDiesAFollowerGoesOnByRange) {
  const std::string content = Content(1'000'000);
  FakeServer origin(
      {[&](FakeServer::Conversation& conversation) {
         conversation.ReadRequest();
         conversation.Send(HttpOk(content, "ETag: \"1\"\r\n").substr(0, 500'000));
         conversation.WaitForEnd();
       },
       [&](FakeServer::Conversation& conversation) {
         const std::string request = conversation.ReadRequest();
         EXPECT_THAT(request, ::testing::HasSubstr("If-Range: \"1\"\r\n"));
         const std::size_t at = request.find("Range: bytes=") + 13;
         const std::size_t first = std::stoul(request.substr(at));
         conversation.Send(
             fmt::format("HTTP/1.1 206 P\r\nETag: \"1\"\r\nContent-Range: bytes {}-999999/1000000"
                         "\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                         first, content.size() - first) +
             content.substr(first));
       }});
  const auto cache = Cache();
  const auto leader = LinkedProxy(origin.port());
  const auto follower = LinkedProxy(origin.port());
  RawPeer lost = RawPeer::Connect(leader->host(), leader->port()).value();
  ASSERT_TRUE(lost.Send(Get("/a")));
  EXPECT_EQ(lost.Read(400'000).bytes.size(), 400'000U);
  RawPeer peer = RawPeer::Connect(follower->host(), follower->port()).value();
  ASSERT_TRUE(peer.Send(Get("/a")));
  EXPECT_EQ(peer.Read(400'000).bytes.size(), 400'000U);
  leader->Kill();
  EXPECT_TRUE(peer.ReadToEnd().bytes == getfile::Ok(content).substr(400'000));
  EXPECT_EQ(Http(*follower, "/a").Field("X-Cache"), "HIT");
}

TEST_F(ProxyCacheTest, TheRestOfAnotherVersionIsNotTaken) {
  // An origin that does not know If-Range, and says so by the other version's ETag, or by none.
  for (const char* const etag : {"ETag: \"2\"\r\n", ""}) {
    SCOPED_TRACE(etag);
    const std::string content = Content(1'000'000);
    FakeServer origin({[&](FakeServer::Conversation& conversation) {
                         conversation.ReadRequest();
                         conversation.Send(HttpOk(content, "ETag: \"1\"\r\n").substr(0, 500'000));
                         conversation.WaitForEnd();
                       },
                       [&](FakeServer::Conversation& conversation) {
                         const std::string request = conversation.ReadRequest();
                         const std::size_t at = request.find("Range: bytes=") + 13;
                         const std::size_t first = std::stoul(request.substr(at));
                         conversation.Send(
                             fmt::format("HTTP/1.1 206 P\r\n{}Content-Range: bytes {}-999999/"
                                         "1000000\r\nContent-Length: {}\r\n"
                                         "Connection: close\r\n\r\n",
                                         etag, first, content.size() - first) +
                             std::string(content.size() - first, 'x'));
                       },
                       FakeServer::Answer(HttpOk("new", "ETag: \"2\"\r\n"))});
    const auto cache = Cache();
    const auto leader = LinkedProxy(origin.port());
    const auto follower = LinkedProxy(origin.port());
    RawPeer lost = RawPeer::Connect(leader->host(), leader->port()).value();
    ASSERT_TRUE(lost.Send(Get("/a")));
    EXPECT_EQ(lost.Read(400'000).bytes.size(), 400'000U);
    RawPeer peer = RawPeer::Connect(follower->host(), follower->port()).value();
    ASSERT_TRUE(peer.Send(Get("/a")));
    EXPECT_EQ(peer.Read(400'000).bytes.size(), 400'000U);
    leader->Kill();
    const std::string rest = peer.ReadToEnd().bytes;
    EXPECT_LT(rest.size(), 600'000U);
    EXPECT_TRUE(getfile::Ok(content).substr(400'000).starts_with(rest));
    EXPECT_EQ(Http(*follower, "/a").body, "new") << "nothing of it is kept";
  }
}

TEST_F(ProxyCacheTest, WhatIsStoredIsFetchedToItsEndThoughItsClientLeaves) {
  // Without a validator nobody else could go on.
  const std::string content = Content(1'000'000);
  std::promise<void> go_on;
  FakeServer origin({[&](FakeServer::Conversation& conversation) {
    conversation.ReadRequest();
    const std::string answer = HttpOk(content);
    conversation.Send(answer.substr(0, 500'000));
    go_on.get_future().wait();
    conversation.Send(answer.substr(500'000));
  }});
  const auto cache = Cache();
  const auto leader = LinkedProxy(origin.port());
  const auto follower = LinkedProxy(origin.port());
  auto leaving = std::make_optional(RawPeer::Connect(leader->host(), leader->port()).value());
  ASSERT_TRUE(leaving->Send(Get("/a")));
  EXPECT_EQ(leaving->Read(400'000).bytes.size(), 400'000U);
  RawPeer peer = RawPeer::Connect(follower->host(), follower->port()).value();
  ASSERT_TRUE(peer.Send(Get("/a")));
  EXPECT_EQ(peer.Read(400'000).bytes.size(), 400'000U);
  leaving.reset();
  EXPECT_TRUE(Eventually(kDeadline, "the client's end is seen",
                         [&] { return Metric(*leader, "getfile_proxy_connections_open") == 0; }));
  go_on.set_value();
  EXPECT_TRUE(peer.ReadToEnd().bytes == getfile::Ok(content).substr(400'000));
  EXPECT_EQ(origin.requests().size(), 1U);
}

TEST_F(ProxyCacheTest, WhenTheCacheDiesAnswersAreFinishedByRange) {
  const std::string content = Content(1'000'000);
  FakeServer origin(
      {[&](FakeServer::Conversation& conversation) {
         conversation.ReadRequest();
         conversation.Send(HttpOk(content, "ETag: \"1\"\r\n").substr(0, 500'000));
         conversation.WaitForEnd();
       },
       [&](FakeServer::Conversation& conversation) {
         const std::string request = conversation.ReadRequest();
         const std::size_t first = std::stoul(request.substr(request.find("Range: bytes=") + 13));
         conversation.Send(
             fmt::format("HTTP/1.1 206 P\r\nETag: \"1\"\r\nContent-Range: bytes {}-999999/1000000"
                         "\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                         first, content.size() - first) +
             content.substr(first));
       }});
  auto cache = Cache();
  const auto proxy = LinkedProxy(origin.port());
  RawPeer peer = RawPeer::Connect(proxy->host(), proxy->port()).value();
  ASSERT_TRUE(peer.Send(Get("/a")));
  EXPECT_EQ(peer.Read(400'000).bytes.size(), 400'000U);
  cache->Kill();
  EXPECT_TRUE(peer.ReadToEnd().bytes == getfile::Ok(content).substr(400'000));
}

TEST_F(ProxyCacheTest, ACacheThatStartsLaterIsFoundAndOneThatDiesIsDoneWithout) {
  FakeServer origin({FakeServer::Answer(HttpOk("hello"))});
  const auto proxy = Proxy(origin.port());
  EXPECT_EQ(proxy->Key("cache"), "none");
  EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "PASS");
  auto cache = Cache();
  EXPECT_EQ(HttpLinked(*proxy, "/a").body, "hello");
  EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "HIT");
  cache->Kill();
  EXPECT_TRUE(Eventually(kDeadline, "answers pass", [&] {
    const HttpReply reply = Http(*proxy, "/a");
    EXPECT_EQ(reply.body, "hello");
    return reply.Field("X-Cache") == "PASS";
  }));
  cache = Cache();
  EXPECT_EQ(HttpLinked(*proxy, "/a").body, "hello");
  EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "HIT");
}

TEST_F(ProxyCacheTest, WhatMayNotBeSharedIsFetchedOnceForEachClient) {
  FakeServer origin({FakeServer::Answer(HttpOk("x", "Cache-Control: no-store\r\n"))});
  const auto cache = Cache();
  const auto proxy = Proxy(origin.port());
  for (int i = 1; i <= 3; ++i) {
    const HttpReply reply = Http(*proxy, "/a");
    EXPECT_EQ(reply.body, "x");
    EXPECT_EQ(reply.Field("X-Cache"), "PASS");
    EXPECT_EQ(origin.requests().size(), static_cast<std::size_t>(i));
  }
}

/// Answers "/a" with a redirect that has `fields`, and all else with `target`.
FakeServer::Script Redirecting(std::string_view fields, std::string target) {
  return [redirect = fmt::format("HTTP/1.1 301 M\r\nLocation: /b\r\nConnection: close\r\n{}"
                                 "Content-Length: 0\r\n\r\n",
                                 fields),
          target = std::move(target)](FakeServer::Conversation& conversation) {
    const bool moved = conversation.ReadRequest().starts_with("GET /a ");
    conversation.Send(moved ? redirect : target);
  };
}

TEST_F(ProxyCacheTest, ARedirectForbidsThatWhatItLeadsToIsShared) {
  FakeServer origin(
      {Redirecting("Cache-Control: no-store\r\n", HttpOk("x", "Cache-Control: max-age=60\r\n"))});
  const auto cache = Cache();
  const auto proxy = Proxy(origin.port());
  EXPECT_EQ(HttpLinked(*proxy, "/b").Field("X-Cache"), "MISS");
  for (int i = 0; i < 2; ++i) {
    const HttpReply reply = Http(*proxy, "/a");
    EXPECT_EQ(reply.body, "x");
    EXPECT_EQ(reply.Field("X-Cache"), "PASS");
  }
}

TEST_F(ProxyCacheTest, WhatTheOriginLeavesUnsaidIsTheCachesTtlBehindAnOldRedirectToo) {
  FakeServer origin({Redirecting("Age: 100\r\n", HttpOk("x", "ETag: \"1\"\r\n"))});
  const auto cache = Cache({"--ttl", "0"});
  const auto proxy = Proxy(origin.port());
  EXPECT_EQ(HttpLinked(*proxy, "/a").Field("X-Cache"), "MISS");
  EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "MISS");
}

TEST_F(ProxyCacheTest, TheLongestLifetimesThatOriginsGiveAreKept) {
  for (const char* const age : {"2147483647", "2147483648", "99999999999"}) {
    FakeServer origin(
        {FakeServer::Answer(HttpOk("x", fmt::format("Cache-Control: max-age={}\r\n", age)))});
    const auto cache = Cache({"--ttl", "0"});
    const auto proxy = Proxy(origin.port());
    EXPECT_EQ(HttpLinked(*proxy, "/a").body, "x");
    EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "HIT") << age;
  }
}

TEST_F(ProxyCacheTest, WhatIsNotThereIsRemembered) {
  FakeServer origin(
      {FakeServer::Answer("HTTP/1.1 410 G\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngone")});
  const auto cache = Cache();
  const auto proxy = Proxy(origin.port());
  const HttpReply first = HttpLinked(*proxy, "/a");
  EXPECT_EQ(first.code, 410);
  const std::size_t fetches = origin.requests().size();
  EXPECT_EQ(Http(*proxy, "/a").code, 410);
  EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "HIT");
  EXPECT_EQ(origin.requests().size(), fetches);
}

TEST_F(ProxyCacheTest, WhatIsStaleIsRevalidated) {
  FakeServer origin(
      {FakeServer::Answer(HttpOk("hello", "ETag: \"1\"\r\nCache-Control: max-age=0\r\n")),
       FakeServer::Answer("HTTP/1.1 304 N\r\nETag: \"1\"\r\nCache-Control: max-age=60\r\n"
                          "Connection: close\r\n\r\n")});
  const auto cache = Cache();
  const auto proxy = LinkedProxy(origin.port());
  EXPECT_EQ(Http(*proxy, "/a").body, "hello");
  EXPECT_EQ(Http(*proxy, "/a").body, "hello");
  ASSERT_EQ(origin.requests().size(), 2U);
  EXPECT_THAT(origin.requests()[1], ::testing::HasSubstr("If-None-Match: \"1\"\r\n"));
  EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "HIT");
  EXPECT_EQ(origin.requests().size(), 2U);
}

constexpr const char* kChunkedHead =
    "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";

std::string Chunk(std::string_view bytes) {
  return fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes);
}

TEST_F(ProxyCacheTest, AnAnswerOfUnknownLengthIsCollectedUpToALimit) {
  const std::string content = Content(50'000);
  FakeServer origin({[&](FakeServer::Conversation& conversation) {
    const bool chunked = conversation.ReadRequest().starts_with("GET /a ");
    conversation.Send(chunked ? kChunkedHead + Chunk(content) + Chunk("x") + "0\r\n\r\n"
                              : HttpOk(content + "x"));
  }});
  for (const bool with_cache : {false, true}) {
    SCOPED_TRACE(with_cache);
    const auto cache = with_cache ? Cache() : nullptr;
    const auto large = Proxy(origin.port(), {"--max-unknown-length", "50001"});
    const auto small = Proxy(origin.port(), {"--max-unknown-length", "50000"});
    if (with_cache) AwaitLinks(*small, 1);
    const HttpReply refused = Http(*small, "/a");
    EXPECT_EQ(refused.code, 502);
    EXPECT_EQ(refused.Field("X-Cache"), with_cache ? "MISS" : "PASS");
    EXPECT_EQ(Metric(*small, "getfile_proxy_unknown_length_failures_total"), 1);
    EXPECT_EQ(Metric(*small, "getfile_proxy_origin_failures_total"), 0);
    AwaitLog(*small, "/a\": longer than 50000 bytes");
    EXPECT_TRUE(Http(*small, "/b").body == content + "x") << "its length is known";
    EXPECT_TRUE(Http(*large, "/a").body == content + "x");
    EXPECT_EQ(Metric(*large, "getfile_proxy_unknown_length_failures_total"), 0);
  }
}

TEST_F(ProxyCacheTest, AFullDiskIsAnErrorBeforeTheFirstByte) {
  const std::string content = Content(2'000'000);
  FakeServer origin({FakeServer::Answer(kChunkedHead + Chunk(content) + "0\r\n\r\n")});
  for (const bool with_cache : {false, true}) {
    SCOPED_TRACE(with_cache);
    const auto cache = with_cache ? Cache() : nullptr;
    const testing::TempDir disk;  // 1 MiB, that only this proxy sees
    const auto proxy = Proxy(origin.port(), {"--max-unknown", "1K", "--temp-dir", disk.path()},
                             OnSmallDisk(disk.path()));
    if (with_cache) AwaitLinks(*proxy, 1);
    EXPECT_THAT(RawPeer::Exchange(proxy->host(), proxy->port(), Get("/a")),
                Answers(getfile::kError));
    EXPECT_EQ(Metric(*proxy, "getfile_proxy_unknown_length_failures_total"), 1);
    EXPECT_EQ(Metric(*proxy, "getfile_proxy_origin_failures_total"), 0);
    AwaitLog(*proxy, "No space left on device");
    EXPECT_EQ(Http(*proxy, "/a").code, 502) << "the first one's file has gone";
  }
}

TEST_F(ProxyCacheTest, WhatGrowsTooLargeForTheCacheIsCollectedForItsOwnClientsAlone) {
  const std::string content = Content(1'000'000);
  std::promise<void> go_on;
  std::promise<void> abandoned;
  FakeServer origin({[&](FakeServer::Conversation& conversation) {
                       conversation.ReadRequest();
                       conversation.Send(kChunkedHead + Chunk(content));
                       go_on.get_future().wait();
                       conversation.Send(Chunk("x") + "0\r\n\r\n");
                     },
                     [&](FakeServer::Conversation& conversation) {
                       conversation.ReadRequest();
                       conversation.Send(kChunkedHead + Chunk(content));
                       conversation.WaitForEnd();
                       abandoned.set_value();
                     }});
  const auto cache = Cache({"--memory", "4M", "--metrics", "127.0.0.1:0"});
  const auto proxy = LinkedProxy(origin.port());
  const auto ask = [&] {
    RawPeer peer = RawPeer::Connect(proxy->host(), proxy->port()).value();
    EXPECT_TRUE(peer.Send(Get("/a")));
    return peer;
  };
  const auto await_pass = [&](int begun) {
    EXPECT_TRUE(Eventually(kDeadline, "the cache waits for nothing more", [&] {
      return OriginFetches(*proxy) == begun && Metric(*cache, "getfile_cached_fills") == 0;
    }));
  };
  RawPeer peer = ask();
  await_pass(1);
  RawPeer late = ask();
  EXPECT_TRUE(Eventually(kDeadline, "who comes later has a fetch of its own",
                         [&] { return OriginFetches(*proxy) == 2; }));
  go_on.set_value();
  EXPECT_TRUE(peer.ReadToEnd().bytes == getfile::Ok(content + "x"));
  EXPECT_EQ(Served(*proxy, "PASS"), 1);
  await_pass(2);
  late.Reset();
  EXPECT_EQ(abandoned.get_future().wait_for(kDeadline), std::future_status::ready);
  EXPECT_EQ(Metric(*cache, "getfile_cached_objects"), 0);
}

TEST_F(ProxyCacheTest, WhatIsNotFoundWithoutAskingIsAMissWithACacheAndWithout) {
  FakeServer origin({FakeServer::Answer(HttpOk("x"))});
  for (const bool with_cache : {false, true}) {
    SCOPED_TRACE(with_cache);
    const auto cache = with_cache ? Cache() : nullptr;
    const auto proxy = Proxy(origin.port(), {"--on-miss", "not-found"});
    if (with_cache) AwaitLinks(*proxy, 1);
    const HttpReply reply = Http(*proxy, "/a");
    EXPECT_EQ(reply.code, 404);
    EXPECT_EQ(reply.Field("X-Cache"), "MISS");
    EXPECT_EQ(Served(*proxy, "MISS"), 1);
  }
  EXPECT_EQ(origin.requests().size(), 0U);
}

TEST_F(ProxyCacheTest, OneSegmentOfTheSmallestSizeIsEnough) {
  const std::string content = Content(1'000'000);
  FakeServer origin({FakeServer::Answer(HttpOk(content))});
  const auto cache = Cache();
  const auto proxy = Proxy(origin.port(), {"-n", "1", "-z", "824"});
  EXPECT_TRUE(HttpLinked(*proxy, "/a").body == content);
  const HttpReply hit = Http(*proxy, "/a");
  EXPECT_TRUE(hit.body == content);
  EXPECT_EQ(hit.Field("X-Cache"), "HIT");
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
