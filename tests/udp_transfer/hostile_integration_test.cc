#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <mutex>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "tests/harness/eventually.h"
#include "tests/udp_transfer/foreign_classic.h"
#include "tests/udp_transfer/udp_proxy.h"
#include "tests/udp_transfer/udp_server.h"

// Peers that mean harm, and what becomes of those that do not meanwhile.

namespace ds::udp_transfer {
namespace {

using testing::DatagramPeer;
using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::SizeIs;
using testing::TempDir;
using testing::ToolProcess;
using Way = UdpProxy::Way;

/// Without a key, and with one.
class HostilePeerTest : public ::testing::TestWithParam<bool> {
 protected:
  HostilePeerTest() {
    const std::string key = folder_.Write("key", "a key that is long enough\n");
    EXPECT_EQ(::chmod(key.c_str(), 0600), 0);
    if (GetParam()) flags_ = {"--key-file", key};
  }

  std::vector<std::string> WithFlags(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), flags_.begin(), flags_.end());
    return arguments;
  }

  /// What a client of `server` says while it stores "recorded".
  std::vector<std::string> Record(const UdpServer& server, std::size_t bytes) const {
    std::mutex mutex;
    std::vector<std::string> said;
    UdpProxy proxy(server.port(), [&](Way way, const std::string& datagram) {
      const std::lock_guard lock(mutex);
      if (way == Way::kToServer) said.push_back(datagram);
      return UdpProxy::PassOn(way, datagram);
    });
    Send(Address(proxy.port()), folder_.Write("recorded", Content(bytes)), "recorded",
         WithFlags({"--mode", "fast"}));
    EXPECT_TRUE(Eventually(kDeadline, "the connection has ended",
                           [&] { return server.Metric("udp_fast_sessions") == 0; }));
    const std::lock_guard lock(mutex);
    return said;
  }

  const TempDir folder_;
  std::vector<std::string> flags_;
};
INSTANTIATE_TEST_SUITE_P(Key, HostilePeerTest, ::testing::Bool());

TEST_P(HostilePeerTest, AHelloThatIsNotWholeIsAnsweredBySilence) {
  UdpServer server(flags_);
  const std::string hello = Record(server, 1).front();
  ASSERT_THAT(hello, SizeIs(1200));
  DatagramPeer peer("127.0.0.1", server.port());
  const double cookies = server.Metric("udp_fast_cookies_total");
  // Without a key, the tag only finds damage; but nobody can want to be answered what he did not
  // say.
  for (std::size_t bit = 0; bit < hello.size() * 8; bit += 3) {
    std::string changed = hello;
    FlipBit(&changed, bit);
    peer.Send(changed);
    // The right one between them is answered: they were not just lost.
    if (bit % 90 == 0) {
      const auto answer = peer.Ask(hello);
      ASSERT_TRUE(answer.has_value()) << bit;
      EXPECT_EQ(answer->front(), '\x80');
    }
  }
  for (std::size_t size = 0; size < hello.size(); size += 7) {
    peer.Send(hello.substr(0, size));
    if (size % 70 == 0) {
      ASSERT_TRUE(peer.Ask(hello).has_value()) << size;
    }
  }
  peer.Send(hello + "x");
  ASSERT_TRUE(peer.Ask(hello).has_value());
  const int asked = 107 + 18 + 1;
  EXPECT_TRUE(Eventually(kDeadline, "all of them are counted", [&] {
    return server.Metric("udp_fast_cookies_total") >= cookies + asked;
  }));
  EXPECT_EQ(server.Metric("udp_fast_cookies_total"), cookies + asked);
  EXPECT_EQ(server.Metric("udp_fast_sessions_begun_total"), 1);
}

TEST_P(HostilePeerTest, AFloodOfWhatIsOverheardAndChangedDisturbsNoTransfer) {
  UdpServer server(flags_);
  std::mutex mutex;
  std::vector<std::string> said;
  UdpProxy proxy(server.port(), [&](Way way, const std::string& datagram) {
    const std::lock_guard lock(mutex);
    if (way == Way::kToServer) said.push_back(datagram);
    return UdpProxy::PassOn(way, datagram);
  });
  // The transfer does not end before the flood has come.
  proxy.PassNoMoreThan(8 * kMiB);
  const std::string content = Content(20 * kMiB);
  ToolProcess client("udp-client",
                     WithFlags({Address(proxy.port()), folder_.Write("source", content), "name",
                                "--mode", "fast", "--rate-limit", "200"}));
  ASSERT_TRUE(client.Start().ok());
  ASSERT_TRUE(Eventually(kDeadline, "there is something to overhear", [&] {
    const std::lock_guard lock(mutex);
    return said.size() > 50;
  }));
  Rng rng(3);
  std::vector<DatagramPeer> peers;
  for (int i = 0; i < 20; ++i) peers.emplace_back("127.0.0.1", server.port());
  const auto overheard = [&] {
    const std::lock_guard lock(mutex);
    return said[rng.Below(said.size())];
  };
  const std::string hello = [&] {
    const std::lock_guard lock(mutex);
    return said.front();
  }();
  std::size_t sent = 0;
  while (client.running()) {
    if (sent == 400) proxy.PassAgain();
    for (int i = 0; i < 20; ++i, ++sent) {
      std::string datagram = overheard();
      switch (rng.Below(4)) {
        case 0:
          FlipBit(&datagram, rng.Below(8 * datagram.size()));
          break;
        case 1:
          datagram.resize(rng.Below(datagram.size()));
          break;
        case 2: {
          const std::string other = overheard();
          datagram.resize(rng.Below(datagram.size()));
          datagram += other.substr(rng.Below(other.size()));
          break;
        }
        default:
          break;  // as it was
      }
      peers[rng.Below(peers.size())].Send(datagram);
    }
    peers.front().Ask(hello, std::chrono::milliseconds(50));  // at the server's pace
  }
  const ToolResult result = client.Wait();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_GE(sent, 400U);
  EXPECT_TRUE(server.folder().Read("name") == content);
  EXPECT_THAT(server.Files(), ElementsAre("name"));
  EXPECT_EQ(server.Metric("udp_fast_sessions_begun_total"), 1);
  EXPECT_EQ(server.Metric("udp_fast_moves_total"), 0);
  EXPECT_GT(server.Metric("udp_fast_refused_total{reason=\"address\"}"), 0);
}

