#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "tests/getfile/getfile_server.h"
#include "tests/harness/eventually.h"
#include "tests/harness/loopback_lease.h"
#include "tests/harness/raw_peer.h"
#include "tests/harness/temp_dir.h"

// What the server does when connections come in crowds: it has the kernel hold new ones back until
// they speak, for a second or so, and looks at those that were served at first sight again later,
// without a place in its epoll set.

namespace ds::getfile {
namespace {

using testing::Eventually;
using testing::LoopbackLease;
using testing::TempDir;
using End = RawPeer::End;

constexpr std::size_t kCrowd = 64;
constexpr const char* kOpen = "getfile_connections_open";
constexpr const char* kHeaderTimeouts = "getfile_timeouts_total{limit=\"header\"}";
constexpr const char* kProgressTimeouts = "getfile_timeouts_total{limit=\"progress\"}";

class GetfileServerCrowdTest : public ::testing::Test {
 protected:
  GetfileServerCrowdTest() {
    root_.Write("a", "served");
    root_.Write("large", Content(300'000));
  }

  GetfileServer Start(std::vector<std::string> flags) const {
    flags.insert(flags.end(), {"--root", root_.path(), "--metrics", "127.0.0.1:0", "--listen",
                               lease_.address(0) + ":0"});
    return GetfileServer(std::move(flags));
  }

  /// Peers that have connected and sent `request` before the server looks at any of them.
  static std::vector<RawPeer> ConnectAtOnce(GetfileServer& server, std::string_view request,
                                            const RawPeer::ConnectOptions& options = {}) {
    std::vector<RawPeer> crowd;
    server.process().Pause();
    for (std::size_t i = 0; i < kCrowd; ++i) {
      crowd.push_back(server.Connect(options));
      EXPECT_TRUE(crowd.back().Send(request));
    }
    server.process().Resume();
    return crowd;
  }

  static std::size_t HeldBack(const GetfileServer& server) {
    const auto sockets = TcpSocketsAt(server.port());
    return static_cast<std::size_t>(
        std::count_if(sockets.begin(), sockets.end(), [&](const TcpSocket& socket) {
          return socket.held_back && socket.local_host == server.host();
        }));
  }

  /// Silent peers that come right after a crowd, and that the kernel has not let through so far.
  static std::vector<RawPeer> ConnectHeldBack(GetfileServer& server) {
    std::vector<RawPeer> silent;
    EXPECT_TRUE(Eventually(kDeadline, "the kernel holds new connections back", [&] {
      silent.clear();
      for (RawPeer& peer : ConnectAtOnce(server, Get("/a"))) {
        EXPECT_THAT(peer.ReadToEnd(), Answers(Ok("served")));
      }
      for (std::size_t i = 0; i < kCrowd; ++i) silent.push_back(server.Connect());
      return HeldBack(server) == kCrowd;
    }));
    return silent;
  }

  /// That no connection is left in the server, nor in front of it, nor its descriptor.
  static void ExpectNothingIsLeft(GetfileServer& server, std::size_t descriptors_before) {
    constexpr std::size_t kFilesKeptOpen = 4;  // two, by each of two workers
    EXPECT_TRUE(Eventually(kDeadline, "no connection is left", [&] {
      return server.Metric(kOpen) == 0 && HeldBack(server) == 0 &&
             server.process().open_descriptors() <= descriptors_before + kFilesKeptOpen;
    }));
  }

  const LoopbackLease lease_{1};
  const TempDir root_;
};

// --- Held back ---

TEST_F(GetfileServerCrowdTest, SilentPeersThatWereHeldBackAreTimedOutLikeAnyOther) {
  GetfileServer server = Start({"--header-timeout", "0.3"});
  const std::size_t descriptors = server.process().open_descriptors();
  std::vector<RawPeer> silent = ConnectHeldBack(server);
  for (RawPeer& peer : silent) EXPECT_THAT(peer.ReadToEnd(), Answers(std::string()));
  EXPECT_GE(server.Metric(kHeaderTimeouts), kCrowd);
  ExpectNothingIsLeft(server, descriptors);
}

TEST_F(GetfileServerCrowdTest, ARequestIsAnsweredWhileItsConnectionIsHeldBack) {
  GetfileServer server = Start({});
  std::vector<RawPeer> silent = ConnectHeldBack(server);
  for (RawPeer& peer : silent) {
    ASSERT_TRUE(peer.Send(Get("/a")));
    EXPECT_THAT(peer.ReadToEnd(), Answers(Ok("served")));
  }
}

TEST_F(GetfileServerCrowdTest, ARequestThatComesLongAfterTheHandshakeIsAnswered) {
  GetfileServer server = Start({"--header-timeout", "3600"});
  std::vector<RawPeer> silent = ConnectHeldBack(server);
  ASSERT_TRUE(Eventually(kDeadline, "the kernel has let all of them through",
                         [&] { return HeldBack(server) == 0 && server.Metric(kOpen) >= kCrowd; }));
  for (RawPeer& peer : silent) {
    ASSERT_TRUE(peer.Send(Get("/a")));
    EXPECT_THAT(peer.ReadToEnd(), Answers(Ok("served")));
  }
}

TEST_F(GetfileServerCrowdTest, PeersThatLeaveWhileTheyAreHeldBackLeaveNothingBehind) {
  GetfileServer server = Start({"--header-timeout", "3600"});
  const std::size_t descriptors = server.process().open_descriptors();
  std::vector<RawPeer> silent = ConnectHeldBack(server);
  for (std::size_t i = 0; i < kCrowd; ++i) {
    if (i % 3 == 0) silent[i].Reset();
    if (i % 3 == 1) silent[i].Close();
    if (i % 3 == 2) silent[i].ShutdownWrite();
  }
  ExpectNothingIsLeft(server, descriptors);
}

TEST_F(GetfileServerCrowdTest, PeersThatAreHeldBackDoNotHoldUpTheEnd) {
  GetfileServer server = Start({"--header-timeout", "3600", "--drain-timeout", "3600"});
  std::vector<RawPeer> silent = ConnectHeldBack(server);
  EXPECT_EQ(server.process().Terminate(), 0);
}

TEST_F(GetfileServerCrowdTest, NobodyIsHeldBackOnceTheCrowdIsGone) {
  GetfileServer server = Start({"--header-timeout", "3600"});
  std::vector<RawPeer> silent = ConnectHeldBack(server);
  silent.clear();
  EXPECT_TRUE(Eventually(kDeadline, "a silent peer is let through at once", [&] {
    EXPECT_THAT(server.Exchange(Get("/a")), Answers(Ok("served")));
    const RawPeer alone = server.Connect();
    return HeldBack(server) == 0;
  }));
}

// --- Served at first sight ---

TEST_F(GetfileServerCrowdTest, PeersThatLeaveAfterTheirAnswerLeaveNothingBehind) {
  GetfileServer server = Start({"--timeout", "3600"});
  const std::size_t descriptors = server.process().open_descriptors();
  for (int round = 0; round < 4; ++round) {
    std::vector<RawPeer> crowd = ConnectAtOnce(server, Get(round % 2 == 0 ? "/a" : "/large"));
    for (std::size_t i = 0; i < kCrowd; ++i) {
      if (i % 4 == 0) crowd[i].Reset();
      if (i % 4 == 1) crowd[i].ReadToEnd();
      if (i % 4 == 2) crowd[i].ShutdownWrite();
    }
  }
  ExpectNothingIsLeft(server, descriptors);
}

TEST_F(GetfileServerCrowdTest, PeersThatNeitherReadNorLeaveAreClosedOnceAllIsAcknowledged) {
  GetfileServer server = Start({"--timeout", "3600"});
  const std::size_t descriptors = server.process().open_descriptors();
  std::vector<RawPeer> crowd = ConnectAtOnce(server, Get("/a"));
  ExpectNothingIsLeft(server, descriptors);
  EXPECT_EQ(server.Metric(kProgressTimeouts), 0);
  for (RawPeer& peer : crowd) EXPECT_THAT(peer.ReadToEnd(), Answers(Ok("served")));
}

TEST_F(GetfileServerCrowdTest, PeersThatNeitherReadNorLeaveAreResetOnceTheyAcknowledgeNothing) {
  GetfileServer server = Start({"--timeout", "0.5"});
  const std::size_t descriptors = server.process().open_descriptors();
  std::vector<RawPeer> crowd = ConnectAtOnce(server, Get("/large"), {.receive_buffer_bytes = 4096});
  ExpectNothingIsLeft(server, descriptors);
  EXPECT_EQ(server.Metric(kProgressTimeouts), kCrowd);
  EXPECT_EQ(server.Metric("getfile_answers_broken_total"), 0) << "they were sent to their end";
  for (RawPeer& peer : crowd) EXPECT_EQ(peer.ReadToEnd().end, End::kReset);
}

TEST_F(GetfileServerCrowdTest, PeersThatDoNotLeaveAfterTheirAnswerDoNotHoldUpTheEnd) {
  GetfileServer server = Start({"--drain-timeout", "3600"});
  std::vector<RawPeer> crowd = ConnectAtOnce(server, Get("/a"));
  EXPECT_EQ(server.process().Terminate(), 0);
  for (RawPeer& peer : crowd) EXPECT_THAT(peer.ReadToEnd(), Answers(Ok("served")));
}

}  // namespace
}  // namespace ds::getfile
