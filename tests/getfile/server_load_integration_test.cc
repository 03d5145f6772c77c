#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "common/base/check.h"
#include "tests/getfile/getfile_server.h"
#include "tests/harness/eventually.h"
#include "tests/harness/loopback_lease.h"
#include "tests/harness/raw_peer.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/sha256.h"
#include "tests/harness/temp_dir.h"

namespace ds::getfile {
namespace {

using testing::Eventually;
using ::testing::HasSubstr;
using testing::LoopbackLease;
using ::testing::Not;
using testing::RunTool;
using testing::TempDir;
using testing::ToolResult;
using End = RawPeer::End;

constexpr std::size_t kKiB = 1024;
constexpr std::size_t kMiB = 1024 * kKiB;
constexpr bool kSanitized = testing::kSlowdown > 1;

/// A folder of files of mixed sizes, with a workload and a list of digests.
class Site {
 public:
  explicit Site(int files) {
    constexpr std::size_t kSizes[] = {0,    1,    100,   1447,  1448,  4095,   4096,
                                      4097, 8192, 16384, 65535, 65536, 262144, 1048577};
    for (int i = 0; i < files; ++i) {
      const auto seed = static_cast<unsigned>(i);
      const std::string name = fmt::format("folder{}/file{}", i % 7, i);
      const std::string body = Content(kSizes[seed % std::size(kSizes)], seed);
      root_.Write(name, body);
      workload_ += "/" + name + "\n";
      digests_ += fmt::format("{}  {}\n", testing::Sha256Hex(body), name);
      names_.push_back(name);
    }
    lists_.Write("workload", workload_);
    lists_.Write("digests", digests_);
  }

  const TempDir& root() const { return root_; }
  const std::vector<std::string>& names() const { return names_; }

  /// Fetches with getfile-client into `output`; every file must arrive and have its digest.
  void Fetch(const GetfileServer& server, const TempDir& output, int requests,
             std::vector<std::string> flags) const {
    flags.insert(flags.end(), {"-s", server.host(), "-p", std::to_string(server.port()), "-w",
                               lists_.path("workload"), "-r", std::to_string(requests), "-o",
                               output.path(), "--verify", lists_.path("digests")});
    const ToolResult result =
        RunTool("getfile-client", flags, {.timeout = std::chrono::minutes(3)});
    EXPECT_EQ(result.exit_code, 0) << result.err.substr(0, 2000);
    EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), requests);
    EXPECT_THAT(result.out, Not(HasSubstr("FAILED")));
  }

 private:
  TempDir root_;
  TempDir lists_;
  std::string workload_;
  std::string digests_;
  std::vector<std::string> names_;
};

/// The threads of a process whose names begin with `prefix`.
int ThreadsNamed(pid_t pid, const std::string& prefix) {
  int count = 0;
  const std::string folder = fmt::format("/proc/{}/task", pid);
  for (const auto& thread : std::filesystem::directory_iterator(folder)) {
    std::ifstream comm(thread.path() / "comm");
    std::string name;
    std::getline(comm, name);
    if (name.starts_with(prefix)) ++count;
  }
  return count;
}

/// What the kernel holds for the connections of a server: sent or not, and not acknowledged.
std::uint64_t BytesInSendBuffers(std::uint16_t port) {
  std::uint64_t sum = 0;
  for (const TcpSocket& socket : TcpSocketsAt(port)) sum += socket.unacknowledged;
  return sum;
}

