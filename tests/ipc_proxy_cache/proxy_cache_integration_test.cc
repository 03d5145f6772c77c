#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/getfile/getfile_server.h"
#include "tests/getfile/http_reply.h"
#include "tests/harness/child_process.h"
#include "tests/harness/daemon_process.h"
#include "tests/harness/eventually.h"
#include "tests/harness/fake_server.h"
#include "tests/harness/raw_peer.h"
#include "tests/ipc_proxy_cache/proxies.h"

// getfile-proxy and getfile-cached together, before an origin that does what the test says.

namespace ds::ipc_proxy_cache {
namespace {

using getfile::Answers;
using getfile::Content;
using testing::Eventually;
using testing::FakeServer;
using testing::kDeadline;
using testing::RawPeer;

class ProxyCacheTest : public ::testing::Test {
 protected:
  std::unique_ptr<DaemonProcess> Cache(std::vector<std::string> flags = {}) const {
    return machine_.Cache(std::move(flags));
  }
  /// One that has found its cache. With one worker: what it asks for comes after what it has said.
  std::unique_ptr<DaemonProcess> Proxy(const FakeServer& origin,
                                       std::vector<std::string> flags = {}) const {
    flags.insert(flags.end(), {"-t", "1"});
    return machine_.LinkedProxy(Url(origin), std::move(flags));
  }
  /// The same if `with_cache`; else one that looks for a cache.
  std::unique_ptr<DaemonProcess> ProxyWithOrWithout(
      bool with_cache, const FakeServer& origin, std::vector<std::string> flags,
      const std::string& program = "getfile-proxy") const {
    flags.insert(flags.end(), {"-t", "1"});
    auto proxy = machine_.Proxy(Url(origin), std::move(flags), program);
    if (with_cache) AwaitLinks(*proxy, 1);
    return proxy;
  }
  /// A getfile-proxy that has a file system of 1 MiB at `folder`, of its own.
  std::string OnSmallDisk(const std::string& folder) const {
    std::string script = machine_.folder().Write(
        "getfile-proxy",
        fmt::format("#!/bin/sh\n"
                    "exec unshare -Urm sh -c 'mount -t tmpfs -o size=1m tmpfs \"$0\" || exit 99\n"
                    "exec \"$@\"' '{}' '{}' \"$@\"\n",
                    folder, testing::FindProgram("getfile-proxy", /*search_path=*/false).value()));
    std::filesystem::permissions(script, std::filesystem::perms::owner_all);
    return script;
  }
  const Machine machine_{};
};

class ProxyCacheSizesTest : public ProxyCacheTest,
                            public ::testing::WithParamInterface<std::size_t> {};

TEST_P(ProxyCacheSizesTest, WhatOneProxyHasFetchedAnotherHits) {
  const std::string content = Content(GetParam());
  FakeServer origin({FakeServer::Answer(HttpOk(content, "ETag: \"1\"\r\n"))});
  const auto cache = Cache();
  const auto first = Proxy(origin);
  const auto second = Proxy(origin);
  EXPECT_EQ(first->Key("cache"), machine_.socket());
  const HttpReply warm = Http(*second, "/a");
  EXPECT_TRUE(warm.body == content);
  AwaitFills(*cache);
  const std::size_t fetches = origin.requests().size();
  const HttpReply hit = Http(*first, "/a");
  EXPECT_EQ(hit.code, 200);
  EXPECT_EQ(hit.Field("X-Cache"), "HIT");
  EXPECT_EQ(hit.Field("ETag"), "\"1\"");
  EXPECT_TRUE(hit.body == content);
  EXPECT_EQ(origin.requests().size(), fetches);
  EXPECT_THAT(Getfile(*first, "/a"), Answers(getfile::Ok(content)));
}

INSTANTIATE_TEST_SUITE_P(Sizes, ProxyCacheSizesTest,
                         ::testing::Values(0, 1, 560, 16384, 16385, 65472, 65473, 262144, 1'000'001,
                                           16U << 20U));

/// Sends as much as InTwoParts() at first, and no more.
FakeServer::Script FirstPart(std::string answer) {
  return [answer = std::move(answer)](FakeServer::Conversation& conversation) {
    conversation.ReadRequest();
    conversation.Send(answer.substr(0, kFirstPartBytes));
    conversation.WaitForEnd();
  };
}

/// Sends what is asked for by Range, to the end of `content`.
FakeServer::Script LastPart(std::string content, std::string fields) {
  return [content = std::move(content),
          fields = std::move(fields)](FakeServer::Conversation& conversation) {
    const std::string request = conversation.ReadRequest();
    EXPECT_THAT(request, ::testing::HasSubstr("If-Range: \"1\"\r\n"));
    const std::size_t first = std::stoul(request.substr(request.find("Range: bytes=") + 13));
    conversation.Send(fmt::format("HTTP/1.1 206 P\r\n{}Content-Range: bytes {}-{}/{}\r\n"
                                  "Content-Length: {}\r\nConnection: close\r\n\r\n",
                                  fields, first, content.size() - 1, content.size(),
                                  content.size() - first) +
                      content.substr(first));
  };
}

/// Of the two-part answers to "/a" a client that has most of what has come.
Download Begun(const DaemonProcess& proxy) { return Download::Begun(proxy, "/a", 400'000); }

constexpr const char* kVersion1 = "ETag: \"1\"\r\n";

TEST_F(ProxyCacheTest, AFollowerStreamsWhileTheLeaderFetches) {
  const std::string content = Content(1'000'000);
  std::promise<void> go_on;
  FakeServer origin({InTwoParts(HttpOk(content), go_on.get_future().share())});
  const auto cache = Cache();
  const auto first = Proxy(origin);
  const auto second = Proxy(origin);
  Download leader = Begun(*first);
  Download follower = Begun(*second);
  Download same_proxy = Begun(*first);
  go_on.set_value();
  for (Download* const client : {&leader, &follower, &same_proxy}) {
    EXPECT_TRUE(client->Finish());
    EXPECT_TRUE(client->body() == content);
  }
  EXPECT_EQ(leader.Field("X-Cache"), "MISS");
  EXPECT_EQ(follower.Field("X-Cache"), "COALESCED");
  EXPECT_EQ(origin.requests().size(), 1U);
}

TEST_F(ProxyCacheTest, WhenTheLeaderDiesAFollowerGoesOnByRange) {
  const std::string content = Content(1'000'000);
  FakeServer origin({FirstPart(HttpOk(content, kVersion1)), LastPart(content, kVersion1)});
  const auto cache = Cache();
  const auto leader = Proxy(origin);
  const auto follower = Proxy(origin);
  const Download lost = Begun(*leader);
  Download client = Begun(*follower);
  leader->Kill();
  EXPECT_TRUE(client.Finish());
  EXPECT_TRUE(client.body() == content);
  AwaitFills(*cache);
  EXPECT_EQ(Http(*follower, "/a").Field("X-Cache"), "HIT");
}

TEST_F(ProxyCacheTest, TheRestOfAnotherVersionIsNotTaken) {
  // An origin that does not know If-Range, and says so by the other version's ETag, or by none.
  for (const char* const etag : {"ETag: \"2\"\r\n", ""}) {
    SCOPED_TRACE(etag);
    const std::string content = Content(1'000'000);
    FakeServer origin({FirstPart(HttpOk(content, kVersion1)),
                       LastPart(std::string(content.size(), 'x'), etag),
                       FakeServer::Answer(HttpOk("new", "ETag: \"2\"\r\n"))});
    const auto cache = Cache();
    const auto leader = Proxy(origin);
    const auto follower = Proxy(origin);
    const Download lost = Begun(*leader);
    Download client = Begun(*follower);
    leader->Kill();
    EXPECT_FALSE(client.Finish());
    EXPECT_NE(client.end(), RawPeer::End::kTimeout);
    EXPECT_TRUE(content.starts_with(client.body()));
    EXPECT_EQ(Http(*follower, "/a").body, "new") << "nothing of it is kept";
  }
}

TEST_F(ProxyCacheTest, WhatIsStoredIsFetchedToItsEndThoughItsClientLeaves) {
  // Without a validator nobody else could go on.
  const std::string content = Content(1'000'000);
  std::promise<void> go_on;
  FakeServer origin({InTwoParts(HttpOk(content), go_on.get_future().share())});
  const auto cache = Cache();
  const auto leader = Proxy(origin);
  const auto follower = Proxy(origin);
  Download leaving = Begun(*leader);
  Download client = Begun(*follower);
  leaving.Close();
  EXPECT_TRUE(Eventually(kDeadline, "the client's end is seen",
                         [&] { return Metric(*leader, "getfile_proxy_connections_open") == 0; }));
  go_on.set_value();
  EXPECT_TRUE(client.Finish());
  EXPECT_TRUE(client.body() == content);
  EXPECT_EQ(origin.requests().size(), 1U);
}

TEST_F(ProxyCacheTest, WhenTheCacheDiesAnswersAreFinishedByRange) {
  const std::string content = Content(1'000'000);
  FakeServer origin({FirstPart(HttpOk(content, kVersion1)), LastPart(content, kVersion1)});
  auto cache = Cache();
  const auto proxy = Proxy(origin);
  Download client = Begun(*proxy);
  cache->Kill();
  EXPECT_TRUE(client.Finish());
  EXPECT_TRUE(client.body() == content);
}

TEST_F(ProxyCacheTest, ACacheThatStartsLaterIsFoundAndOneThatDiesIsDoneWithout) {
  FakeServer origin({FakeServer::Answer(HttpOk("hello"))});
  const auto proxy = machine_.Proxy(Url(origin), {"-t", "1"});
  EXPECT_EQ(proxy->Key("cache"), "none");
  EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "PASS");
  auto cache = Cache();
  AwaitLinks(*proxy, 1);
  EXPECT_EQ(Http(*proxy, "/a").body, "hello");
  EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "HIT");
  cache->Kill();
  EXPECT_TRUE(Eventually(kDeadline, "answers pass", [&] {
    const HttpReply reply = Http(*proxy, "/a");
    EXPECT_EQ(reply.body, "hello");
    return reply.Field("X-Cache") == "PASS";
  }));
  cache = Cache();
  AwaitLinks(*proxy, 1);
  EXPECT_EQ(Http(*proxy, "/a").body, "hello");
  EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "HIT");
}

TEST_F(ProxyCacheTest, WhatMayNotBeSharedIsFetchedOnceForEachClient) {
  FakeServer origin({FakeServer::Answer(HttpOk("x", "Cache-Control: no-store\r\n"))});
  const auto cache = Cache();
  const auto proxy = Proxy(origin);
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
  const auto proxy = Proxy(origin);
  EXPECT_EQ(Http(*proxy, "/b").Field("X-Cache"), "MISS");
  for (int i = 0; i < 2; ++i) {
    const HttpReply reply = Http(*proxy, "/a");
    EXPECT_EQ(reply.body, "x");
    EXPECT_EQ(reply.Field("X-Cache"), "PASS");
  }
}

TEST_F(ProxyCacheTest, WhatTheOriginLeavesUnsaidIsTheCachesTtlBehindAnOldRedirectToo) {
  FakeServer origin({Redirecting("Age: 100\r\n", HttpOk("x", "ETag: \"1\"\r\n"))});
  const auto cache = Cache({"--ttl", "0"});
  const auto proxy = Proxy(origin);
  EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "MISS");
  EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "MISS");
}

