#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/getfile/getfile_server.h"
#include "tests/harness/eventually.h"
#include "tests/harness/fake_server.h"
#include "tests/harness/sha256.h"
#include "tests/ipc_proxy_cache/nginx_origin.h"
#include "tests/ipc_proxy_cache/proxies.h"

// What clients see when a proxy, the cache or another client dies, stands still or goes away.

namespace ds::ipc_proxy_cache {
namespace {

using getfile::Answers;
using getfile::Content;
using testing::Eventually;
using testing::FakeServer;
using testing::kDeadline;
using testing::RawPeer;
using testing::Sha256Hex;

class CacheFaultsTest : public ::testing::Test {
 protected:
  /// Nothing is left that a next start would have to clean, and nobody holds what was dropped.
  void ExpectNothingLeft() const {
    const auto doctor = machine_.Ctl({"doctor"});
    EXPECT_EQ(doctor.exit_code, 0) << doctor.out;
  }

  const Machine machine_{};
  NginxOrigin origin_{{.locations = R"(
      # Of /begun/ the beginning comes slowly, and the rest at once when somebody asks for that.
      set $rate 500000;
      if ($http_range) { set $rate 0; }
      location /begun/ { alias $files/; limit_rate $rate; }
      location /unranged/ { alias $files/; limit_rate 1000000; max_ranges 0; })"}};
};

// The leader of a fill.

TEST_F(CacheFaultsTest, WhenTheLeaderIsKilledAFollowerGoesOnAtTheByteReached) {
  const std::string content = Content(3'000'000);
  origin_.Write("a", content);
  const auto cache = machine_.Cache();
  const auto leader = machine_.LinkedProxy(origin_.url());
  const auto follower = machine_.LinkedProxy(origin_.url());
  Download lost = Download::Begun(*leader, "/begun/a");
  origin_.Pause();
  std::vector<Download> clients;
  clients.reserve(10);
  for (int i = 0; i < 10; ++i) clients.emplace_back(*follower, "/begun/a");
  for (Download& client : clients) EXPECT_TRUE(client.ReadTo(100'000));
  leader->Kill();
  origin_.Resume();
  for (Download& client : clients) {
    EXPECT_TRUE(client.Finish());
    EXPECT_EQ(Sha256Hex(client.body()), Sha256Hex(content));
  }
  EXPECT_FALSE(lost.Finish());
  EXPECT_TRUE(content.starts_with(lost.body()));
  EXPECT_EQ(Metric(*cache, "getfile_cached_promotions_total"), 1);
  EXPECT_EQ(OriginFetches(*follower), 1);
  EXPECT_TRUE(Eventually(kDeadline, "both fetches are over",
                         [&] { return origin_.Fetches("/begun/a") == 2; }));
  const auto log = origin_.Log();
  EXPECT_EQ(std::ranges::count(log, 206, &OriginAccess::status), 1);
  EXPECT_EQ(std::ranges::count(log, "-", &OriginAccess::range), 1)
      << "the second one asks for the rest";
  AwaitFills(*cache);
  EXPECT_EQ(Http(*follower, "/begun/a").Field("X-Cache"), "HIT");
  ExpectNothingLeft();
}

TEST_F(CacheFaultsTest, WhenTheLeaderIsKilledBeforeItHasAnAnswerAFollowerBegins) {
  FakeServer origin({[](FakeServer::Conversation& conversation) {
                       conversation.ReadRequest();
                       conversation.WaitForEnd();
                     },
                     FakeServer::Answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")});
  const std::string url = fmt::format("127.0.0.1:{}", origin.port());
  const auto cache = machine_.Cache();
  const auto leader = machine_.LinkedProxy(url);
  const auto follower = machine_.LinkedProxy(url);
  Download lost(*leader, "/a");
  EXPECT_TRUE(
      Eventually(kDeadline, "the leader has asked", [&] { return origin.requests().size() == 1; }));
  Download client(*follower, "/a");
  EXPECT_TRUE(Eventually(kDeadline, "the follower waits",
                         [&] { return Metric(*cache, "getfile_cached_coalesced_total") == 1; }));
  leader->Kill();
  EXPECT_TRUE(client.Finish());
  EXPECT_EQ(client.body(), "hello");
  EXPECT_EQ(origin.requests().size(), 2U);
}

TEST_F(CacheFaultsTest, AStoppedLeaderIsReplacedAndGoesOnAsAFollower) {
  const std::string content = Content(3'000'000);
  origin_.Write("a", content);
  const auto cache = machine_.Cache();
  const auto leader = machine_.LinkedProxy(origin_.url());
  const auto follower = machine_.LinkedProxy(origin_.url());
  Download stopped = Download::Begun(*leader, "/begun/a");
  Download client = Download::Begun(*follower, "/begun/a");
  leader->Pause();
  EXPECT_TRUE(client.Finish());
  EXPECT_EQ(Sha256Hex(client.body()), Sha256Hex(content));
  EXPECT_EQ(Metric(*cache, "getfile_cached_promotions_total"), 1);
  leader->Resume();
  EXPECT_TRUE(stopped.Finish()) << "its client gets the rest from the cache";
  EXPECT_EQ(Sha256Hex(stopped.body()), Sha256Hex(content));
}

TEST_F(CacheFaultsTest, WhenTheObjectChangesWithTheLeaderClientsSeeKOfN) {
  const std::string content = Content(4'000'000);
  // Of another length: nginx's ETag is made of the time, in seconds, and the length.
  const std::string changed = Content(4'000'100, 2);
  const auto cache = machine_.Cache();
  const auto leader = machine_.LinkedProxy(origin_.url());
  const auto follower = machine_.LinkedProxy(origin_.url());
  for (const char* const path : {"/begun/a", "/unranged/b"}) {
    const bool ranged = std::string_view(path) == "/begun/a";
    origin_.Write(ranged ? "a" : "b", content);
    Download lost = Download::Begun(*leader, path);
    Download client = Download::Begun(*follower, path);
    if (ranged) origin_.Write("a", changed);
    leader->Kill();
    EXPECT_FALSE(client.Finish()) << path;
    EXPECT_NE(client.end(), RawPeer::End::kTimeout);
    EXPECT_TRUE(content.starts_with(client.body())) << path << ": no byte of another version";
    EXPECT_EQ(machine_.Status()["objects"], 0) << path;
    ASSERT_TRUE(leader->StartAndWaitReady().ok());
    AwaitLinks(*leader);
  }
  EXPECT_TRUE(Http(*follower, "/a").body == changed);
}

TEST_F(CacheFaultsTest, WhenTheLeadersClientLeavesTheOthersGetItAll) {
  const std::string content = Content(3'000'000);
  origin_.Write("a", content);
  const auto cache = machine_.Cache();
  const auto leader = machine_.LinkedProxy(origin_.url());
  const auto follower = machine_.LinkedProxy(origin_.url());
  Download leaving = Download::Begun(*leader, "/slow/a");
  Download client = Download::Begun(*follower, "/slow/a");
  leaving.Reset();
  EXPECT_TRUE(client.Finish());
  EXPECT_EQ(Sha256Hex(client.body()), Sha256Hex(content));
}

TEST_F(CacheFaultsTest, ClientsThatCloseEarlyLeaveNothingBehind) {
  const std::string content = Content(5'000'000);
  origin_.Write("a", content);
  const auto cache = machine_.Cache();
  const auto proxy = machine_.LinkedProxy(origin_.url());
  EXPECT_TRUE(Http(*proxy, "/a").body == content);
  const std::size_t proxy_descriptors = proxy->open_descriptors();
  for (int i = 0; i < 40; ++i) {
    // Of a hit, of a fill that nobody else waits for, of one that others wait for.
    const std::string path = i % 3 == 0 ? "/a" : fmt::format("/slow/a?{}", i % 3 == 1 ? i : 0);
    Download client(*proxy, path);
    EXPECT_TRUE(i % 4 == 0 || client.ReadTo(1000));
    if (i % 2 == 0) client.Reset();
  }
  AwaitFills(*cache);
  // What had begun is there now. Of 14 paths that were fetched side by side connections to the
  // origin may stay open, to be used again.
  EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "HIT");
  machine_.Ctl({"purge", "--prefix", "/slow"});
  EXPECT_TRUE(Eventually(kDeadline, "no descriptor is left",
                         [&] { return proxy->open_descriptors() <= proxy_descriptors + 14; }))
      << proxy->open_descriptors() << " now, " << proxy_descriptors << " before, "
      << MemfdsOf(proxy->pid()) << " of memory";
  EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "HIT");
}

// A reader that is slow.

TEST_F(CacheFaultsTest, ASlowReaderGetsItsVersionWhateverDies) {
  constexpr std::size_t kLarge = 1'900'000;
  const std::string large = Content(kLarge);
  const std::string small = Content(200'000, 2);
  const std::string smallest = Content(12'000, 3);
  origin_.Write("large", large);
  origin_.Write("small", small);
  origin_.Write("smallest", smallest);
  auto cache = machine_.Cache({"--memory", "16M"});
  const auto reading = machine_.LinkedProxy(origin_.url());
  auto other = machine_.LinkedProxy(origin_.url());
  // All are there, fetched by the one that will be killed.
  for (const char* const name : {"/large", "/small", "/smallest"}) {
    EXPECT_EQ(Http(*other, name).code, 200);
  }
  AwaitFills(*cache);
  struct Reader {
    Download download;
    const std::string* content;
  };
  std::vector<Reader> readers;
  for (int i = 0; i < 4; ++i) {
    readers.push_back({Download(*reading, "/large", Download::Protocol::kHttp, 4096), &large});
    readers.push_back({Download(*reading, "/small", Download::Protocol::kGetfile, 4096), &small});
    readers.push_back(
        {Download(*reading, "/smallest", Download::Protocol::kHttp, 4096), &smallest});
  }
  for (Reader& reader : readers) EXPECT_TRUE(reader.download.ReadTo(1));
  other->Kill();
  // Other objects, until nothing of the old ones is in the index; and other versions of them.
  EXPECT_EQ(machine_.Ctl({"purge", "--prefix", "/"}).out, "purged 3\n");
  for (const char* const name : {"large", "small", "smallest"}) {
    origin_.Write(name, Content(kLarge, 7));
  }
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Http(*reading, fmt::format("/large?{}", i)).code, 200);
  }
  cache->Kill();
  cache = machine_.Cache({"--memory", "16M"});
  AwaitLinks(*reading);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(Http(*reading, fmt::format("/large?{}", i)).code, 200);
  }
  for (Reader& reader : readers) {
    EXPECT_TRUE(reader.download.Finish());
    EXPECT_EQ(Sha256Hex(reader.download.body()), Sha256Hex(*reader.content));
  }
}

TEST_F(CacheFaultsTest, WhatASocketHoldsStaysWhatItWasAfterItsProxyWasKilled) {
  constexpr std::size_t kSize = 1'900'000;
  const std::string content = Content(kSize);
  origin_.Write("a", content);
  const auto cache = machine_.Cache({"--memory", "16M"});
  const auto reading = machine_.LinkedProxy(origin_.url());
  const auto other = machine_.LinkedProxy(origin_.url());
  EXPECT_EQ(Http(*other, "/a").code, 200);
  AwaitFills(*cache);
  std::vector<Download> clients;
  clients.reserve(8);
  for (int i = 0; i < 8; ++i) clients.emplace_back(*reading, "/a");
  for (Download& client : clients) EXPECT_TRUE(client.ReadTo(1));
  reading->Kill();
  EXPECT_EQ(machine_.Ctl({"purge", "--prefix", "/"}).out, "purged 1\n");
  origin_.Write("a", Content(kSize, 2));
  for (int i = 0; i < 30; ++i) EXPECT_EQ(Http(*other, fmt::format("/a?{}", i)).code, 200);
  std::size_t received = 0;
  for (Download& client : clients) {
    client.Finish();
    EXPECT_TRUE(content.starts_with(client.body()));
    received += client.body().size();
  }
  EXPECT_GT(received, 8 * 100'000U) << "or nothing was in the sockets, and this shows nothing";
}

// The cache.

TEST_F(CacheFaultsTest, AStoppedCacheIsDoneWithout) {
  const std::string content = Content(1'000'000);
  for (const char* const name : {"a", "b"}) origin_.Write(name, content);
  const auto cache = machine_.Cache();
  const auto proxy = machine_.LinkedProxy(origin_.url());
  const auto segments = machine_.LinkedProxy(origin_.url(), {"-n", "4", "-z", "16384"});
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(Http(*proxy, "/a").body == content);
  cache->Pause();
  const TimePoint stopped = std::chrono::steady_clock::now();
  std::vector<Download> clients;
  std::vector<Download> further;
  for (int i = 0; i < 10; ++i) {
    for (const DaemonProcess* const to : {proxy.get(), segments.get()}) {
      clients.emplace_back(*to, "/a");                     // a hit, maybe
      clients.emplace_back(*to, fmt::format("/b?{}", i));  // a miss
      clients.emplace_back(*to, "/b?same");                // one of many misses
    }
  }
  for (Download& client : clients) {
    EXPECT_TRUE(client.Finish());
    EXPECT_TRUE(client.body() == content);
  }
  RecordProperty("milliseconds", std::to_string((std::chrono::steady_clock::now() - stopped) /
                                                std::chrono::milliseconds(1)));
  // None of these waits for it: if each gave it up by itself, it would be a second for each.
  const TimePoint given_up = std::chrono::steady_clock::now();
  for (int i = 0; i < 60; ++i) {
    const HttpReply reply = Http(*proxy, fmt::format("/b?later-{}", i));
    EXPECT_EQ(reply.code, 200);
    EXPECT_EQ(reply.Field("X-Cache"), "PASS");
  }
  EXPECT_LT(std::chrono::steady_clock::now() - given_up, kDeadline * testing::kSlowdown);
  cache->Resume();
  AwaitLinks(*proxy);
  EXPECT_TRUE(Eventually(kDeadline, "it is used again",
                         [&] { return Http(*proxy, "/b?again").Field("X-Cache") == "HIT"; }));
}

TEST_F(CacheFaultsTest, ACacheStoppedInTheMiddleOfAFillDoesNotKeepItsClients) {
  const std::string content = Content(3'000'000);
  origin_.Write("a", content);
  const auto cache = machine_.Cache();
  const auto leader = machine_.LinkedProxy(origin_.url());
  const auto follower = machine_.LinkedProxy(origin_.url());
  Download first = Download::Begun(*leader, "/begun/a");
  Download second = Download::Begun(*follower, "/begun/a");
  cache->Pause();
  for (Download* const client : {&first, &second}) {
    EXPECT_TRUE(client->Finish());
    EXPECT_EQ(Sha256Hex(client->body()), Sha256Hex(content));
  }
  cache->Resume();
  AwaitLinks(*leader);
}

TEST_F(CacheFaultsTest, WhenTheCacheIsKilledAnswersUnderWayAreFinished) {
  const std::string content = Content(3'000'000);
  origin_.Write("a", content);
  auto cache = machine_.Cache();
  const auto leader = machine_.LinkedProxy(origin_.url());
  const auto follower = machine_.LinkedProxy(origin_.url());
  EXPECT_TRUE(Http(*leader, "/a").body == content);
  Download hit(*follower, "/a", Download::Protocol::kGetfile, 4096);
  EXPECT_TRUE(hit.ReadTo(1000));
  Download first = Download::Begun(*leader, "/begun/a");
  Download second = Download::Begun(*follower, "/begun/a");
  cache->Kill();
  for (Download* const client : {&hit, &first, &second}) {
    EXPECT_TRUE(client->Finish());
    EXPECT_EQ(Sha256Hex(client->body()), Sha256Hex(content));
  }
  // Each worker sees the end of its own link.
  EXPECT_TRUE(Eventually(kDeadline, "answers pass",
                         [&] { return Metric(*leader, "getfile_proxy_links") == 0; }));
  EXPECT_EQ(Http(*leader, "/a").Field("X-Cache"), "PASS");
  cache = machine_.Cache();  // takes the dead socket over
  AwaitLinks(*leader);
  AwaitLinks(*follower);
  EXPECT_EQ(Http(*leader, "/a").Field("X-Cache"), "MISS");
  AwaitFills(*cache);
  EXPECT_EQ(Http(*follower, "/a").Field("X-Cache"), "HIT");
  ExpectNothingLeft();
}

TEST_F(CacheFaultsTest, AnAnswerThroughSegmentsGoesOnWithoutItsCacheAndNotWithTheNext) {
  const std::string content = Content(16U << 20U);
  origin_.Write("a", content);
  origin_.Write("other", Content(16U << 20U, 2));
  auto cache = machine_.Cache();
  const auto filling = machine_.LinkedProxy(origin_.url());
  EXPECT_TRUE(Http(*filling, "/a").body == content);
  AwaitFills(*cache);
  const auto proxy = machine_.LinkedProxy(origin_.url(), {"-t", "1", "-n", "2", "-z", "16384"});
  for (const bool restarted : {false, true}) {
    SCOPED_TRACE(restarted);
    Download client(*proxy, "/a", Download::Protocol::kHttp, /*receive_buffer_bytes=*/131072);
    EXPECT_TRUE(client.ReadTo(100'000));
    EXPECT_EQ(client.Field("X-Cache"), "HIT");
    // The other client's pieces took turns with this one's, which waits for nothing any more.
    EXPECT_TRUE(Http(*proxy, "/a").body == content);
    cache->Kill();
    AwaitLinks(*proxy, 0);
    AwaitLinks(*filling, 0);
    if (restarted) {
      // What lay at the same place of the same memfd is something else.
      cache = machine_.Cache();
      AwaitLinks(*proxy, 1);
      AwaitLinks(*filling);
      EXPECT_EQ(Http(*filling, "/other").Field("X-Cache"), "MISS");
      AwaitFills(*cache);
    }
    EXPECT_TRUE(client.Finish());
    EXPECT_TRUE(client.body() == content);
    if (restarted) break;
    cache = machine_.Cache();
    AwaitLinks(*proxy, 1);
    AwaitLinks(*filling);
    EXPECT_TRUE(Http(*filling, "/a").body == content);
    AwaitFills(*cache);
  }
}

TEST_F(CacheFaultsTest, ACacheIsRestartedUnderLoadAndNoClientNoticesIt) {
  std::vector<std::string> contents;
  for (int i = 0; i < 8; ++i) {
    contents.push_back(Content(std::size_t{1} << (2 * i + 6), static_cast<unsigned>(i)));
    origin_.Write(std::to_string(i), contents.back());
  }
  auto cache = machine_.Cache({"--memory", "16M"});
  const auto first = machine_.LinkedProxy(origin_.url());
  const auto second = machine_.LinkedProxy(origin_.url(), {"-n", "2", "-z", "4096"});
  std::atomic<bool> done = false;
  std::atomic<int> whole = 0;
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> clients;
  for (unsigned c = 0; c < 4; ++c) {
    clients.emplace_back([&, c] {
      for (unsigned i = c; !done; ++i) {
        Download client(i % 2 == 0 ? *first : *second, fmt::format("/{}?{}", i % 8, i / 40));
        ++(client.Finish() && client.body() == contents[i % 8] ? whole : wrong);
      }
    });
  }
  for (int i = 0; i < 6; ++i) {
    const int before = whole;
    EXPECT_TRUE(Eventually(kDeadline, "clients are served", [&] { return whole > before + 40; }));
    if (i % 2 == 0) {
      cache->Kill();
    } else {
      EXPECT_EQ(cache->Terminate(), 0);
    }
    const int without = whole;
    EXPECT_TRUE(Eventually(kDeadline, "clients are served without a cache",
                           [&] { return whole > without + 10; }));
    cache = machine_.Cache({"--memory", "16M"});
    AwaitLinks(*first);
    AwaitLinks(*second);
  }
  done = true;
  clients.clear();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(whole, 300);
  EXPECT_GT(Served(*first, "HIT") + Served(*second, "HIT"), 0);
  ExpectNothingLeft();
}

TEST_F(CacheFaultsTest, EveryOrderOfStartsAndOfEndsServes) {
  origin_.Write("a", "hello");
  std::array<int, 3> order = {0, 1, 2};
  do {
    const Machine machine;
    origin_.Kill();
    std::unique_ptr<DaemonProcess> cache;
    std::vector<std::unique_ptr<DaemonProcess>> proxies;
    for (const int what : order) {
      if (what == 0) cache = machine.Cache();
      if (what == 1) {
        proxies.push_back(machine.Proxy(origin_.url()));
        EXPECT_EQ(proxies[0]->Key("cache"), cache ? machine.socket() : "none");
      }
      if (what == 2) origin_.Start();
    }
    proxies.push_back(machine.Proxy(origin_.url()));
    for (const auto& proxy : proxies) AwaitLinks(*proxy);
    EXPECT_EQ(Http(*proxies[0], "/a").Field("X-Cache"), "MISS");
    EXPECT_EQ(Http(*proxies[1], "/a").Field("X-Cache"), "HIT");
    // And in this order they end.
    for (const int what : order) {
      if (what == 2) {
        origin_.Kill();
      } else {
        EXPECT_EQ((what == 0 ? cache : proxies[0])->Terminate(), 0);
      }
    }
    EXPECT_EQ(machine.Ctl({"doctor"}).exit_code, 0);
    origin_.Start();
    EXPECT_EQ(Http(*proxies[1], "/a").body, "hello");
  } while (std::ranges::next_permutation(order).found);
}

TEST_F(CacheFaultsTest, ASecondCacheIsRefusedAndTheFirstServesOn) {
  origin_.Write("a", "hello");
  const auto cache = machine_.Cache();
  const auto proxy = machine_.LinkedProxy(origin_.url());
  EXPECT_EQ(Http(*proxy, "/a").body, "hello");
  DaemonProcess second({.program = "getfile-cached", .arguments = {"--socket", machine_.socket()}});
  ASSERT_TRUE(second.Start().ok());
  EXPECT_TRUE(second.Wait().Exited(1));
  EXPECT_EQ(Http(*proxy, "/a").Field("X-Cache"), "HIT");
  EXPECT_EQ(Metric(*proxy, "getfile_proxy_links"), 2);
}

// Other proxies.

TEST_F(CacheFaultsTest, AStoppedProxyHoldsNobodyUp) {
  const std::string content = Content(1'000'000);
  origin_.Write("a", content);
  const auto cache = machine_.Cache({"--memory", "16M"});
  const auto stopped = machine_.LinkedProxy(origin_.url());
  const auto other = machine_.LinkedProxy(origin_.url());
  // It is stopped with hits, with fills that it leads, and with a fill that it follows.
  std::vector<Download> held;
  EXPECT_TRUE(Http(*other, "/a").body == content);
  held.emplace_back(*stopped, "/a", Download::Protocol::kHttp, 4096);
  held.reserve(3);
  for (int i = 0; i < 3; ++i) held.emplace_back(*stopped, fmt::format("/slow/a?{}", i));
  for (Download& client : held) EXPECT_TRUE(client.ReadTo(1000));
  stopped->Pause();
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(Http(*other, fmt::format("/a?{}", i)).body == content);
    EXPECT_TRUE(Http(*other, "/a").body == content);
  }
  EXPECT_TRUE(Http(*other, "/slow/a?0").body == content) << "the stopped one leads it";
  EXPECT_LE(machine_.Status()["bytes"].get<std::uint64_t>() +
                machine_.Status()["retired_bytes"].get<std::uint64_t>(),
            20U << 20U);
  EXPECT_TRUE(Eventually(kDeadline, "other objects are hits all the same",
                         [&] { return Http(*other, "/a?hit").Field("X-Cache") == "HIT"; }));
  stopped->Resume();
  for (Download& client : held) {
    EXPECT_TRUE(client.Finish());
    EXPECT_TRUE(client.body() == content);
  }
  EXPECT_TRUE(Http(*stopped, "/a").body == content);
  held.clear();
  EXPECT_EQ(machine_.Ctl({"purge", "--prefix", "/"}).exit_code, 0);
  EXPECT_TRUE(Eventually(kDeadline, "nobody holds what was dropped",
                         [&] { return machine_.Status()["retired_bytes"] == 0; }));
}

TEST_F(CacheFaultsTest, ProxiesThatAreKilledAgainAndAgainLeaveTheCacheAsItWas) {
  const std::string content = Content(500'000);
  origin_.Write("a", content);
  const auto cache = machine_.Cache();
  const auto steady = machine_.LinkedProxy(origin_.url());
  EXPECT_TRUE(Http(*steady, "/a").body == content);
  const std::size_t descriptors = cache->open_descriptors();
  const auto mortal = machine_.Proxy(origin_.url(), {"-n", "8", "-z", "4096"});
  for (int i = 0; i < 10; ++i) {
    AwaitLinks(*mortal);
    Download hit(*mortal, "/a");
    Download filling(*mortal, fmt::format("/slow/a?{}", i));
    EXPECT_TRUE(hit.ReadTo(1) && filling.ReadTo(1));
    mortal->Kill();
    ASSERT_TRUE(i == 9 || mortal->StartAndWaitReady().ok());
  }
  EXPECT_TRUE(Eventually(kDeadline, "only the living have links",
                         [&] { return Metric(*cache, "getfile_cached_links") == 2; }));
  AwaitFills(*cache);
  // One of them may have been whole before its proxy was killed.
  EXPECT_EQ(machine_.Ctl({"purge", "--prefix", "/slow"}).exit_code, 0);
  EXPECT_TRUE(Eventually(kDeadline, "no descriptor is left",
                         [&] { return cache->open_descriptors() <= descriptors; }));
  EXPECT_TRUE(Eventually(kDeadline, "nobody holds what was dropped",
                         [&] { return machine_.Status()["retired_bytes"] == 0; }));
  EXPECT_EQ(Http(*steady, "/a").Field("X-Cache"), "HIT");
}

TEST_F(CacheFaultsTest, MemoryThatNobodyUsesIsGivenBack) {
  const std::string content = Content(1'500'000);
  origin_.Write("a", content);
  const auto cache = machine_.Cache({"--memory", "16M"});
  const auto proxy = machine_.LinkedProxy(origin_.url());
  const auto idle = machine_.LinkedProxy(origin_.url());
  const std::size_t memfds = MemfdsOf(proxy->pid());
  EXPECT_GT(memfds, 0U);
  for (int i = 0; i < 40; ++i) {
    EXPECT_TRUE(Http(*proxy, fmt::format("/a?{}", i)).body == content);
    EXPECT_TRUE(Http(*idle, fmt::format("/a?{}", i)).body == content);
  }
  EXPECT_EQ(machine_.Ctl({"purge", "--prefix", "/"}).exit_code, 0);
  for (const DaemonProcess* const each : {proxy.get(), idle.get()}) {
    EXPECT_TRUE(Eventually(kDeadline, "only the index and the segments are mapped",
                           [&] { return MemfdsOf(each->pid()) <= memfds; }));
  }
  EXPECT_TRUE(Eventually(kDeadline, "the cache has been told",
                         [&] { return machine_.Status()["retired_bytes"] == 0; }));
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
