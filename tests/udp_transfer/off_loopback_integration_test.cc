#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "tests/harness/eventually.h"
#include "tests/harness/own_network.h"
#include "tests/udp_transfer/foreign_classic.h"
#include "tests/udp_transfer/udp_server.h"

// What udp-server does for peers that are not on its machine.

namespace ds::udp_transfer {
namespace {

using testing::DatagramPeer;
using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::NetworkOfItsOwn;
using testing::SaysItIsThere;
using testing::SendAsForeignClient;
using testing::TempDir;

[[maybe_unused]] const auto* const kNetwork =
    ::testing::AddGlobalTestEnvironment(new NetworkOfItsOwn);

/// A server that others can reach, with `flags` besides.
class ReachableServer : public UdpServer {
 public:
  explicit ReachableServer(const std::vector<std::string>& flags) : UdpServer(WithAddress(flags)) {}

  std::string reachable_address() const {
    return fmt::format("{}:{}", NetworkOfItsOwn::kHost, port());
  }
  /// A peer on another machine.
  DatagramPeer Peer(int number = 1) const {
    return {NetworkOfItsOwn::kHost, port(), fmt::format("10.77.1.{}", number)};
  }
  double Refused(const std::string& reason) const {
    return Metric("udp_classic_starts_refused_total{reason=\"" + reason + "\"}");
  }

 private:
  static std::vector<std::string> WithAddress(std::vector<std::string> flags) {
    flags.insert(flags.end(), {"--listen", "0.0.0.0:0"});
    return flags;
  }
};

TEST(OffLoopbackTest, TheClassicProtocolHasToBeAskedFor) {
  const TempDir folder;
  const std::string source = folder.Write("source", "content");
  ReachableServer server({"--allow-insecure", "--no-sync"});
  DatagramPeer peer = server.Peer();
  for (const char* datagram : {"s | 0 | name | 1", "d | 1 | x", "a | 1", "garbage"}) {
    peer.Send(datagram);
  }
  EXPECT_TRUE(Eventually(kDeadline, "none of them is looked at", [&] {
    return server.Metric("udp_datagrams_refused_total{reason=\"classic_not_allowed\"}") == 4;
  }));
  EXPECT_EQ(server.Metric("udp_classic_sessions_started_total"), 0);
  const ToolResult refused =
      RunClient({server.reachable_address(), source, "classic", "--mode", "classic"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("malfunctioning"));
  EXPECT_EQ(Send(server.reachable_address(), source, "fast")["mode"], "fast");
  EXPECT_THAT(server.Files(), ElementsAre("fast"));
  // From its own machine it is spoken all the same.
  EXPECT_EQ(Send(server.address(), source, "here", {"--mode", "classic"})["mode"], "classic");
}

TEST(OffLoopbackTest, TheClassicProtocolIsSpokenToThoseWhoAsk) {
  ReachableServer server({"--allow-insecure", "--classic", "--no-sync"});
  const TempDir folder;
  const std::string content = Content(10'000);
  const std::string source = folder.Write("source", content);
  EXPECT_EQ(Send(server.reachable_address(), source, "ours", {"--mode", "classic"})["mode"],
            "classic");
  DatagramPeer peer = server.Peer();
  EXPECT_TRUE(SendAsForeignClient(peer, {.name = "theirs", .content = content}).done);
  EXPECT_TRUE(server.folder().Read("ours") == content);
  EXPECT_TRUE(server.folder().Read("theirs") == content);
}

TEST(OffLoopbackTest, WithAKeyOnlyThoseWhoHaveItAreServed) {
  const TempDir folder;
  const std::string key = folder.Write("key", "a key that is long enough\n");
  const std::string source = folder.Write("source", "content");
  ReachableServer server({"--key-file", key, "--no-sync"});
  DatagramPeer peer = server.Peer();
  peer.Send("s | 0 | name | 1");
  EXPECT_TRUE(Eventually(kDeadline, "the start is refused", [&] {
    return server.Metric("udp_datagrams_refused_total{reason=\"classic_not_allowed\"}") == 1;
  }));
  EXPECT_EQ(
      RunClient({server.reachable_address(), source, "no", "--timeout", "0.3", "--mode", "fast"})
          .exit_code,
      1);
  EXPECT_THAT(server.Files(), IsEmpty());
  Send(server.reachable_address(), source, "name", {"--key-file", key});
  EXPECT_THAT(server.Files(), ElementsAre("name"));
}

TEST(OffLoopbackTest, OneAddressCannotTakeAllClassicSessions) {
  ReachableServer server({"--allow-insecure", "--classic", "--max-classic-sessions-per-source", "2",
                          "--drain-timeout", "0"});
  DatagramPeer first = server.Peer();
  DatagramPeer second = server.Peer();
  DatagramPeer third = server.Peer();
  EXPECT_EQ(first.Ask("s | 0 | a | 1"), "a | 1 | 1024");
  EXPECT_EQ(second.Ask("s | 0 | b | 1"), "a | 1 | 1024");
  EXPECT_TRUE(SaysItIsThere(first));
  third.Send("s | 0 | c | 1");
  EXPECT_TRUE(Eventually(kDeadline, "the third of one address is refused",
                         [&] { return server.Refused("sessions_of_source") == 1; }));
  EXPECT_TRUE(SaysItIsThere(first));
  DatagramPeer other = server.Peer(2);
  EXPECT_EQ(other.Ask("s | 0 | d | 1"), "a | 1 | 1024");
  EXPECT_TRUE(SaysItIsThere(second));
  EXPECT_EQ(first.Ask("d | 1 | x"), "a | 2");
  EXPECT_EQ(third.Ask("s | 0 | c | 1"), "a | 1 | 1024");  // there is room again
}

TEST(OffLoopbackTest, OneAddressCannotTakeAllClassicBytes) {
  ReachableServer server({"--allow-insecure", "--classic", "--max-classic-file", "1k",
                          "--max-classic-total-per-source", "1500", "--drain-timeout", "0"});
  DatagramPeer first = server.Peer();
  DatagramPeer second = server.Peer();
  EXPECT_EQ(first.Ask("s | 0 | a | 1000"), "a | 1 | 1024");
  second.Send("s | 0 | b | 1000");
  EXPECT_TRUE(Eventually(kDeadline, "what one address announces is bounded",
                         [&] { return server.Refused("size_of_source") == 1; }));
  EXPECT_EQ(second.Ask("s | 0 | c | 500"), "a | 1 | 1024");
  DatagramPeer other = server.Peer(2);
  EXPECT_EQ(other.Ask("s | 0 | d | 1000"), "a | 1 | 1024");
}

TEST(OffLoopbackTest, NoAnswerIsLargerThanWhatItAnswers) {
  ReachableServer server({"--allow-insecure", "--classic", "--buf-size", "65507"});
  DatagramPeer peer = server.Peer();
  const std::string start = "s | 9 | f | 0";
  // "a | 10 | 65507" would be an amplifier of one byte.
  const auto answer = peer.Ask(start);
  ASSERT_EQ(answer, "a | 10 | 9999");
  EXPECT_LE(answer->size(), start.size());
  DatagramPeer longer = server.Peer();
  EXPECT_EQ(longer.Ask("s | 9 | ff | 0"), "a | 10 | 65507");
}

}  // namespace
}  // namespace ds::udp_transfer