TEST_F(ProxyCacheTest, TheLongestLifetimesThatOriginsGiveAreKept) {
  for (const char* const age : {"2147483647", "2147483648", "99999999999"}) {
    FakeServer origin(
        {FakeServer::Answer(HttpOk("x", fmt::format("Cache-Control: max-age={}\r\n", age)))});
    const auto cache = Cache({"--ttl", "0"});
    const auto proxy = Proxy(origin);
    EXPECT_EQ(Http(*proxy, "/a").body, "x");
    EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "HIT") << age;
  }
}

TEST_F(ProxyCacheTest, WhatIsNotThereIsRemembered) {
  FakeServer origin(
      {FakeServer::Answer("HTTP/1.1 410 G\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngone")});
  const auto cache = Cache();
  const auto proxy = Proxy(origin);
  const HttpReply first = Http(*proxy, "/a");
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
  const auto proxy = Proxy(origin);
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
    const auto large = ProxyWithOrWithout(with_cache, origin, {"--max-unknown-length", "50001"});
    const auto small = ProxyWithOrWithout(with_cache, origin, {"--max-unknown-length", "50000"});
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
    const auto proxy =
        ProxyWithOrWithout(with_cache, origin, {"--max-unknown", "1K", "--temp-dir", disk.path()},
                           OnSmallDisk(disk.path()));
    EXPECT_THAT(Getfile(*proxy, "/a"), Answers(getfile::kError));
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
  const auto cache = Cache({"--memory", "4M"});
  const auto proxy = Proxy(origin);
  const auto await_pass = [&](int begun) {
    EXPECT_TRUE(Eventually(kDeadline, "the cache waits for nothing more", [&] {
      return OriginFetches(*proxy) == begun && Metric(*cache, "getfile_cached_fills") == 0;
    }));
  };
  Download early(*proxy, "/a", Download::Protocol::kGetfile);
  await_pass(1);
  Download late(*proxy, "/a", Download::Protocol::kGetfile);
  EXPECT_TRUE(Eventually(kDeadline, "who comes later has a fetch of its own",
                         [&] { return OriginFetches(*proxy) == 2; }));
  go_on.set_value();
  EXPECT_TRUE(early.Finish());
  EXPECT_TRUE(early.body() == content + "x");
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
    const auto proxy = ProxyWithOrWithout(with_cache, origin, {"--on-miss", "not-found"});
    const HttpReply reply = Http(*proxy, "/a");
    EXPECT_EQ(reply.code, 404);
    EXPECT_EQ(reply.Field("X-Cache"), "MISS");
    EXPECT_EQ(Served(*proxy, "MISS"), 1);
  }
  EXPECT_EQ(origin.requests().size(), 0U);
}

