#include "getfile/server/server.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/net/endpoint.h"
#include "common/net/socket.h"
#include "tests/harness/deadline.h"
#include "tests/harness/eventually.h"
#include "tests/harness/raw_peer.h"
#include "tests/harness/temp_dir.h"

namespace ds::getfile {
namespace {

using testing::Eventually;
using testing::kDeadline;
using testing::RawPeer;
using testing::TempDir;

constexpr std::uint64_t kMiB = 1U << 20U;

/// A server of one worker in this process, so that a test can look at both ends of a connection.
class SendBufferTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kTotal = 64 * kMiB;

  SendBufferTest() {
    CHECK(std::signal(SIGPIPE, SIG_IGN) != SIG_ERR);  // as every daemon does
    CHECK(::truncate(root_.Write("large", "").c_str(), std::int64_t{1} << 30U) == 0);
    ServerOptions options;
    options.front.threads = 1;
    options.root = root_.path();
    options.front.timeout_s = 3600;
    options.front.send_buffer_total = kTotal;
    auto started = Server::Start(
        options,
        []() -> absl::StatusOr<std::vector<net::Listener>> {
          ASSIGN_OR_RETURN(const auto endpoints, net::Endpoint::Resolve({"127.0.0.1", 0}));
          ASSIGN_OR_RETURN(net::Listener listener, net::ListenTcp(endpoints.front()));
          std::vector<net::Listener> listeners;
          listeners.push_back(std::move(listener));
          return listeners;
        },
        &metrics_);
    CHECK(started.ok(), Message(started.status()));
    port_ = started->listen.front().port();
    service_ = std::move(started->service);
  }

  /// Asks for the large file and has read its beginning.
  RawPeer Ask() const {
    auto peer = RawPeer::Connect("127.0.0.1", port_);
    CHECK(peer.ok(), Message(peer.status()));
    CHECK(peer->Send("GETFILE GET /large\r\n\r\n"));
    CHECK(peer->Read(100).bytes.size() == 100);
    return std::move(peer).value();
  }

  /// The server's end of the connection.
  int ServersEnd(const RawPeer& peer) const {
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      const int fd = std::stoi(entry.path().filename().string());
      sockaddr_in local{};
      sockaddr_in remote{};
      socklen_t local_length = sizeof local;
      socklen_t remote_length = sizeof remote;
      if (::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &local_length) == 0 &&
          ::getpeername(fd, reinterpret_cast<sockaddr*>(&remote), &remote_length) == 0 &&
          ntohs(local.sin_port) == port_ && ntohs(remote.sin_port) == peer.local_port()) {
        return fd;
      }
    }
    CHECK(false, "the server has closed it");
  }
  /// What the server lets the kernel hold unsent for this peer.
  std::uint64_t Allowance(const RawPeer& peer) const {
    unsigned bytes = 0;
    socklen_t length = sizeof bytes;
    CHECK(::getsockopt(ServersEnd(peer), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, &length) == 0);
    return bytes;
  }
  std::uint64_t Queued(const RawPeer& peer) const {
    return net::UnacknowledgedBytes(ServersEnd(peer));
  }

  const TempDir root_;
  daemon::Metrics metrics_;
  std::unique_ptr<daemon::Service> service_;
  std::uint16_t port_ = 0;
};

TEST_F(SendBufferTest, PeersThatStopReadingAreShrunkOnceTheBudgetIsTight) {
  const std::uint64_t floor = SendBudget(kTotal, FrontOptions().connections_max).floor();
  // Peers that read earn a large allowance; then they stop, and keep what they have. There is room
  // for each of them: in a tight budget nobody earns anything.
  std::vector<RawPeer> peers;
  const auto queued = [&] {
    std::uint64_t sum = 0;
    for (const RawPeer& peer : peers) sum += Queued(peer);
    return sum;
  };
  while (queued() <= kTotal / 2 - 2 * SendBudget::kAllowanceMax) {
    ASSERT_LT(peers.size(), 64U) << "the budget does not fill: " << queued();
    peers.push_back(Ask());
    ASSERT_TRUE(Eventually(kDeadline, "a peer that reads has a large allowance", [&] {
      peers.back().Read(kMiB);
      return Allowance(peers.back()) >= kMiB;
    }));
    std::uint64_t now = 0;
    ASSERT_TRUE(Eventually(kDeadline, "it has stopped, and its buffer is full", [&] {
      const std::uint64_t earlier = now;
      now = Queued(peers.back());
      return now > 0 && now == earlier;
    }));
  }
  EXPECT_GE(Allowance(peers.front()), kMiB);

  // Others take the rest of that half. Who finds the budget tight then shrinks those that have been
  // blocked for a while.
  std::vector<RawPeer> others;
  ASSERT_TRUE(Eventually(kDeadline, "all of them are shrunk", [&] {
    others.push_back(Ask());
    return std::all_of(peers.begin(), peers.end(),
                       [&](const RawPeer& peer) { return Allowance(peer) == floor; });
  }));
  for (const RawPeer& other : others) EXPECT_LE(Allowance(other), kMiB);

  // What they hold shrinks as they read; it is not filled up again.
  RawPeer& first =
      *std::max_element(peers.begin(), peers.end(),
                        [&](const RawPeer& a, const RawPeer& b) { return Queued(a) < Queued(b); });
  const std::uint64_t full = Queued(first);
  constexpr std::uint64_t kReceiveBufferMax = 16 * kMiB;
  for (std::uint64_t bytes = 0; Queued(first) > full / 2; bytes += 4096) {
    ASSERT_LT(bytes, full + kReceiveBufferMax) << "it is filled up again and again";
    ASSERT_EQ(first.Read(4096).bytes.size(), 4096U);
  }
  others.push_back(Ask());  // the worker has had its turn
  EXPECT_LE(Queued(first), full / 2);
  // And who reads on is served on.
  EXPECT_EQ(first.Read(64 * kMiB).bytes, std::string(64 * kMiB, '\0'));
}

}  // namespace
}  // namespace ds::getfile
