#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/base/time.h"
#include "tests/harness/eventually.h"
#include "tests/udp_transfer/foreign_classic.h"
#include "tests/udp_transfer/udp_proxy.h"
#include "tests/udp_transfer/udp_server.h"

// Fast mode with and without a key, on a network that does everything wrong.

namespace ds::udp_transfer {
namespace {

using testing::DatagramPeer;
using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TempDir;
using testing::ToolProcess;
using Way = UdpProxy::Way;

namespace stdfs = std::filesystem;

std::string WriteKey(const TempDir& folder, const std::string& name, const std::string& key) {
  std::string path = folder.Write(name, key + "\n");
  CHECK(::chmod(path.c_str(), 0600) == 0);
  return path;
}

// --- Keys ---

TEST(FastModeKeyTest, TheRightKeyTransfersAndWithoutItNobodyGetsIn) {
  const TempDir folder;
  const std::string right = WriteKey(folder, "right", "a key that is long enough");
  const std::string wrong = WriteKey(folder, "wrong", "another key, long enough");
  UdpServer server({"--key-file", right});
  const std::string content = Content(5 * kMiB);
  const std::string source = folder.Write("source", content);
  Send(server.address(), source, "name", {"--key-file", right});
  EXPECT_TRUE(server.folder().Read("name") == content);
  const double cookies = server.Metric("udp_fast_cookies_total");
  EXPECT_GE(cookies, 1);

  const ToolResult other =
      RunClient({server.address(), source, "other", "--key-file", wrong, "--timeout", "0.3"});
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(other.err, HasSubstr("same key"));
  const ToolResult none =
      RunClient({server.address(), source, "none", "--mode", "fast", "--timeout", "0.3"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(server.Files(), ElementsAre("name"));
  EXPECT_TRUE(Eventually(kDeadline, "both were refused", [&] {
    return server.Metric("udp_fast_refused_total{reason=\"tag\"}") >= 2;
  }));
  EXPECT_EQ(server.Metric("udp_fast_cookies_total"), cookies);
}

TEST(FastModeKeyTest, AClientWithAKeyTrustsNoServerWithoutIt) {
  const TempDir folder;
  const std::string key = WriteKey(folder, "key", "a key that is long enough");
  UdpServer server;
  const ToolResult result = RunClient({server.address(), folder.Write("source", "secret"), "name",
                                       "--key-file", key, "--timeout", "0.3"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(server.Files(), IsEmpty());
}

TEST(FastModeKeyTest, NothingOfTheContentIsReadableOnTheWay) {
  const TempDir folder;
  const std::string key = WriteKey(folder, "key", "a key that is long enough");
  UdpServer server({"--key-file", key});
  std::atomic<int> readable{0};
  UdpProxy proxy(server.port(), [&](Way way, const std::string& datagram) {
    if (datagram.find("SECRET") != std::string::npos) ++readable;
    return UdpProxy::PassOn(way, datagram);
  });
  std::string content;
  while (content.size() < kMiB) content += "SECRET";
  Send(Address(proxy.port()), folder.Write("source", content), "SECRET", {"--key-file", key});
  EXPECT_TRUE(server.folder().Read("SECRET") == content);
  EXPECT_EQ(readable, 0);
}

// --- A bad network ---

class FastModeNetworkTest : public ::testing::TestWithParam<bool> {
 protected:
  FastModeNetworkTest() {
    if (!GetParam()) return;
    flags_ = {"--key-file", WriteKey(folder_, "key", "a key that is long enough")};
  }
  TempDir folder_;
  std::vector<std::string> flags_;
};
INSTANTIATE_TEST_SUITE_P(Key, FastModeNetworkTest, ::testing::Bool());

TEST_P(FastModeNetworkTest, FlippedCutLostRepeatedAndSwappedDatagramsDoNoHarm) {
  UdpServer server(flags_);
  Rng rng(7);
  std::string held;
  UdpProxy proxy(server.port(), [&](Way way, const std::string& datagram) {
    std::vector<std::string> out = {datagram};
    switch (rng.Below(40)) {
      case 0:
        FlipBit(&out[0], rng.Below(8 * datagram.size()));
        break;
      case 1:
        out[0].resize(rng.Below(datagram.size()));
        break;
      case 2:
        out.push_back(datagram);
        break;
      case 3:
        out.clear();
        break;
      case 4:
        if (way == Way::kToServer) {
          out = {};
          if (!held.empty()) out.push_back(held);
          held = datagram;
        }
        break;
      default:
        break;
    }
    return out;
  });
  const std::string content = Content(20 * kMiB);
  std::vector<std::string> more = flags_;
  more.insert(more.end(), {"--mode", "fast"});
  const auto result = Send(Address(proxy.port()), folder_.Write("source", content), "name", more);
  EXPECT_GT(result["retransmitted_bytes"], 0);
  EXPECT_TRUE(server.folder().Read("name") == content);
  EXPECT_GT(server.Metric("udp_fast_refused_total{reason=\"seal\"}"), 0);
}

TEST_P(FastModeNetworkTest, ARecordedTransferPlayedAgainStoresNothing) {
  UdpServer server(flags_);
  std::mutex mutex;
  std::vector<std::string> recorded;
  UdpProxy proxy(server.port(), [&](Way way, const std::string& datagram) {
    const std::lock_guard lock(mutex);
    if (way == Way::kToServer) recorded.push_back(datagram);
    return UdpProxy::PassOn(way, datagram);
  });
  std::vector<std::string> more = flags_;
  more.insert(more.end(), {"--mode", "fast"});
  Send(Address(proxy.port()), folder_.Write("source", Content(kMiB)), "name", more);
  ASSERT_TRUE(Eventually(kDeadline, "the connection has ended",
                         [&] { return server.Metric("udp_fast_sessions") == 0; }));
  ASSERT_TRUE(stdfs::remove(server.folder().path("name")));
  DatagramPeer attacker("127.0.0.1", server.port());
  const std::lock_guard lock(mutex);
  ASSERT_THAT(recorded, ::testing::SizeIs(::testing::Gt(10U)));
  for (const std::string& datagram : recorded) attacker.Send(datagram);
  ASSERT_TRUE(Eventually(kDeadline, "the cookies are refused", [&] {
    return server.Metric("udp_fast_refused_total{reason=\"cookie\"}") >= 1;
  }));
  EXPECT_EQ(server.Metric("udp_fast_sessions_begun_total"), 1);
  EXPECT_THAT(server.Files(), IsEmpty());
}

TEST_P(FastModeNetworkTest, AnOutageRightBehindTheCookieIsSurvived) {
  UdpServer server(flags_);
  std::optional<TimePoint> first;
  UdpProxy proxy(server.port(), [&](Way way, const std::string& datagram) {
    const TimePoint now = std::chrono::steady_clock::now();
    if (IsPacket(datagram) && !first) first = now;
    if (IsPacket(datagram) && now - *first < std::chrono::seconds(1)) {
      return std::vector<std::string>();
    }
    return UdpProxy::PassOn(way, datagram);
  });
  std::vector<std::string> more = flags_;
  more.insert(more.end(), {"--mode", "fast"});
  Send(Address(proxy.port()), folder_.Write("source", "content"), "name", more);
  EXPECT_EQ(server.folder().Read("name"), "content");
}

TEST_P(FastModeNetworkTest, ARefusalUsesNoPacketNumberOfTheConnection) {
  std::vector<std::string> flags = flags_;
  flags.insert(flags.end(), {"--max-sessions", "1"});
  UdpServer server(flags);
  const std::string big = folder_.Write("big", Content(kHeldSourceBytes));
  HeldClient first(server, big, flags_);
  ASSERT_TRUE(first.Start());

  // The second client's refusals are lost until the first has gone: then its initial, sent again,
  // begins a connection under the same keys.
  std::mutex mutex;
  std::vector<std::string> refusals;
  UdpProxy proxy(server.port(), [&](Way way, const std::string& datagram) {
    const std::lock_guard lock(mutex);
    const bool cookie = datagram.front() == '\x80';
    if (way == Way::kToClient && !cookie && server.Metric("udp_fast_sessions_begun_total") < 2) {
      refusals.push_back(datagram);
      return std::vector<std::string>();
    }
    return UdpProxy::PassOn(way, datagram);
  });
  std::vector<std::string> arguments = {Address(proxy.port()),
                                        folder_.Write("source", "x"),
                                        "second",
                                        "--mode",
                                        "fast",
                                        "--idle-timeout",
                                        "120"};
  arguments.insert(arguments.end(), flags_.begin(), flags_.end());
  ToolProcess second("udp-client", arguments);
  ASSERT_TRUE(second.Start().ok());
  ASSERT_TRUE(Eventually(kDeadline, "refused twice", [&] {
    const std::lock_guard lock(mutex);
    return refusals.size() >= 2;
  }));
  first.LetGo();
  EXPECT_EQ(first.Wait().exit_code, 0);
  const ToolResult result = second.Wait();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const std::lock_guard lock(mutex);
  for (const std::string& refusal : refusals) {
    EXPECT_EQ(refusal.front(), '\xC0') << "a packet of the connection";
    EXPECT_EQ(refusal, refusals.front());
  }
}

TEST_P(FastModeNetworkTest, AClientWhoseAddressChangesGoesOn) {
  UdpServer server(flags_);
  const std::string content = Content(kHeldSourceBytes);
  HeldClient client(server, folder_.Write("source", content), flags_);
  ASSERT_TRUE(client.Start());
  client.proxy().ChangeAddresses();
  client.LetGo();
  ASSERT_TRUE(Eventually(kDeadline, "the connection has moved",
                         [&] { return server.Metric("udp_fast_moves_total") >= 1; }));
  EXPECT_EQ(client.Wait().exit_code, 0);
  EXPECT_TRUE(server.folder().Read("big") == content);
  EXPECT_EQ(server.Metric("udp_fast_sessions_begun_total"), 1);
}

TEST_P(FastModeNetworkTest, HellosCostTheServerNoStateAndAreNotAmplified) {
  UdpServer server(flags_);
  std::mutex mutex;
  std::string hello;
  UdpProxy proxy(server.port(), [&](Way way, const std::string& datagram) {
    const std::lock_guard lock(mutex);
    if (way == Way::kToServer && datagram[0] == 'f') hello = datagram;
    return UdpProxy::PassOn(way, datagram);
  });
  std::vector<std::string> more = flags_;
  more.insert(more.end(), {"--mode", "fast"});
  Send(Address(proxy.port()), folder_.Write("source", "x"), "name", more);
  const std::lock_guard lock(mutex);
  ASSERT_EQ(hello.size(), 1200U);
  ASSERT_TRUE(Eventually(kDeadline, "the connection has ended",
                         [&] { return server.Metric("udp_fast_sessions") == 0; }));
  std::uint64_t resident = 0;
  for (int i = 0; i < 1000; ++i) {
    if (i == 100) {  // its threads have what they need
      for (int page = 0; page < 10; ++page) server.Metric("udp_fast_sessions");
      resident = server.process().resident_bytes();
    }
    DatagramPeer peer("127.0.0.1", server.port());
    const auto answer = peer.Ask(hello);
    ASSERT_TRUE(answer.has_value());
    ASSERT_LE(answer->size(), hello.size());
    // The cookie of somebody else's address is worth nothing, as is one that was made up.
    if (i % 100 == 0) {
      std::string initial = "\x90" + answer->substr(2, 8) + std::string(4, '\0') +
                            std::string(16, 'c') + answer->substr(18, 40) + std::string(100, '\0');
      peer.Send(initial);
    }
  }
  EXPECT_TRUE(Eventually(kDeadline, "false cookies are counted", [&] {
    return server.Metric("udp_fast_refused_total{reason=\"cookie\"}") == 10;
  }));
  EXPECT_EQ(server.Metric("udp_fast_sessions"), 0);
  EXPECT_EQ(server.Metric("udp_fast_buffer_bytes"), 0);
  EXPECT_EQ(server.Metric("udp_fast_sessions_begun_total"), 1);
  if (testing::kSlowdown == 1) {  // a sanitizer keeps what was freed
    EXPECT_LT(server.process().resident_bytes(), resident + kMiB);
  }
}

}  // namespace
}  // namespace ds::udp_transfer
