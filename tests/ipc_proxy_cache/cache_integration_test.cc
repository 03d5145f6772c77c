#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "tests/getfile/getfile_server.h"
#include "tests/harness/eventually.h"
#include "tests/harness/sha256.h"
#include "tests/ipc_proxy_cache/nginx_origin.h"
#include "tests/ipc_proxy_cache/proxies.h"
#include "tests/ipc_proxy_cache/tls_origin.h"

// Proxies that share a cache before nginx: what is kept, for how long, and for whom. What happens
// when somebody dies is in cache_faults_integration_test.cc.

namespace ds::ipc_proxy_cache {
namespace {

using getfile::Answers;
using getfile::Content;
using testing::Eventually;
using testing::FakeServer;
using testing::kDeadline;
using testing::RawPeer;
using testing::Sha256Hex;

/// Locations that serve the files with what the test wants to be said of them.
constexpr const char* kLocations = R"(
location /crawl/ { alias $files/; limit_rate 100000; }
location /kept/ { alias $files/; add_header Cache-Control "max-age=3600"; }
location /second/ { alias $files/; add_header Cache-Control "max-age=1"; }
location /past/ { alias $files/; expires -1; }
location /expires/ { alias $files/; add_header Expires "Thu, 31 Dec 2037 23:55:55 GMT"; }
location /aged/ { alias $files/; add_header Age 50; add_header Cache-Control "max-age=100"; }
location /too-old/ { alias $files/; add_header Age 200; add_header Cache-Control "max-age=100"; }
location /ask/ { alias $files/; add_header Cache-Control "no-cache"; }
location /no-store/ { alias $files/; add_header Cache-Control "no-store"; }
location /private/ { alias $files/; add_header Cache-Control "private"; }
location /revalidate-later/ {
  alias $files/;
  add_header Cache-Control "max-age=0, stale-while-revalidate=3600";
}
location /stale/ { alias $files/; add_header Cache-Control "max-age=0"; }
location /if-error/ { alias $files/; add_header Cache-Control "max-age=0, stale-if-error=3600"; }
location /must/ {
  alias $files/;
  add_header Cache-Control "max-age=0, must-revalidate, stale-if-error=3600";
}
location = /moved/no-store { add_header Cache-Control "no-store"; return 302 /kept/a; }
location = /moved/unsaid { return 302 /kept/a; }
location = /moved/kept { add_header Cache-Control "max-age=3600"; return 302 /kept/a; }
location = /moved/for-good { return 301 /kept/a; }
location = /moved/second { add_header Cache-Control "max-age=1"; return 301 /kept/a; }
location = /moved/twice { return 301 /moved/no-store; }
)";

class CacheTest : public ::testing::Test {
 protected:
  /// The condition of the last request for `target` that the origin has answered.
  std::string LastCondition(std::string_view target) const {
    std::string condition = "none";
    for (const OriginAccess& access : origin_.Log()) {
      if (access.target == target) condition = access.condition;
    }
    return condition;
  }

