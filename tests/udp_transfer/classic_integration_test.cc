#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/harness/eventually.h"
#include "tests/harness/loopback_lease.h"
#include "tests/udp_transfer/foreign_classic.h"
#include "tests/udp_transfer/udp_proxy.h"
#include "tests/udp_transfer/udp_server.h"

// The classic protocol between the built programs and peers that share no code with them.

namespace ds::udp_transfer {
namespace {

using testing::DatagramPeer;
using ::testing::ElementsAre;
using testing::Eventually;
using testing::ForeignClassicServer;
using testing::ForeignResult;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::RefusingPort;
using testing::SaysItIsThere;
using testing::SendAsForeignClient;
using testing::TempDir;
using testing::ToolProcess;
using Way = UdpProxy::Way;

std::string Separators(std::size_t size) {
  std::string content(size, '\0');
  for (std::size_t i = 0; i < size; ++i) content[i] = " | "[i % 3];
  return content;
}

/// Sizes around what one and two datagrams hold, and contents that look like messages.
std::vector<std::string> Contents() {
  std::vector<std::string> contents;
  for (const std::size_t size :
       std::vector<std::size_t>{0, 1, 1015, 1016, 1017, 2031, 2032, 2033, 100'000}) {
    contents.push_back(Content(size));
  }
  contents.push_back(Separators(3000));
  return contents;
}

// --- Foreign client, our server ---

TEST(ClassicServerTest, AForeignClientsFilesArriveWhole) {
  UdpServer server({"--no-sync"});
  int number = 0;
  for (const std::string& content : Contents()) {
    const std::string name = fmt::format("file {}", number++);
    DatagramPeer peer("127.0.0.1", server.port());
    const ForeignResult result = SendAsForeignClient(peer, {.name = name, .content = content});
    EXPECT_TRUE(result.done) << result.error;
    EXPECT_EQ(result.buf_bytes, 1024U);
    EXPECT_TRUE(server.folder().Read(name) == content) << name << " differs";
  }
}

TEST(ClassicServerTest, TenThousandSequenceNumbersAndOtherFirstOnesWork) {
  UdpServer server({"--buf-size", "64", "--no-sync"});
  const std::string content = Content(540'000);
  for (const std::uint64_t seqno0 : {std::uint64_t{0}, std::uint64_t{99'990}}) {
    DatagramPeer peer("127.0.0.1", server.port());
    const ForeignResult result =
        SendAsForeignClient(peer, {.name = "many", .content = content, .seqno0 = seqno0});
    EXPECT_TRUE(result.done) << result.error;
    EXPECT_GT(result.messages, 10'000);
    EXPECT_TRUE(server.folder().Read("many") == content);
  }
}

TEST(ClassicServerTest, AnEmptyFileNeedsNoDataAndTakesSomeAllTheSame) {
  UdpServer server({"--no-sync"});
  for (const bool empty_data : {false, true}) {
    DatagramPeer peer("127.0.0.1", server.port());
    const std::string name = empty_data ? "with" : "without";
    const ForeignResult result = SendAsForeignClient(
        peer, {.name = name, .content = "", .empty_data_for_empty_file = empty_data});
    EXPECT_TRUE(result.done) << result.error;
    EXPECT_EQ(server.folder().Read(name), "");
  }
}

TEST(ClassicServerTest, BothFamiliesAreServed) {
  if (!testing::MachineHasIpv6()) GTEST_SKIP() << "no IPv6 on this machine";
  UdpServer server({"--no-sync"});
  DatagramPeer peer("::1", server.port());
  EXPECT_TRUE(SendAsForeignClient(peer, {.name = "six", .content = "6"}).done);
  EXPECT_EQ(server.folder().Read("six"), "6");
}

TEST(ClassicServerTest, NothingIsSeenOfAFileBeforeItIsWhole) {
  UdpServer server;
  DatagramPeer peer("127.0.0.1", server.port());
  EXPECT_EQ(peer.Ask("s | 0 | half | 8"), "a | 1 | 1024");
  EXPECT_EQ(peer.Ask("d | 1 | half"), "a | 2");
  EXPECT_THAT(server.Files(), IsEmpty());
  EXPECT_EQ(peer.Ask("d | 2 | full"), "a | 3");
  EXPECT_THAT(server.Files(), ElementsAre("half"));
  EXPECT_EQ(server.folder().Read("half"), "halffull");
  EXPECT_EQ(server.HiddenFiles(), 0U);
}

TEST(ClassicServerTest, StartsThatFailDoNotFloodTheLog) {
  UdpServer server({"--overwrite", "no", "--no-sync"});
  DatagramPeer peer("127.0.0.1", server.port());
  ASSERT_TRUE(SendAsForeignClient(peer, {.name = "taken", .content = ""}).done);
  std::vector<std::unique_ptr<DatagramPeer>> others;  // all at once, so that no port comes twice
  for (int i = 1; i <= 300; ++i) {
    others.push_back(std::make_unique<DatagramPeer>("127.0.0.1", server.port()));
    others.back()->Send("s | 0 | taken | 0");
    if (i % 50 != 0) continue;  // no more than fits into the server's socket
    ASSERT_TRUE(Eventually(kDeadline, "all have failed", [&] {
      return server.Metric("udp_classic_sessions_discarded_total{reason=\"storage_failed\"}") == i;
    }));
  }
  const std::string log = server.process().stderr_text();
  EXPECT_LT(std::count(log.begin(), log.end(), '\n'), 150);
  // The next line that may be written says how many were not.
  EXPECT_TRUE(Eventually(kDeadline, "the suppressed lines are counted", [&] {
    DatagramPeer("127.0.0.1", server.port()).Send("s | 0 | .. | 0");
    return server.process().stderr_text().find(" lines left out before it") != std::string::npos;
  }));
}

TEST(ClassicServerTest, KillLeavesNothingThatIsSeenAndTheNextStartCleansUp) {
  UdpServer server;
  DatagramPeer peer("127.0.0.1", server.port());
  EXPECT_EQ(peer.Ask("s | 0 | half | 8"), "a | 1 | 1024");
  EXPECT_EQ(peer.Ask("d | 1 | half"), "a | 2");
  server.process().Kill();
  EXPECT_THAT(server.Files(), IsEmpty());
  ASSERT_TRUE(server.process().StartAndWaitReady().ok());
  EXPECT_EQ(server.HiddenFiles(), 0U);
}

TEST(ClassicServerTest, AKillBehindTheRenameLeavesTheFileAndNoMemoryOfIt) {
  UdpServer server({"--no-sync"});
  const TempDir folder;
  const std::string content = Content(3000);  // three messages
  UdpProxy proxy(server.port(), [](Way way, const std::string& datagram) {
    // Its last ack is lost.
    if (way == Way::kToClient && datagram == "a | 4") return std::vector<std::string>();
    return UdpProxy::PassOn(way, datagram);
  });
  ToolProcess client("udp-client", {Address(proxy.port()), folder.Write("source", content), "name",
                                    "--mode", "classic"});
  ASSERT_TRUE(client.Start().ok());
  ASSERT_TRUE(Eventually(kDeadline, "the file is there", [&] { return !server.Files().empty(); }));
  server.process().Kill();
  ASSERT_TRUE(server.process().StartAndWaitReady().ok());
  proxy.SetServer(server.port());
  DatagramPeer peer("127.0.0.1", server.port());
  peer.Send("d | 3 | " + content.substr(2 * std::size_t{1016}));
  // No answer comes before the one to what was sent later.
  EXPECT_EQ(peer.Ask("s | 0 | other | 0"), "a | 1 | 1024");
  EXPECT_GE(server.Metric("udp_classic_datagrams_ignored_total{reason=\"no_session\"}"), 1);
  const ToolResult result = client.Wait();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("malfunctioning"));
  EXPECT_TRUE(server.folder().Read("name") == content);
  EXPECT_EQ(server.HiddenFiles(), 0U);
}

TEST(ClassicServerTest, WhatIsSaidTwiceTooEarlyOrTooMuchIsAnsweredByTheNextNumber) {
  UdpServer server;
  DatagramPeer peer("127.0.0.1", server.port());
  EXPECT_EQ(peer.Ask("s | 7 | name | 8"), "a | 8 | 1024");
  EXPECT_EQ(peer.Ask("s | 7 | name | 8"), "a | 8 | 1024");
  EXPECT_EQ(peer.Ask("d | 9 | full"), "a | 8");  // yet to come
  EXPECT_EQ(peer.Ask("d | 8 | half"), "a | 9");
  EXPECT_EQ(peer.Ask("d | 8 | half"), "a | 9");      // again
  EXPECT_EQ(peer.Ask("d | 9 | overfull"), "a | 9");  // beyond the size
  EXPECT_EQ(peer.Ask("d | 9 | full"), "a | 10");
  EXPECT_EQ(server.folder().Read("name"), "halffull");
  EXPECT_EQ(peer.Ask("s | 0 | another | 1"), "a | 1 | 1024");  // it is finished: another may begin
  EXPECT_EQ(peer.Ask("d | 1 | x"), "a | 2");
  EXPECT_THAT(server.Files(), ElementsAre("another", "name"));
}

TEST(ClassicServerTest, ItsLimitsHold) {
  UdpServer server({"--max-classic-sessions", "3", "--max-classic-file", "1000",
                    "--max-classic-total-per-source", "1500", "--max-classic-total", "2k",
                    "--drain-timeout", "0"});
  const auto refused = [&](const std::string& reason) {
    return server.Metric("udp_classic_starts_refused_total{reason=\"" + reason + "\"}");
  };
  const auto is_refused = [&](DatagramPeer& peer, const std::string& start,
                              const std::string& reason) {
    const double before = refused(reason);
    peer.Send(start);
    return Eventually(kDeadline, "it is refused", [&] { return refused(reason) == before + 1; });
  };
  const auto peer = [&] { return DatagramPeer("127.0.0.1", server.port()); };
  DatagramPeer first = peer();
  DatagramPeer second = peer();
  DatagramPeer third = peer();
  DatagramPeer fourth = peer();
  EXPECT_TRUE(is_refused(first, "s | 0 | a | 1001", "file_size"));
  EXPECT_EQ(first.Ask("s | 0 | a | 1000"), "a | 1 | 1024");
  EXPECT_EQ(second.Ask("s | 0 | b | 1000"), "a | 1 | 1024");  // on loopback, one source is all
  EXPECT_TRUE(SaysItIsThere(first));
  EXPECT_TRUE(is_refused(third, "s | 0 | c | 49", "total_size"));
  EXPECT_TRUE(SaysItIsThere(first));
  EXPECT_TRUE(SaysItIsThere(second));
  EXPECT_EQ(third.Ask("s | 0 | c | 48"), "a | 1 | 1024");
  EXPECT_TRUE(is_refused(fourth, "s | 0 | d | 0", "sessions"));
  EXPECT_TRUE(SaysItIsThere(first));
  EXPECT_TRUE(SaysItIsThere(second));
  EXPECT_EQ(third.Ask("d | 1 | " + Content(48)), "a | 2");
  EXPECT_EQ(fourth.Ask("s | 0 | d | 1"), "a | 1 | 1024");  // there is room again
}

TEST(ClassicServerTest, ASilentClientsFileIsGivenUp) {
  UdpServer server;
  DatagramPeer peer("127.0.0.1", server.port());
  EXPECT_EQ(peer.Ask("s | 0 | half | 8"), "a | 1 | 1024");
  EXPECT_EQ(peer.Ask("d | 1 | half"), "a | 2");
  EXPECT_EQ(server.Metric("udp_classic_sessions_started_total"), 1);
  EXPECT_TRUE(Eventually(kDeadline, "the session is gone", [&] {
    return server.Metric("udp_classic_sessions_discarded_total{reason=\"silent\"}") == 1;
  }));
  EXPECT_EQ(server.Metric("udp_classic_sessions"), 0);
  EXPECT_TRUE(Eventually(kDeadline, "its file is gone", [&] { return server.HiddenFiles() == 0; }));
}

TEST(ClassicServerTest, BadNamesAreMetWithSilenceAndCounted) {
  UdpServer server;
  DatagramPeer peer("127.0.0.1", server.port());
  const std::vector<std::string> bad = {"..",
                                        ".",
                                        "",
                                        "a/b",
                                        "/etc/passwd",
                                        ".udp-partial",
                                        std::string(256, 'n'),
                                        std::string("nul\0", 4)};
  for (const std::string& name : bad) peer.Send("s | 0 | " + name + " | 1");
  // The only answer is the one to what comes last.
  EXPECT_EQ(peer.Ask("s | 0 | good | 0"), "a | 1 | 1024");
  EXPECT_EQ(server.Metric("udp_classic_starts_refused_total{reason=\"name\"}"),
            static_cast<double>(bad.size()));
}

TEST(ClassicServerTest, GarbageIsCountedAndAnsweredBySilence) {
  UdpServer server;
  DatagramPeer peer("127.0.0.1", server.port());
  const std::vector<std::string> garbage = {"",         "x",
                                            "s",        "s | ",
                                            "s | 0",    "s | 0 | n",
                                            "s|0|n|1",  "s | x | n | 1",
                                            "d | x | ", "a | 1 | 2 | 3",
                                            "\x7f"};
  for (const std::string& datagram : garbage) peer.Send(datagram);
  EXPECT_EQ(peer.Ask("s | 0 | good | 0"), "a | 1 | 1024");
  EXPECT_EQ(server.Metric("udp_classic_datagrams_ignored_total{reason=\"malformed\"}"),
            static_cast<double>(garbage.size()));
}

TEST(ClassicServerTest, OverwriteDecidesWhatBecomesOfATakenName) {
  const auto send = [](UdpServer& server, const std::string& content) {
    DatagramPeer peer("127.0.0.1", server.port());
    return SendAsForeignClient(peer, {.name = "name", .content = content}).done;
  };
  {
    UdpServer server({"--no-sync"});
    EXPECT_TRUE(send(server, "first"));
    EXPECT_TRUE(send(server, "second"));
    EXPECT_EQ(server.folder().Read("name"), "second");
  }
  {
    UdpServer server({"--overwrite", "rename", "--no-sync"});
    EXPECT_TRUE(send(server, "first"));
    EXPECT_TRUE(send(server, "second"));
    EXPECT_EQ(server.folder().Read("name"), "first");
    EXPECT_EQ(server.folder().Read("name.1"), "second");
  }
  {
    UdpServer server({"--overwrite", "no", "--no-sync"});
    EXPECT_TRUE(send(server, "first"));
    EXPECT_FALSE(send(server, "second"));
    EXPECT_EQ(server.folder().Read("name"), "first");
    EXPECT_THAT(server.Files(), ElementsAre("name"));
  }
}

TEST(ClassicServerTest, ModeFastLeavesClassicClientsUnanswered) {
  UdpServer server({"--mode", "fast"});
  DatagramPeer peer("127.0.0.1", server.port());
  peer.Send("s | 0 | name | 1");
  EXPECT_TRUE(Eventually(kDeadline, "the start is counted", [&] {
    return server.Metric("udp_datagrams_refused_total{reason=\"mode\"}") == 1;
  }));
}

TEST(ClassicServerTest, ASecondSignalEndsAShutdownThatWaits) {
  UdpServer server({"--drain-timeout", "3600", "--idle-timeout", "3600"});
  const TempDir folder;
  HeldClient client(server, folder.Write("source", Content(kHeldSourceBytes)));
  ASSERT_TRUE(client.Start());
  ASSERT_TRUE(server.process().Signal(SIGTERM));
  ASSERT_TRUE(Eventually(kDeadline, "the shutdown has begun", [&] {
    return server.process().stderr_text().find("shutting down") != std::string::npos;
  }));
  ASSERT_TRUE(server.process().Signal(SIGTERM));
  EXPECT_TRUE(server.process().Wait().Exited(1));
  EXPECT_THAT(server.Files(), IsEmpty());
}

TEST(ClassicServerTest, AShutdownWaitsForFilesUnderWay) {
  UdpServer server({"--drain-timeout", "60"});
  DatagramPeer peer("127.0.0.1", server.port());
  EXPECT_EQ(peer.Ask("s | 0 | half | 8"), "a | 1 | 1024");
  ASSERT_TRUE(server.process().Signal(SIGTERM));
  EXPECT_TRUE(Eventually(kDeadline, "the shutdown has begun", [&] {
    return server.process().stderr_text().find("shutting down") != std::string::npos;
  }));
  EXPECT_EQ(peer.Ask("d | 1 | half"), "a | 2");
  EXPECT_EQ(peer.Ask("d | 2 | full"), "a | 3");
  EXPECT_TRUE(server.process().Wait().Exited(0));
  EXPECT_EQ(server.folder().Read("half"), "halffull");
}

// --- Our client, foreign server ---

TEST(ClassicClientTest, ForeignServersOfAllKindsGetWholeFiles) {
  const std::vector<std::pair<std::string, ForeignClassicServer::Options>> kinds = {
      {"plain", {}},
      {"small buffer", {.buf_bytes = 20}},
      {"takes future data", {.takes_future_data = true}},
      {"silent on extra fields", {.silent_on_extra_fields = true}},
      {"takes all for data", {.takes_unknown_types_for_data = true}},
      {"dies of other bytes", {.dies_of_other_bytes = true}},
  };
  const TempDir folder;
  for (const auto& [kind, options] : kinds) {
    const ForeignClassicServer server(options);
    const std::string address = Address(server.port());
    int number = 0;
    for (std::string content : Contents()) {
      if (options.dies_of_other_bytes) {
        for (char& c : content) c = static_cast<char>(c & 0x7f);
      }
      const std::string name = fmt::format("file {}", number++);
      const auto result = Send(address, folder.Write("source", content), name);
      EXPECT_EQ(result["mode"], "classic");
      EXPECT_EQ(result["bytes"], content.size());
      EXPECT_TRUE(server.File(name) == content) << kind << ", " << name;
    }
    EXPECT_FALSE(server.dead()) << kind;
    if (options.buf_bytes == 20) {
      EXPECT_GE(server.Seen("d | 10000 | "), 1U);
    }
  }
}

TEST(ClassicClientTest, WhatNeedsFastModeIsNamedWhenTheServerHasNone) {
  const ForeignClassicServer server({});
  const TempDir folder;
  const std::string source = folder.Write("put/source", "x");
  const auto error = [&](const std::string& path, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {fmt::format("127.0.0.1:{}", server.port()), path, "name",
                                          "--timeout", "0.3"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ToolResult result = RunClient(arguments);
    EXPECT_EQ(result.exit_code, 1);
    return result.err;
  };
  EXPECT_THAT(error(source, {"--rate-limit", "5"}), HasSubstr("--rate-limit needs fast mode"));
  EXPECT_THAT(error(source, {"--resume"}), HasSubstr("--resume needs fast mode"));
  EXPECT_THAT(error(folder.path("put"), {}), HasSubstr("a folder needs fast mode"));
  EXPECT_THAT(error(source, {"--mode", "fast"}), ::testing::Not(HasSubstr("needs fast mode")));
}

/// A file of one message to a server of ours, of which no data ack comes back at first.
class LastMessageTest : public ::testing::Test {
 protected:
  using Way = UdpProxy::Way;
  using Datagrams = std::vector<std::string>;

  UdpServer server_{{"--overwrite", "rename", "--no-sync"}};
  TempDir folder_;
  std::string source_ = folder_.Write("source", "x");
  int data_ = 0;  ///< data messages so far; the proxy's, as all below
  bool cookie_ = false;
  std::string hello_;         ///< the first one
  bool asked_again_ = false;  ///< with another one
};

TEST_F(LastMessageTest, ThatIsLostLeadsToFastMode) {
  UdpProxy proxy(server_.port(), [&](Way way, const std::string& datagram) {
    if (way == Way::kToServer && datagram.front() == 'd') ++data_;
    const bool early_cookie = datagram.front() == '\x80' && data_ == 0;
    return datagram.front() == 'd' || early_cookie ? Datagrams() : Datagrams{datagram};
  });
  const auto result = Send(fmt::format("127.0.0.1:{}", proxy.port()), source_, "name");
  EXPECT_EQ(result["mode"], "fast");
  EXPECT_THAT(server_.Files(), ElementsAre("name"));
}

TEST_F(LastMessageTest, ThatWasStoredIsNotTransferredAgain) {
  UdpProxy proxy(server_.port(), [&](Way way, const std::string& datagram) {
    if (way == Way::kToServer) {
      if (datagram.front() == 'd') ++data_;
      if (datagram.front() == 'f' && hello_.empty()) hello_ = datagram;
      asked_again_ |= datagram.front() == 'f' && datagram != hello_;
      // The server gets the data only when the client has a cookie that is older.
      return datagram.front() == 'd' && !cookie_ ? Datagrams() : Datagrams{datagram};
    }
    if (datagram.front() == '\x80') {
      if (data_ == 0) return Datagrams();
      cookie_ = true;
    }
    return datagram == "a | 2" && !asked_again_ ? Datagrams() : Datagrams{datagram};
  });
  const auto result = Send(fmt::format("127.0.0.1:{}", proxy.port()), source_, "name");
  EXPECT_EQ(result["mode"], "classic");
  EXPECT_THAT(server_.Files(), ElementsAre("name"));
  EXPECT_EQ(server_.Metric("udp_fast_sessions_begun_total"), 0);
}

TEST_F(LastMessageTest, ThatIsNeverAnsweredMayHaveBeenStored) {
  UdpProxy proxy(server_.port(), [&](Way, const std::string& datagram) {
    const bool lost = datagram == "a | 2" || datagram.front() == '\x80';
    return lost ? Datagrams() : Datagrams{datagram};
  });
  const ToolResult result =
      RunClient({fmt::format("127.0.0.1:{}", proxy.port()), source_, "name", "--json"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("may have been stored"));
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["files"], 0);
  EXPECT_EQ(json["failed"], 0);
  EXPECT_EQ(json["unknown"], 1);
  EXPECT_THAT(std::string(json["error"]), HasSubstr("malfunctioning"));
  EXPECT_THAT(server_.Files(), ElementsAre("name"));
}

TEST(ClassicClientTest, LostAcksAreGotByRepetition) {
  const ForeignClassicServer server({.loses_first_acks = true});
  const TempDir folder;
  const std::string content = Content(2000);
  const auto result = Send(Address(server.port()), folder.Write("source", content), "name");
  EXPECT_TRUE(server.File("name") == content);
  EXPECT_GT(result["retransmitted_bytes"], 2000);
}

TEST(ClassicClientTest, ModeClassicSendsNoHello) {
  const ForeignClassicServer server({});
  const TempDir folder;
  Send(Address(server.port()), folder.Write("source", "x"), "name", {"--mode", "classic"});
  EXPECT_EQ(server.Seen("f"), 0U);
  EXPECT_EQ(server.File("name"), "x");
}

TEST(ClassicClientTest, NobodyThereIsAFailureThatSaysSo) {
  const RefusingPort nobody;
  const TempDir folder;
  const std::string source = folder.Write("source", "x");
  for (const char* mode : {"auto", "classic", "fast"}) {
    const ToolResult result = RunClient({Address(nobody.port()), source, "name", "--mode", mode});
    EXPECT_EQ(result.exit_code, 1) << mode;
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, HasSubstr("udp-client: send "));
    EXPECT_THAT(result.err, HasSubstr("connection refused")) << mode;
  }
}

TEST(ClassicClientTest, ASilentServerIsMalfunctioningAfterFiveSends) {
  // A proxy in front of nothing hears everything and says nothing.
  UdpProxy silent(9, [](Way, const std::string&) { return std::vector<std::string>(); });
  const TempDir folder;
  const ToolResult result =
      RunClient({Address(silent.port()), folder.Write("source", "x"), "name", "--mode", "classic"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("malfunctioning"));
  EXPECT_EQ(silent.count(Way::kToServer), 5U);
}

TEST(ClassicClientTest, OurOwnServerTakesEverySize) {
  UdpServer server({"--no-sync"});
  const TempDir folder;
  int number = 0;
  for (const std::string& content : Contents()) {
    const std::string name = fmt::format("file {}", number++);
    const auto result =
        Send(server.address(), folder.Write("source", content), name, {"--mode", "classic"});
    EXPECT_EQ(result["mode"], "classic");
    EXPECT_TRUE(server.folder().Read(name) == content) << name;
  }
}

TEST(ClassicClientTest, CtrlCEndsWith130) {
  UdpProxy silent(9, [](Way, const std::string&) { return std::vector<std::string>(); });
  const TempDir folder;
  const std::string source = folder.Write("source", "x");
  for (const char* mode : {"classic", "fast"}) {
    const std::size_t before = silent.count(Way::kToServer);
    ToolProcess client("udp-client", {Address(silent.port()), source, "name", "--mode", mode});
    ASSERT_TRUE(client.Start().ok());
    ASSERT_TRUE(Eventually(kDeadline, "the client has begun",
                           [&] { return silent.count(Way::kToServer) > before; }));
    ASSERT_TRUE(client.Signal(SIGINT));
    EXPECT_EQ(client.Wait().exit_code, 130);
  }
}

}  // namespace
}  // namespace ds::udp_transfer