bool Readable(const RawPeer& peer) {
  pollfd entry{peer.fd(), POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1;
}

/// How many descriptors this process may have, after asking for as many as it can get.
std::size_t RaisedDescriptorLimit() {
  rlimit limit{};
  CHECK(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  CHECK(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  return limit.rlim_cur;
}

// --- Many that are in a hurry ---

TEST(GetfileServerLoadTest, ManyTransfersAtOnceArriveWhole) {
  const Site site(150);
  GetfileServer server({"--root", site.root().path(), "--metrics", "127.0.0.1:0"});
  const TempDir output;
  const int requests = kSanitized ? 600 : 3000;
  site.Fetch(server, output, requests, {"-t", "16"});
  site.Fetch(server, output, requests, {"-t", "16", "--keep-alive"});
  EXPECT_TRUE(
      server.Counts("getfile_requests_total{protocol=\"getfile\",status=\"OK\"}", 2 * requests));
  auto names = site.names();
  std::sort(names.begin(), names.end());
  EXPECT_EQ(FilesBelow(output.path()), names);
}

TEST(GetfileServerLoadTest, SeveralClientsAtOnceDoNotMixTheirFiles) {
  const Site site(60);
  const TempDir outputs[3];
  GetfileServer server({"--root", site.root().path()});
  std::vector<std::jthread> clients;
  for (const TempDir& output : outputs) {
    clients.emplace_back([&] {
      site.Fetch(server, output, kSanitized ? 200 : 1000, {"-t", "16"});
    });
  }
}

TEST(GetfileServerLoadTest, ManyTransfersOfAFewConnectionsFitTheSmallestSendBuffer) {
  const Site site(60);
  const TempDir output;
  GetfileServer server({"--root", site.root().path(), "--send-buffer-total", "1m"});
  site.Fetch(server, output, kSanitized ? 200 : 1000, {"-t", "16"});
}

// --- Those that leave in the middle ---

TEST(GetfileServerLoadTest, ClientsThatLeaveInTheMiddleLeaveNothingBehind) {
  constexpr int kRounds = 500;
  const LoopbackLease lease(1);
  const Site site(20);
  site.root().Write("large", Content(8 * kMiB));
  GetfileServer server({"--root", site.root().path(), "--listen", lease.address(0) + ":0"});
  const std::size_t before = server.process().open_descriptors();
  for (int i = 0; i < kRounds; ++i) {
    RawPeer peer = server.Connect({.receive_buffer_bytes = 4096});
    ASSERT_TRUE(peer.Send(i % 2 == 0 ? Get("/large") : GetKeepAlive("/large")));
    ASSERT_EQ(peer.Read(1000).end, End::kOpen);
    if (i % 3 == 0) peer.Reset();
  }
  // Each of the two workers keeps the file open that was asked for last.
  EXPECT_TRUE(Eventually(kDeadline, "the descriptors of all those connections are closed",
                         [&] { return server.process().open_descriptors() <= before + 2; }));
  const TempDir output;
  site.Fetch(server, output, 100, {"-t", "4"});
}

// --- Those that are slow ---

TEST(GetfileServerLoadTest, ThousandsOfSlowPeersHoldNoThreadAndLittleMemory) {
  constexpr std::size_t kServersOwn = 2000;  // what the server keeps for other things
  const std::size_t descriptors = RaisedDescriptorLimit();
  const std::size_t peers_wanted = kSanitized ? 2000 : 10000;
  const std::size_t peers_max = descriptors > 2 * kServersOwn ? descriptors - kServersOwn : 500;
  const std::size_t count = std::min(peers_wanted, peers_max);
  const LoopbackLease lease(1);
  const Site site(50);
  GetfileServer server({"--root", site.root().path(), "--metrics", "127.0.0.1:0",
                        "--header-timeout", "3600", "--listen", lease.address(0) + ":0"});
  const int threads = ThreadsNamed(server.process().pid(), "");
  ASSERT_EQ(ThreadsNamed(server.process().pid(), "worker-"), 2);

  std::vector<RawPeer> peers;
  peers.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    peers.push_back(server.Connect());
    ASSERT_TRUE(peers.back().Send("G"));
  }
  EXPECT_TRUE(Eventually(kDeadline, "all of them are connected", [&] {
    return server.Metric("getfile_connections_open") == static_cast<double>(count);
  }));

  const TempDir output;
  site.Fetch(server, output, 500, {"-t", "8"});
  // They send another byte, and others are still served.
  const std::string request = Get("/" + site.names()[1]);
  for (RawPeer& peer : peers) ASSERT_TRUE(peer.Send(request.substr(1, 1)));
  site.Fetch(server, output, 500, {"-t", "8"});
  EXPECT_EQ(ThreadsNamed(server.process().pid(), "worker-"), 2);
  EXPECT_EQ(ThreadsNamed(server.process().pid(), ""), threads);
  if (!kSanitized) {
    EXPECT_LE(server.process().resident_bytes(), 64 * kMiB);
  }
  EXPECT_EQ(server.Metric("getfile_connections_refused_total"), 0);

  // None of them was forgotten.
  for (std::size_t i = 0; i < count; i += 97) {
    ASSERT_TRUE(peers[i].Send(request.substr(2)));
    EXPECT_THAT(peers[i].ReadToEnd(), Answers(Ok(site.root().Read(site.names()[1]))));
  }
  // Thousands of closed connections would be remembered by the kernel for a minute.
  for (RawPeer& peer : peers) peer.Reset();
}

// --- Those that never read ---

TEST(GetfileServerLoadTest, PeersThatNeverReadCannotTakeMoreThanTheSendBufferTotal) {
  constexpr std::size_t kPeers = 1200;
  constexpr std::uint64_t kTotal = 16 * kMiB;
  constexpr std::uint64_t kFloor = 4 * kKiB;  // what every connection may hold, budget or not
  const Site site(30);
  site.root().Write("large", Content(4 * kMiB));
  GetfileServer server({"--root", site.root().path(), "--send-buffer-total", "16m", "--timeout",
                        "3600", "--drain-timeout", "0"});
  std::vector<RawPeer> peers;
  std::uint64_t most = 0;
  for (std::size_t i = 0; i < kPeers; ++i) {
    peers.push_back(server.Connect({.receive_buffer_bytes = 4096}));
    ASSERT_TRUE(peers.back().Send(Get("/large")));
    if (i % 100 == 99) most = std::max(most, BytesInSendBuffers(server.port()));
  }
  std::uint64_t now = 0;
  EXPECT_TRUE(Eventually(kDeadline, "every answer has begun and none goes on", [&] {
    const std::uint64_t earlier = now;
    now = BytesInSendBuffers(server.port());
    most = std::max(most, now);
    return std::all_of(peers.begin(), peers.end(), Readable) && now == earlier;
  }));
  RecordProperty("bytes_in_send_buffers", std::to_string(most));
  // Half of it for those that have shown nothing, and a floor each.
  EXPECT_LE(most, kTotal / 2 + kPeers * kFloor);
  // Without a budget it would be megabytes each.
  EXPECT_GT(most, kPeers * kKiB);

  const TempDir output;
  site.Fetch(server, output, 300, {"-t", "4"});
  RawPeer reader = server.Connect();
  ASSERT_TRUE(reader.Send(Get("/large")));
  EXPECT_THAT(reader.ReadToEnd(), Answers(Ok(Content(4 * kMiB))));
}

TEST(GetfileServerLoadTest, PeersThatNeverReadAreCutOffWithAResetAndCounted) {
  constexpr int kPeers = 100;
  const TempDir root;
  root.Write("large", Content(4 * kMiB));
  root.Write("small", "small");
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0", "--timeout", "1"});
  const std::string head = "GETFILE OK 4194304\r\n\r\n";
  std::vector<RawPeer> peers;
  for (int i = 0; i < kPeers; ++i) {
    peers.push_back(server.Connect({.receive_buffer_bytes = 4096}));
    ASSERT_TRUE(peers.back().Send(Get("/large")));
  }
  EXPECT_THAT(server.Exchange(Get("/small")), Answers(Ok("small")));
  EXPECT_TRUE(Eventually(kDeadline, "all of them are cut off and counted", [&] {
    return server.Metric("getfile_timeouts_total{limit=\"progress\"}") == kPeers;
  }));
  for (RawPeer& peer : peers) {
    const auto received = peer.ReadToEnd();
    EXPECT_EQ(received.end, End::kReset);
    EXPECT_LT(received.bytes.size(), 4 * kMiB);
  }
  EXPECT_TRUE(Eventually(kDeadline, "no connection is left",
                         [&] { return server.Metric("getfile_connections_open") == 0; }));
  EXPECT_EQ(server.Metric("getfile_answers_broken_total"), kPeers);
}

// --- Delayed lookups ---

TEST(GetfileServerLoadTest, DelayedLookupsHoldNoThread) {
  // Two workers that slept would need 400 s, far beyond any deadline here.
  constexpr std::size_t kRequests = 400;
  const TempDir root;
  root.Write("a", "late");
  GetfileServer server({"--root", root.path(), "-d", "2000000"});
  std::vector<RawPeer> peers;
  for (std::size_t i = 0; i < kRequests; ++i) {
    peers.push_back(server.Connect());
    ASSERT_TRUE(peers.back().Send(Get(i % 4 == 3 ? "/missing" : "/a")));
  }
  // What needs no lookup does not wait behind them.
  EXPECT_THAT(server.Exchange("nonsense"), Answers(kInvalid));
  for (std::size_t i = 0; i < kRequests; ++i) {
    EXPECT_THAT(peers[i].ReadToEnd(), Answers(i % 4 == 3 ? std::string(kNotFound) : Ok("late")));
  }
}

TEST(GetfileServerLoadTest, APeerThatLeavesDuringItsDelayHurtsNobody) {
  const TempDir root;
  root.Write("a", "late");
  GetfileServer server({"--root", root.path(), "-d", "100000"});
  for (int i = 0; i < 50; ++i) {
    RawPeer peer = server.Connect();
    ASSERT_TRUE(peer.Send(GetKeepAlive("/a")));
    if (i % 2 == 0) peer.Reset();
  }
  EXPECT_THAT(server.Exchange(GetKeepAlive("/a") + Get("/a")), Answers(Ok("late") + Ok("late")));
}

}  // namespace
}  // namespace ds::getfile