  const Machine machine_{};
  NginxOrigin origin_{{.locations = kLocations}};
};

// Sizes, channels.

struct Channel {
  const char* name;
  std::vector<std::string> flags;
};

class CacheSizesTest : public CacheTest, public ::testing::WithParamInterface<Channel> {};

TEST_P(CacheSizesTest, WhatOneProxyHasFetchedBothServe) {
  const auto cache = machine_.Cache();
  const auto first = machine_.LinkedProxy(origin_.url(), GetParam().flags);
  const auto second = machine_.LinkedProxy(origin_.url());
  int kept = 0;
  // A segment of z bytes carries z - 64: of the smallest, 760, and of 64 KiB, 65 472. Up to 16 KiB
  // a body is copied, up to 256 KiB it shares a chunk.
  for (const std::size_t size :
       {0U, 1U, 560U, 759U, 760U, 761U, 16'383U, 16'384U, 16'385U, 65'471U, 65'472U, 65'473U,
        65'536U, 262'143U, 262'144U, 262'145U, 1U << 20U, (1U << 20U) + 1, 16U << 20U}) {
    ++kept;
    const std::string content = Content(size, static_cast<unsigned>(size) + 1);
    const std::string path = fmt::format("/kept/{}", size);
    origin_.Write(std::to_string(size), content);
    EXPECT_THAT(Getfile(*first, path), Answers(getfile::Ok(content))) << size;
    // A client may have all the bytes of a fill that is not published yet.
    EXPECT_TRUE(
        Eventually(kDeadline, "it is kept", [&] { return machine_.Status()["objects"] == kept; }));
    for (const DaemonProcess* const proxy : {first.get(), second.get()}) {
      const HttpReply hit = Http(*proxy, path);
      EXPECT_EQ(hit.Field("X-Cache"), "HIT") << size;
      EXPECT_EQ(hit.Field("Content-Length"), std::to_string(size));
      EXPECT_EQ(Sha256Hex(hit.body), Sha256Hex(content)) << size;
    }
    EXPECT_EQ(origin_.Fetches(path), 1U) << size;
  }
}

INSTANTIATE_TEST_SUITE_P(Channels, CacheSizesTest,
                         ::testing::Values(Channel{"ZeroCopy", {}},
                                           Channel{"Sendfile", {"--sendfile"}},
                                           Channel{"OneSmallestSegment", {"-n", "1", "-z", "824"}},
                                           Channel{"OneSegment", {"-n", "1", "-z", "65536"}},
                                           Channel{"SmallestSegments", {"-n", "91", "-z", "824"}}),
                         [](const auto& channel) { return channel.param.name; });

TEST_F(CacheTest, LargeHitsGoOutBySendfileWhereThatIsAskedFor) {
  const std::string content = Content(1'000'000);
  origin_.Write("a", content);
  const auto cache = machine_.Cache();
  const auto copying = machine_.LinkedProxy(origin_.url());
  const auto sending = machine_.LinkedProxy(origin_.url(), {"--sendfile"});
  if (!BytesWritten(copying->pid())) GTEST_SKIP() << "needs /proc/pid/io";
  EXPECT_TRUE(Http(*copying, "/kept/a").body == content);
  AwaitFills(*cache);
  const auto written_before = [&](const DaemonProcess& proxy) {
    const std::uint64_t before = BytesWritten(proxy.pid()).value();
    const HttpReply hit = Http(proxy, "/kept/a");
    EXPECT_EQ(hit.Field("X-Cache"), "HIT");
    EXPECT_TRUE(hit.body == content);
    return before;
  };
  const std::uint64_t sending_before = written_before(*sending);
  EXPECT_TRUE(Eventually(kDeadline, "what sendfile gave to the socket is counted", [&] {
    return BytesWritten(sending->pid()).value() >= sending_before + content.size();
  }));
  const std::uint64_t copying_before = written_before(*copying);
  EXPECT_LT(BytesWritten(copying->pid()).value(), copying_before + content.size() / 2);
}

TEST_F(CacheTest, ThirtyPointsOfSegmentsAndThreads) {
  const auto cache = machine_.Cache();
  std::vector<std::string> contents;
  for (const std::size_t size : {700U, 20'000U, 300'000U}) {
    contents.push_back(Content(size, static_cast<unsigned>(size)));
    origin_.Write(std::to_string(contents.size()), contents.back());
  }
  const std::vector<int> segments = {1, 2, 7, 16, 45, 91};
  const std::vector<int> threads = {1, 3, 10, 32, 91};
  for (const int n : segments) {
    for (const int t : threads) {
      const auto proxy = machine_.LinkedProxy(
          origin_.url(), {"-n", std::to_string(n), "-z", "8192", "-t", std::to_string(t)});
      // All are misses, side by side.
      std::vector<Download> clients;
      clients.reserve(12);
      for (int i = 0; i < 12; ++i) {
        clients.emplace_back(*proxy, fmt::format("/kept/{}?{}-{}-{}", i % 3 + 1, n, t, i));
      }
      for (std::size_t i = 0; i < clients.size(); ++i) {
        EXPECT_TRUE(clients[i].Finish()) << n << " segments, " << t << " threads";
        EXPECT_TRUE(clients[i].body() == contents[i % 3]);
        EXPECT_EQ(clients[i].Field("X-Cache"), "MISS");
      }
      EXPECT_EQ(OriginFetches(*proxy), 12) << n << " segments, " << t << " threads";
    }
  }
}

// Coalescing.

TEST_F(CacheTest, ManyClientsOfTwoProxiesAreOneFetch) {
  const auto cache = machine_.Cache();
  const auto first = machine_.LinkedProxy(origin_.url());
  const auto second = machine_.LinkedProxy(origin_.url());
  const std::array<const DaemonProcess*, 2> proxies = {first.get(), second.get()};
  for (const std::size_t size : {1000U, 200'000U, 1'300'000U}) {
    const std::string content = Content(size);
    origin_.Write("a", content);
    const std::string path = fmt::format("/slow/a?{}", size);
    origin_.Pause();
    std::vector<Download> clients;
    for (std::size_t i = 0; i < 120; ++i) {
      clients.emplace_back(*proxies[i % 2], path, Download::Protocol::kHttp);
    }
    EXPECT_TRUE(Eventually(kDeadline, "all of them wait", [&] {
      return Metric(*first, "getfile_proxy_connections_open") +
                 Metric(*second, "getfile_proxy_connections_open") ==
             static_cast<double>(clients.size());
    }));
    origin_.Resume();
    std::size_t missed = 0;
    for (Download& client : clients) {
      EXPECT_TRUE(client.Finish());
      EXPECT_EQ(Sha256Hex(client.body()), Sha256Hex(content));
      if (client.Field("X-Cache") == "MISS") ++missed;
      EXPECT_THAT(client.Field("X-Cache"), ::testing::AnyOf("MISS", "COALESCED", "HIT"));
    }
    EXPECT_EQ(missed, 1U) << size;
    EXPECT_EQ(origin_.Fetches(path), 1U) << size;
  }
  EXPECT_EQ(OriginFetches(*first) + OriginFetches(*second), 3);
  EXPECT_GT(Served(*first, "COALESCED") + Served(*second, "COALESCED"), 100);
  EXPECT_GE(machine_.Status()["coalesced"], 1) << "of links";
}

TEST_F(CacheTest, FollowersStreamWhileTheObjectIsFilled) {
  const std::string content = Content(3'000'000);
  origin_.Write("a", content);
  const auto cache = machine_.Cache();
  const auto first = machine_.LinkedProxy(origin_.url());
  const auto second = machine_.LinkedProxy(origin_.url());
  Download leader = Download::Begun(*first, "/slow/a", 300'000);
  origin_.Pause();
  Download same_proxy(*first, "/slow/a");
  Download other_proxy(*second, "/slow/a");
  EXPECT_TRUE(same_proxy.ReadTo(300'000) && other_proxy.ReadTo(300'000));
  origin_.Resume();
  for (Download* const client : {&leader, &same_proxy, &other_proxy}) {
    EXPECT_TRUE(client->Finish());
    EXPECT_TRUE(client->body() == content);
  }
  EXPECT_EQ(leader.Field("X-Cache"), "MISS");
  EXPECT_EQ(other_proxy.Field("X-Cache"), "COALESCED");
  EXPECT_EQ(origin_.Fetches("/slow/a"), 1U);
  AwaitFills(*cache);
  EXPECT_EQ(Http(*second, "/slow/a").Field("X-Cache"), "HIT");
}

TEST_F(CacheTest, ASegmentChannelOfOneSegmentServesManyFillsSideBySide) {
  const std::string content = Content(600'000);
  origin_.Write("a", content);
  const auto cache = machine_.Cache();
  const auto proxy = machine_.LinkedProxy(origin_.url(), {"-n", "1", "-z", "4096", "-t", "2"});
  std::vector<Download> clients;
  clients.reserve(40);
  for (int i = 0; i < 40; ++i) clients.emplace_back(*proxy, fmt::format("/kept/a?{}", i));
  for (Download& client : clients) {
    EXPECT_TRUE(client.Finish());
    EXPECT_TRUE(client.body() == content);
  }
  AwaitFills(*cache);
  EXPECT_EQ(machine_.Status()["objects"], 40);
}

// What HTTP says about time.

TEST_F(CacheTest, WhatTheOriginSaysAboutTimeDecides) {
  origin_.Write("a", "hello");
  const auto cache = machine_.Cache();
  const auto proxy = machine_.LinkedProxy(origin_.url());
  const struct {
    std::string path;
    const char* second;  ///< X-Cache of a second request
    std::size_t fetches;
  } cases[] = {{"/kept/a", "HIT", 1}, {"/a", "HIT", 1},           {"/expires/a", "HIT", 1},
               {"/aged/a", "HIT", 1}, {"/too-old/a", "MISS", 2},  {"/past/a", "MISS", 2},
               {"/ask/a", "MISS", 2}, {"/no-store/a", "PASS", 2}, {"/private/a", "PASS", 2}};
  for (const auto& wanted : cases) {
    EXPECT_EQ(Http(*proxy, wanted.path).body, "hello") << wanted.path;
    const HttpReply second = Http(*proxy, wanted.path);
    EXPECT_EQ(second.body, "hello") << wanted.path;
    EXPECT_EQ(second.Field("X-Cache"), wanted.second) << wanted.path;
    EXPECT_EQ(origin_.Fetches(wanted.path), wanted.fetches) << wanted.path;
  }
}

TEST_F(CacheTest, AgeGoesOnFromWhatTheOriginSaid) {
  origin_.Write("a", "hello");
  const auto cache = machine_.Cache();
  const auto proxy = machine_.LinkedProxy(origin_.url());
  EXPECT_EQ(Http(*proxy, "/aged/a").code, 200);
  EXPECT_TRUE(Eventually(kDeadline, "it grows older", [&] {
    const HttpReply hit = Http(*proxy, "/aged/a");
    EXPECT_EQ(hit.Field("X-Cache"), "HIT");
    return std::stoi(hit.Field("Age")) > 50;
  }));
}

TEST_F(CacheTest, WhereTheOriginSaysNothingTheOptionDecides) {
  origin_.Write("a", "hello");
  const auto cache = machine_.Cache({"--ttl", "1"});
  const auto proxy = machine_.LinkedProxy(origin_.url());
  const auto is_a_hit = [&] { return Http(*proxy, "/a").Field("X-Cache") == "HIT"; };
  EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "MISS");
  EXPECT_TRUE(Eventually(kDeadline, "a request soon after another one is a hit", is_a_hit));
  EXPECT_TRUE(Eventually(kDeadline, "it is stale",
                         [&] { return Http(*proxy, "/a").Field("X-Cache") == "MISS"; }));
  EXPECT_TRUE(
      Eventually(kDeadline, "it was revalidated", [&] { return LastCondition("/a") != "-"; }));
  EXPECT_TRUE(Eventually(kDeadline, "and is a hit again", is_a_hit));
}

TEST_F(CacheTest, AnAnswerIsKeptNoLongerThanTheRedirectToItAllows) {
  origin_.Write("a", "hello");
  const auto cache = machine_.Cache();
  const auto proxy = machine_.LinkedProxy(origin_.url());
  const struct {
    std::string path;
    const char* second;  ///< X-Cache of a second request
    std::size_t fetches;
  } cases[] = {{"/moved/no-store", "PASS", 2},
               {"/moved/unsaid", "MISS", 2},
               {"/moved/twice", "PASS", 2},
               {"/moved/kept", "HIT", 1},
               {"/moved/for-good", "HIT", 1}};
  for (const auto& wanted : cases) {
    EXPECT_EQ(Http(*proxy, wanted.path).body, "hello") << wanted.path;
    const HttpReply second = Http(*proxy, wanted.path);
    EXPECT_EQ(second.body, "hello") << wanted.path;
    EXPECT_EQ(second.Field("X-Cache"), wanted.second) << wanted.path;
    EXPECT_EQ(origin_.Fetches(wanted.path), wanted.fetches) << wanted.path;
  }
  // The file itself could be kept for an hour.
  EXPECT_EQ(Http(*proxy, "/moved/second").Field("X-Cache"), "MISS");
  EXPECT_TRUE(Eventually(kDeadline, "it is stale",
                         [&] { return Http(*proxy, "/moved/second").Field("X-Cache") != "HIT"; }));
  EXPECT_TRUE(Eventually(kDeadline, "it was revalidated",
                         [&] { return LastCondition("/moved/second") != "-"; }));
}

TEST_F(CacheTest, RevalidationKeepsWhatIsTheSameAndReplacesWhatIsNot) {
  origin_.Write("a", "hello");
  const auto cache = machine_.Cache();
  const auto first = machine_.LinkedProxy(origin_.url());
  const auto second = machine_.LinkedProxy(origin_.url());
  const HttpReply fetched = Http(*first, "/ask/a");
  EXPECT_EQ(LastCondition("/ask/a"), "-");
  const HttpReply same = Http(*second, "/ask/a");
  EXPECT_EQ(same.body, "hello");
  EXPECT_EQ(same.Field("ETag"), fetched.Field("ETag"));
  ASSERT_EQ(origin_.Log().size(), 2U);
  EXPECT_EQ(origin_.Log()[1].status, 304);
  origin_.Write("a", "another");
  EXPECT_EQ(Http(*first, "/ask/a").body, "another");
  EXPECT_EQ(origin_.Log()[2].status, 200);
  EXPECT_NE(origin_.Log()[2].condition, "-");
  EXPECT_EQ(Http(*second, "/ask/a").body, "another");
}

TEST_F(CacheTest, WhatIsGoneAtRevalidationIsDropped) {
  origin_.Write("a", "hello");
  const auto cache = machine_.Cache();
  const auto proxy = machine_.LinkedProxy(origin_.url());
  EXPECT_EQ(Http(*proxy, "/if-error/a").body, "hello");
  origin_.Remove("a");
  EXPECT_EQ(Http(*proxy, "/if-error/a").code, 404);
  origin_.Kill();
  EXPECT_NE(Http(*proxy, "/if-error/a").code, 200) << "it is not served as stale";
}

TEST_F(CacheTest, StaleWhileRevalidateServesTheOldVersionOnceMore) {
  origin_.Write("a", "old");
  const auto cache = machine_.Cache();
  const auto proxy = machine_.LinkedProxy(origin_.url());
  EXPECT_EQ(Http(*proxy, "/revalidate-later/a").body, "old");
  origin_.Write("a", "newer");
  const HttpReply stale = Http(*proxy, "/revalidate-later/a");
  EXPECT_EQ(stale.body, "old");
  EXPECT_EQ(stale.Field("X-Cache"), "STALE");
  EXPECT_TRUE(Eventually(kDeadline, "the new version has come", [&] {
    const HttpReply reply = Http(*proxy, "/revalidate-later/a");
    EXPECT_EQ(reply.Field("X-Cache"), "STALE") << reply.body;
    return reply.body == "newer";
  }));
  EXPECT_TRUE(
      Eventually(kDeadline, "it is counted", [&] { return machine_.Status()["stale"] >= 2; }));
}

TEST_F(CacheTest, StaleIfErrorServesWhatIsThereWhileTheOriginIsAway) {
  origin_.Write("a", "hello");
  const auto cache = machine_.Cache();
  const auto first = machine_.LinkedProxy(origin_.url());
  const auto second = machine_.LinkedProxy(origin_.url());
  for (const char* const path : {"/if-error/a", "/must/a", "/ask/a"}) {
    EXPECT_EQ(Http(*first, path).body, "hello");
  }
  origin_.Kill();
  for (const DaemonProcess* const proxy : {first.get(), second.get()}) {
    const HttpReply stale = Http(*proxy, "/if-error/a");
    EXPECT_EQ(stale.body, "hello");
    EXPECT_EQ(stale.Field("X-Cache"), "STALE");
    EXPECT_EQ(Http(*proxy, "/must/a").code, 502);
    EXPECT_EQ(Http(*proxy, "/ask/a").code, 502);
  }
  origin_.Start();
  const HttpReply again = Http(*first, "/if-error/a");
  EXPECT_EQ(again.body, "hello");
  EXPECT_NE(again.Field("X-Cache"), "STALE");
}

TEST_F(CacheTest, WhoNeverAsksTheOriginServesWhatIsStaleUnlessThatIsForbidden) {
  origin_.Write("a", "hello");
  const auto cache = machine_.Cache();
  const auto asking = machine_.LinkedProxy(origin_.url());
  const auto classic = machine_.LinkedProxy(origin_.url(), {"--on-miss", "not-found"});
  for (const char* const path : {"/stale/a", "/must/a", "/ask/a", "/kept/a"}) {
    EXPECT_EQ(Http(*asking, path).body, "hello");
  }
  const std::size_t fetches = origin_.Log().size();
  for (int i = 0; i < 2; ++i) {
    const HttpReply stale = Http(*classic, "/stale/a");
    EXPECT_EQ(stale.body, "hello");
    EXPECT_EQ(stale.Field("X-Cache"), "STALE");
    EXPECT_EQ(Http(*classic, "/must/a").code, 404);
    EXPECT_EQ(Http(*classic, "/ask/a").code, 404);
    EXPECT_EQ(Http(*classic, "/kept/a").Field("X-Cache"), "HIT");
  }
  EXPECT_EQ(origin_.Log().size(), fetches);
  EXPECT_EQ(OriginFetches(*classic), 0);
}

TEST_F(CacheTest, WhatIsNotThereIsRememberedAndErrorsNever) {
  const auto cache = machine_.Cache({"--negative-ttl", "3600"});
  const auto first = machine_.LinkedProxy(origin_.url());
  const auto second = machine_.LinkedProxy(origin_.url());
  for (const char* const path : {"/absent", "/status/410"}) {
    EXPECT_THAT(Getfile(*first, path), Answers(getfile::kNotFound));
    const HttpReply hit = Http(*second, path);
    EXPECT_EQ(hit.code, std::string_view(path) == "/absent" ? 404 : 410);
    EXPECT_EQ(hit.Field("X-Cache"), "HIT");
    EXPECT_EQ(origin_.Fetches(path), 1U);
  }
  for (const char* const path : {"/status/500", "/status/503", "/drop"}) {
    for (int i = 1; i <= 3; ++i) {
      EXPECT_EQ(Http(*first, path).code, 502);
      // libcurl asks once more where a connection in use again was closed without an answer.
      EXPECT_GE(origin_.Fetches(path), static_cast<std::size_t>(i)) << path;
    }
  }
}

TEST_F(CacheTest, WhatIsNotThereIsForgottenAfterAWhile) {
  const auto cache = machine_.Cache({"--negative-ttl", "1"});
  const auto proxy = machine_.LinkedProxy(origin_.url());
  EXPECT_EQ(Http(*proxy, "/absent").code, 404);
  origin_.Write("absent", "hello");
  EXPECT_TRUE(Eventually(kDeadline, "the origin is asked again",
                         [&] { return Http(*proxy, "/absent").body == "hello"; }));
}

TEST_F(CacheTest, AChunkedAnswerIsKeptOnceItsLengthIsKnown) {
  const auto cache = machine_.Cache();
  const auto first = machine_.LinkedProxy(origin_.url());
  const auto second =
      machine_.LinkedProxy(origin_.url(), {"--max-unknown", "1K", "--temp-dir", "/tmp"});
  for (const std::size_t size : {1U, 100'000U, 1'000'000U, 3'000'000U}) {
    const std::string content = Content(size);
    origin_.Write(std::to_string(size), content);
    const std::array<const DaemonProcess*, 2> proxies = {first.get(), second.get()};
    for (std::size_t i = 0; i < 2; ++i) {
      const std::string path = fmt::format("/chunked/{}?{}", size, i);
      EXPECT_TRUE(Http(*proxies[i], path).body == content) << size;
      AwaitFills(*cache);
      const HttpReply hit = Http(*proxies[1 - i], path);
      EXPECT_EQ(hit.Field("X-Cache"), "HIT") << size;
      EXPECT_TRUE(hit.body == content) << size;
    }
  }
}

TEST_F(CacheTest, AnHttpsAnswerThatMayHaveBeenCutIsNotKept) {
  const struct {
    std::string fields;
    std::vector<std::string> x_cache;  ///< of two requests
    int fetches;
  } cases[] = {{"", {"PASS", "PASS"}, 2},  // it ends where the connection ends
               {"Content-Length: 5\r\n", {"MISS", "HIT"}, 1}};
  for (const auto& [fields, x_cache, fetches] : cases) {
    const std::string answer = fmt::format(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nConnection: close\r\n{}\r\nhello",
        fields);
    const Machine machine;
    CutTlsOrigin origin(answer);
    const auto cache = machine.Cache();
    const auto proxy = machine.LinkedProxy(origin.url(), {"--origin-ca", origin.certificate()});
    // Without TLS there is no goodbye that could be missed.
    const FakeServer plain({FakeServer::Answer(answer)});
    const auto of_plain = machine.LinkedProxy(Url(plain));
    for (std::size_t i = 0; i < 2; ++i) {
      const HttpReply reply = Http(*proxy, "/a");
      EXPECT_EQ(reply.body, "hello") << fields;
      EXPECT_EQ(reply.Field("X-Cache"), x_cache[i]) << fields;
      EXPECT_EQ(Http(*of_plain, "/a").Field("X-Cache"), i == 0 ? "MISS" : "HIT") << fields;
    }
    EXPECT_EQ(origin.requests(), fetches) << fields;
  }
}

TEST_F(CacheTest, NothingThatBreaksOffIsKept) {
  const std::string content = Content(8'000'000);
  origin_.Write("a", content);
  const auto cache = machine_.Cache();
  const auto first = machine_.LinkedProxy(origin_.url());
  const auto second = machine_.LinkedProxy(origin_.url());
  Download leader = Download::Begun(*first, "/slow/a");
  Download follower = Download::Begun(*second, "/slow/a");
  origin_.Kill();
  for (Download* const client : {&leader, &follower}) {
    EXPECT_FALSE(client->Finish());
    EXPECT_NE(client->end(), RawPeer::End::kTimeout);
    EXPECT_TRUE(content.starts_with(client->body()));
  }
  EXPECT_EQ(machine_.Status()["objects"], 0);
  origin_.Start();
  EXPECT_TRUE(Http(*second, "/a").body == content);
}

// Ranges, purges, pinned objects.

TEST_F(CacheTest, RangesAreAnsweredFromHits) {
  const std::string content = Content(1'000'000);
  origin_.Write("a", content);
  const auto cache = machine_.Cache();
  const auto proxy = machine_.LinkedProxy(origin_.url());
  const HttpReply whole = Http(*proxy, "/kept/a");
  AwaitFills(*cache);
  const struct {
    std::string fields;
    int code;
    std::string_view body;
  } cases[] = {
      {"Range: bytes=0-0\r\n", 206, std::string_view(content).substr(0, 1)},
      {"Range: bytes=4095-500000\r\n", 206, std::string_view(content).substr(4095, 495'906)},
      {"Range: bytes=-10\r\n", 206, std::string_view(content).substr(999'990)},
      {"Range: bytes=999999-\r\n", 206, std::string_view(content).substr(999'999)},
      {"Range: bytes=1000000-\r\n", 416, ""},
      {"Range: bytes=5-9\r\nIf-Range: " + whole.Field("ETag") + "\r\n", 206,
       std::string_view(content).substr(5, 5)},
      {"Range: bytes=5-9\r\nIf-Range: \"other\"\r\n", 200, content},
      {"If-None-Match: " + whole.Field("ETag") + "\r\n", 304, ""}};
  for (const auto& wanted : cases) {
    const HttpReply reply = Http(*proxy, "/kept/a", wanted.fields);
    EXPECT_EQ(reply.code, wanted.code) << wanted.fields;
    EXPECT_EQ(reply.Field("X-Cache"), "HIT") << wanted.fields;
    if (wanted.code != 416) {
      EXPECT_TRUE(reply.body == wanted.body) << wanted.fields;
    }
  }
  EXPECT_EQ(origin_.Fetches("/kept/a"), 1U);
}

TEST_F(CacheTest, APurgeDropsAPathOrAllBelowAPrefix) {
  const auto cache = machine_.Cache();
  const auto first = machine_.LinkedProxy(origin_.url());
  const auto second = machine_.LinkedProxy(origin_.url());
  for (const char* const name : {"a", "b", "ab", "large"}) {
    origin_.Write(name, std::string_view(name) == "large" ? Content(2'000'000) : name);
    EXPECT_EQ(Http(*first, fmt::format("/kept/{}", name)).code, 200);
  }
  AwaitFills(*cache);
  const auto hits = [&](const char* path) { return Http(*second, path).Field("X-Cache") == "HIT"; };
  EXPECT_EQ(machine_.Ctl({"purge", "/kept/a"}).out, "purged 1\n");
  EXPECT_FALSE(hits("/kept/a"));
  EXPECT_TRUE(hits("/kept/ab"));
  EXPECT_TRUE(hits("/kept/a")) << "fetched again";
  EXPECT_EQ(machine_.Ctl({"purge", "--prefix", "/kept/a"}).out, "purged 2\n");
  EXPECT_FALSE(hits("/kept/a"));
  EXPECT_FALSE(hits("/kept/ab"));
  EXPECT_TRUE(hits("/kept/b"));
  EXPECT_EQ(machine_.Ctl({"purge", origin_.url() + "/kept/b"}).out, "purged 1\n");
  EXPECT_FALSE(hits("/kept/b"));
  EXPECT_TRUE(hits("/kept/large"));
  EXPECT_EQ(machine_.Ctl({"purge", "--prefix", "/"}).out, "purged 4\n");
  EXPECT_EQ(machine_.Status()["objects"], 0);
  EXPECT_TRUE(Eventually(kDeadline, "nobody holds what was dropped",
                         [&] { return machine_.Status()["retired_bytes"] == 0; }));
  EXPECT_FALSE(hits("/kept/large"));
}

TEST_F(CacheTest, ASoftPurgeHasWhatIsThereRevalidated) {
  origin_.Write("a", "hello");
  origin_.Write("ab", "hello");
  const auto cache = machine_.Cache();
  const auto proxy = machine_.LinkedProxy(origin_.url());
  EXPECT_EQ(Http(*proxy, "/kept/a").body, "hello");
  EXPECT_EQ(Http(*proxy, "/kept/ab").body, "hello");
  EXPECT_EQ(machine_.Ctl({"purge", "--soft", "/kept/a"}).out, "purged 1\n");
  EXPECT_NE(Http(*proxy, "/kept/a").Field("X-Cache"), "HIT");
  EXPECT_TRUE(
      Eventually(kDeadline, "it was revalidated", [&] { return LastCondition("/kept/a") != "-"; }));
  EXPECT_EQ(origin_.Log().back().status, 304);
  EXPECT_EQ(Http(*proxy, "/kept/a").Field("X-Cache"), "HIT");
  EXPECT_EQ(machine_.Ctl({"purge", "--soft", "--prefix", "/kept/"}).out, "purged 2\n");
  origin_.Write("ab", "another");
  EXPECT_EQ(Http(*proxy, "/kept/ab").body, "another");
}

TEST_F(CacheTest, WhatIsPurgedWhileItIsFilledGoesToThoseWhoWaitAndIsNotKept) {
  const std::string content = Content(3'000'000);
  origin_.Write("a", content);
  const auto cache = machine_.Cache();
  const auto proxy = machine_.LinkedProxy(origin_.url());
  Download client = Download::Begun(*proxy, "/slow/a");
  origin_.Pause();
  EXPECT_EQ(machine_.Ctl({"purge", "/slow/a"}).exit_code, 0);
  origin_.Resume();
  Download later(*proxy, "/slow/a");
  EXPECT_TRUE(later.ReadTo(1));
  EXPECT_EQ(later.Field("X-Cache"), "MISS") << "who asks after the purge gets a fetch of its own";
  later.Reset();
  EXPECT_TRUE(client.Finish());
  EXPECT_TRUE(client.body() == content);
}

TEST_F(CacheTest, PinnedObjectsCountForEveryOriginAndNeedNone) {
  const std::string large = Content(1'000'000);
  machine_.folder().Write("one", "pinned");
  machine_.folder().Write("two", large);
  machine_.folder().Write("list", "/one one\n/two two\n");
  origin_.Write("three", "origin");
  const auto cache = machine_.Cache({"-c", machine_.folder().path("list")});
  const auto asking = machine_.LinkedProxy(origin_.url());
  const auto classic =
      machine_.LinkedProxy("http://no-such-host.invalid/x", {"--on-miss", "not-found"});
  for (const DaemonProcess* const proxy : {asking.get(), classic.get()}) {
    EXPECT_THAT(Getfile(*proxy, "/one"), Answers(getfile::Ok("pinned")));
    const HttpReply hit = Http(*proxy, "/two");
    EXPECT_TRUE(hit.body == large);
    EXPECT_EQ(hit.Field("X-Cache"), "HIT");
  }
  EXPECT_EQ(Http(*asking, "/three").body, "origin");
  EXPECT_THAT(Getfile(*classic, "/three"), Answers(getfile::kNotFound));
  EXPECT_EQ(OriginFetches(*classic), 0);
}

TEST_F(CacheTest, OriginsDoNotMixInOneCache) {
  const NginxOrigin other;
  origin_.Write("a", "of the one");
  other.Write("a", "of the other");
  const auto cache = machine_.Cache();
  const auto first = machine_.LinkedProxy(origin_.url());
  const auto second = machine_.LinkedProxy(other.url());
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(Http(*first, "/a").body, "of the one");
    EXPECT_EQ(Http(*second, "/a").body, "of the other");
  }
  EXPECT_EQ(machine_.Status()["objects"], 2);
}

// Memory.

TEST_F(CacheTest, AnObjectThatIsTooLargePassesThrough) {
  const std::string most = Content(2U << 20U);
  const std::string more = Content((2U << 20U) + 1);
  origin_.Write("most", most);
  origin_.Write("more", more);
  const auto cache = machine_.Cache({"--memory", "16M"});
  const auto proxy = machine_.LinkedProxy(origin_.url());
  for (const char* const wanted : {"MISS", "HIT"}) {
    const HttpReply reply = Http(*proxy, "/kept/most");
    EXPECT_TRUE(reply.body == most);
    AwaitFills(*cache);
    EXPECT_EQ(reply.Field("X-Cache"), wanted);
  }
  for (int i = 0; i < 2; ++i) {
    for (const char* const path : {"/kept/more", "/chunked/more"}) {
      const HttpReply reply = Http(*proxy, path);
      EXPECT_TRUE(reply.body == more);
      EXPECT_EQ(reply.Field("X-Cache"), "PASS") << path;
    }
  }
  EXPECT_EQ(OriginFetches(*proxy), 5);
}

TEST_F(CacheTest, WhenTheMemoryIsFullOfObjectsInUseOthersPassThrough) {
  const std::string large = Content(7U << 20U);
  const std::string small = Content(100'000);
  origin_.Write("large", large);
  origin_.Write("small", small);
  const auto cache = machine_.Cache({"--memory", "16M", "--max-object", "0.5"});
  const auto proxy = machine_.LinkedProxy(origin_.url());
  // They are being filled, so none of them can be evicted.
  std::vector<Download> slow;
  for (int i = 0; i < 4; ++i) {
    slow.emplace_back(*proxy, fmt::format("/crawl/large?{}", i));
    EXPECT_TRUE(slow.back().ReadTo(10'000));
  }
  EXPECT_GT(Served(*proxy, "PASS"), 0);
  const HttpReply other = Http(*proxy, "/large");
  EXPECT_TRUE(other.body == large);
  EXPECT_EQ(other.Field("X-Cache"), "PASS");
  EXPECT_TRUE(Http(*proxy, "/small").body == small);
  EXPECT_LE(machine_.Status()["bytes"], 20U << 20U);
  slow.clear();
  origin_.Kill();
  origin_.Start();
  EXPECT_TRUE(Eventually(kDeadline, "there is room again",
                         [&] { return Http(*proxy, "/large").Field("X-Cache") == "HIT"; }));
}

TEST_F(CacheTest, WhatIsAskedForOftenStaysWhileOthersComeAndGo) {
  const auto cache = machine_.Cache({"--memory", "16M"});
  const auto proxy = machine_.LinkedProxy(origin_.url());
  const std::string content = Content(200'000);
  origin_.Write("a", content);
  for (int i = 0; i < 300; ++i) {
    const HttpReply reply = Http(*proxy, fmt::format("/kept/a?{}", i));
    EXPECT_TRUE(reply.body == content);
    if (i % 3 == 0) {
      EXPECT_TRUE(Http(*proxy, "/kept/a?popular").body == content);
    }
  }
  EXPECT_EQ(Http(*proxy, "/kept/a?popular").Field("X-Cache"), "HIT");
  const auto status = machine_.Status();
  EXPECT_LT(status["objects"], 80);
  EXPECT_LE(status["bytes"], 16U << 20U);
  EXPECT_LT(origin_.Fetches("/kept/a?popular"), 10U);
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