TEST_F(ProxyCacheTest, WhoNeverAsksTheOriginCutsAnswersOffWhenTheCacheDies) {
  const std::string content = Content(16U << 20U);
  FakeServer origin({FakeServer::Answer(HttpOk(content, kVersion1)), LastPart(content, kVersion1)});
  auto cache = Cache();
  const auto asking = Proxy(origin);
  EXPECT_TRUE(Http(*asking, "/a").body == content);
  AwaitFills(*cache);
  const auto proxy = Proxy(origin, {"--on-miss", "not-found", "-n", "2", "-z", "16384"});
  Download client(*proxy, "/a", Download::Protocol::kHttp, /*receive_buffer_bytes=*/131072);
  EXPECT_TRUE(client.ReadTo(100'000));
  EXPECT_EQ(client.Field("X-Cache"), "HIT");
  // The other client's pieces took turns with this one's, which waits for nothing any more.
  EXPECT_TRUE(Http(*proxy, "/a").body == content);
  cache->Kill();
  AwaitLinks(*proxy, 0);
  EXPECT_FALSE(client.Finish());
  EXPECT_NE(client.end(), RawPeer::End::kTimeout) << client.body().size();
  EXPECT_LT(client.body().size(), content.size());
  EXPECT_TRUE(content.starts_with(client.body()));
  client.Close();
  EXPECT_TRUE(Eventually(kDeadline, "it is counted", [&] {
    return Metric(*proxy, "getfile_proxy_sources_broken_total") == 1;
  }));
  EXPECT_EQ(OriginFetches(*proxy), 0);
  EXPECT_EQ(origin.requests().size(), 1U);
}

TEST_F(ProxyCacheTest, OneSegmentOfTheSmallestSizeIsEnough) {
  const std::string content = Content(1'000'000);
  FakeServer origin({FakeServer::Answer(HttpOk(content))});
  const auto cache = Cache();
  const auto proxy = Proxy(origin, {"-n", "1", "-z", "824"});
  EXPECT_TRUE(Http(*proxy, "/a").body == content);
  AwaitFills(*cache);
  const HttpReply hit = Http(*proxy, "/a");
  EXPECT_TRUE(hit.body == content);
  EXPECT_EQ(hit.Field("X-Cache"), "HIT");
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