TEST_P(HostilePeerTest, AFloodOfFalseHellosCostsNoMemoryAndKeepsNobodyOut) {
  UdpServer server(flags_);
  const std::string hello = Record(server, 1).front();
  const std::uint64_t resident = server.process().resident_bytes();
  const double begun = server.Metric("udp_fast_sessions_begun_total");
  const std::string content = Content(20 * kMiB, 2);
  ToolProcess client("udp-client", WithFlags({server.address(), folder_.Write("source", content),
                                              "name", "--mode", "fast", "--rate-limit", "200"}));
  ASSERT_TRUE(client.Start().ok());
  Rng rng(5);
  DatagramPeer peer("127.0.0.1", server.port());
  while (client.running()) {
    for (int i = 0; i < 100; ++i) {
      std::string false_hello = hello;
      // All of its fields are other ones, behind the separator and the versions.
      for (std::size_t at = 12; at < 92; ++at) false_hello[at] = "0123456789abcdef"[rng.Below(16)];
      peer.Send(false_hello);
    }
    peer.Ask(hello, std::chrono::milliseconds(50));  // at the server's pace
  }
  const ToolResult result = client.Wait();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(server.folder().Read("name") == content);
  EXPECT_EQ(server.Metric("udp_fast_sessions_begun_total"), begun + 1);
  EXPECT_TRUE(Eventually(kDeadline, "all memory is given back",
                         [&] { return server.Metric("udp_fast_buffer_bytes") == 0; }));
  if (testing::kSlowdown == 1) {  // a sanitizer keeps what was freed
    EXPECT_LT(server.process().resident_bytes(), resident + 48 * kMiB);
  }
}

TEST(HostileClassicPeerTest, GarbageBetweenTheAcksIsNoAck) {
  UdpServer server({"--no-sync"});
  UdpProxy proxy(server.port(), [](Way way, const std::string& datagram) {
    if (way == Way::kToServer) return UdpProxy::PassOn(way, datagram);
    return std::vector<std::string>{"",
                                    "a",
                                    "a | ",
                                    "a | 999999999999999999999999",
                                    "a | 7 | 8 | 9",
                                    "a | 0",
                                    "a | 99",
                                    "d | 1 | x",
                                    "\x80\x01",
                                    std::string(2000, 'a'),
                                    datagram,
                                    datagram};
  });
  const TempDir folder;
  const std::string content = Content(50'000);
  Send(Address(proxy.port()), folder.Write("source", content), "name", {"--mode", "classic"});
  EXPECT_TRUE(server.folder().Read("name") == content);
}

TEST(HostileClassicPeerTest, ALossyNetworkDeliversWholeFilesToAClassicClient) {
  UdpServer server({"--buf-size", "1400", "--no-sync"});
  Rng rng(11);
  std::string old;
  UdpProxy proxy(server.port(), [&](Way /*way*/, const std::string& datagram) {
    std::vector<std::string> out = {datagram};
    switch (rng.Below(60)) {
      case 0:
        out.clear();
        break;
      case 1:
        out.push_back(datagram);
        break;
      case 2:
        out.insert(out.begin(), old);
        break;
      default:
        break;
    }
    old = datagram;
    return out;
  });
  const TempDir folder;
  const std::string content = Content(100'000);
  Send(Address(proxy.port()), folder.Write("source", content), "name", {"--mode", "classic"});
  EXPECT_TRUE(server.folder().Read("name") == content);
}

TEST(HostileClassicPeerTest, AnotherAddressCannotTouchASession) {
  UdpServer server;
  DatagramPeer peer("127.0.0.1", server.port());
  EXPECT_EQ(peer.Ask("s | 0 | name | 8"), "a | 1 | 1024");
  DatagramPeer other("127.0.0.1", server.port());
  other.Send("d | 1 | evil");
  EXPECT_TRUE(Eventually(kDeadline, "it belongs to no session", [&] {
    return server.Metric("udp_classic_datagrams_ignored_total{reason=\"no_session\"}") == 1;
  }));
  EXPECT_EQ(peer.Ask("d | 1 | half"), "a | 2");
  EXPECT_EQ(peer.Ask("d | 2 | full"), "a | 3");
  EXPECT_EQ(server.folder().Read("name"), "halffull");
  EXPECT_THAT(server.Files(), ElementsAre("name"));
}

}  // namespace
}  // namespace ds::udp_transfer
