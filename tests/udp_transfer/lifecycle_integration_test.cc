#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/harness/eventually.h"
#include "tests/harness/loopback_lease.h"
#include "tests/udp_transfer/foreign_classic.h"
#include "tests/udp_transfer/udp_server.h"

// The contract of daemons and tools, as udp-server and udp-client keep it.

namespace ds::udp_transfer {
namespace {

using testing::DatagramPeer;
using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;
using testing::LoopbackLease;
using testing::RunTool;
using testing::TempDir;

/// A program that refuses to do anything: exit code `code`, one line on stderr with `text` in it.
MATCHER_P3(Refuses, program, code, text, "") {
  return arg.exit_code == code && arg.out.empty() &&
         arg.err.starts_with(std::string(program) + ": ") &&
         std::count(arg.err.begin(), arg.err.end(), '\n') == 1 &&
         arg.err.find(text) != std::string::npos;
}
auto ServerRefuses(int code, const std::string& text) { return Refuses("udp-server", code, text); }
auto ClientRefuses(int code, const std::string& text) { return Refuses("udp-client", code, text); }

ToolResult RunServer(const std::vector<std::string>& flags) { return RunTool("udp-server", flags); }

TEST(UdpServerStartTest, TheReadyLineNamesBothAddressesAtOnePortAndTheMetricsPage) {
  UdpServer server;
  const std::string expected =
      fmt::format("READY udp-server listen=127.0.0.1:{}{} pid={} metrics={}", server.port(),
                  testing::MachineHasIpv6() ? fmt::format(",[::1]:{}", server.port()) : "",
                  server.process().pid(), server.process().Key("metrics"));
  EXPECT_THAT(server.process().stdout_lines(), ElementsAre(expected));
  EXPECT_GT(server.port(), 0);
}

TEST(UdpServerStartTest, ListenMayBeRepeatedAndWinsOverThePort) {
  const LoopbackLease lease(2);
  UdpServer server(
      {"--listen", lease.address(0) + ":0", "--listen", lease.address(1) + ":0", "--no-sync"});
  EXPECT_EQ(server.process().host(), lease.address(0));
  const std::string listen = server.process().Key("listen");
  const auto second = net::HostPort::Parse(listen.substr(listen.find(',') + 1));
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->host, lease.address(1));
  const TempDir folder;
  const std::string source = folder.Write("source", "x");
  Send(fmt::format("{}:{}", lease.address(0), server.port()), source, "first");
  Send(second->ToString(), source, "second");
  EXPECT_THAT(server.Files(), ElementsAre("first", "second"));
}

TEST(UdpServerStartTest, AnAddressInUseIsAFailureThatNamesTheFix) {
  UdpServer server;
  const TempDir folder;
  EXPECT_THAT(RunServer({std::to_string(server.port()), "--dir", folder.path()}),
              ServerRefuses(1, fmt::format("bind 127.0.0.1:{}: Address already in use (is another "
                                           "server running?)",
                                           server.port())));
}

TEST(UdpServerStartTest, AFolderHasOneServerAndTheOtherNamesIt) {
  UdpServer server;
  EXPECT_THAT(RunServer({"0", "--dir", server.folder().path()}),
              ServerRefuses(1, fmt::format("in use by process {}", server.process().pid())));
}

TEST(UdpServerFolderTest, AHiddenFolderThatIsRemovedIsMadeAgainAndStaysLocked) {
  UdpServer server({"--no-sync"});
  const TempDir folder;
  const std::string source = folder.Write("source", Content(kHeldSourceBytes));
  const std::string small = folder.Write("small", "x");
  const std::string hidden = server.folder().path(".udp-partial");
  HeldClient client(server, source);
  ASSERT_TRUE(client.Start());
  std::filesystem::remove_all(hidden);
  client.LetGo();
  const ToolResult result = client.Wait();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("was removed from the server's \".udp-partial\""));
  Send(server.address(), source, "fast");
  Send(server.address(), small, "classic", {"--mode", "classic"});
  EXPECT_THAT(server.Files(), ElementsAre("classic", "fast"));
  const auto is_refused =
      ServerRefuses(1, fmt::format("in use by process {}", server.process().pid()));
  EXPECT_THAT(RunServer({"0", "--dir", server.folder().path()}), is_refused);
  // Made again by somebody else, too.
  std::filesystem::remove_all(hidden);
  std::filesystem::create_directory(hidden);
  Send(server.address(), small, "small", {"--mode", "fast"});
  EXPECT_THAT(RunServer({"0", "--dir", server.folder().path()}), is_refused);
}

TEST(UdpServerFolderTest, AServerWhoseFolderIsMovedStoresIntoItAndKeepsItLocked) {
  const TempDir outer;
  const std::string in = outer.path("in");
  const std::string moved = outer.path("in.old");
  std::filesystem::create_directory(in);
  DaemonProcess server({.program = "udp-server", .arguments = {"0", "--dir", in, "--no-sync"}});
  ASSERT_TRUE(server.StartAndWaitReady().ok());
  const std::string address = Address(server.port());
  const std::string source = outer.Write("source", "x");
  std::filesystem::rename(in, moved);
  std::filesystem::create_directory(in);
  Send(address, source, "first");
  // Another server's: not to be locked instead.
  std::filesystem::create_directory(in + "/.udp-partial");
  Send(address, source, "second");
  Send(address, source, "classic", {"--mode", "classic"});
  for (const char* name : {"in.old/first", "in.old/second", "in.old/classic"}) {
    EXPECT_TRUE(outer.Exists(name)) << name;
  }
  EXPECT_FALSE(outer.Exists("in/.udp-partial/LOCK"));
  EXPECT_THAT(
      RunServer({"0", "--dir", moved}),
      ServerRefuses(1, fmt::format("open \"{}\": lock \".udp-partial\": in use by process {}",
                                   moved, server.pid())));
  EXPECT_EQ(RunServer({"--check", "--dir", in}).exit_code, 0);
}

TEST(UdpServerStartTest, OffLoopbackNeedsAKeyOrPermission) {
  const TempDir folder;
  const std::string key = folder.Write("key", "a key that is long enough\n");
  for (const char* address : {"0.0.0.0:0", "[::]:0", "192.0.2.1:0"}) {
    EXPECT_THAT(RunServer({"--dir", folder.path(), "--listen", address}),
                ServerRefuses(2, "--key-file, --allow-insecure"));
    EXPECT_THAT(RunServer({"--dir", folder.path("missing"), "--listen", address}),
                ServerRefuses(2, "--allow-insecure"));
  }
  EXPECT_THAT(RunServer({"--dir", folder.path(), "--listen", "127.0.0.1:0", "--metrics",
                         "0.0.0.0:0", "--key-file", key}),
              ServerRefuses(2, "--metrics"));
  for (const std::vector<std::string>& allowed :
       {std::vector<std::string>{"--key-file", key}, {"--allow-insecure"}}) {
    std::vector<std::string> flags = {"--listen", "0.0.0.0:0"};
    flags.insert(flags.end(), allowed.begin(), allowed.end());
    UdpServer server(flags);
    EXPECT_EQ(server.process().host(), "0.0.0.0");
  }
}

TEST(UdpServerStartTest, BesideAKeyTheClassicProtocolHasToBeAskedFor) {
  const TempDir folder;
  const std::string key = folder.Write("key", "a key that is long enough\n");
  {
    UdpServer server({"--key-file", key});
    DatagramPeer peer("127.0.0.1", server.port());
    peer.Send("s | 0 | name | 1");
    EXPECT_TRUE(Eventually(kDeadline, "the start is refused", [&] {
      return server.Metric("udp_datagrams_refused_total{reason=\"classic_not_allowed\"}") == 1;
    }));
    EXPECT_EQ(server.Metric("udp_classic_sessions"), 0);
  }
  UdpServer server({"--key-file", key, "--classic", "--drain-timeout", "0"});
  DatagramPeer peer("127.0.0.1", server.port());
  EXPECT_EQ(peer.Ask("s | 0 | name | 1"), "a | 1 | 1024");
}

TEST(UdpServerStartTest, AClassicServerThatWouldAnswerNobodyIsRefused) {
  const TempDir folder;
  const std::string key = folder.Write("key", "a key that is long enough\n");
  ASSERT_EQ(::chmod(key.c_str(), 0600), 0);
  const std::vector<std::string> base = {"--dir", folder.path(), "--mode", "classic"};
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{"--listen", "127.0.0.1:0", "--key-file", key},
        {"--listen", "0.0.0.0:0", "--allow-insecure"}}) {
    std::vector<std::string> flags = base;
    flags.insert(flags.end(), more.begin(), more.end());
    EXPECT_THAT(RunServer(flags), ServerRefuses(2, "only with --classic"));
    flags.emplace_back("--classic");
    UdpServer server({flags.begin() + 2, flags.end()});
  }
}

TEST(UdpServerStartTest, OffLoopbackTakenNamesGetANumber) {
  UdpServer server({"--listen", "0.0.0.0:0", "--allow-insecure", "--no-sync"});
  const TempDir folder;
  const std::string source = folder.Write("source", "x");
  Send(server.address(), source, "name");
  Send(server.address(), source, "name");
  EXPECT_THAT(server.Files(), ElementsAre("name", "name.1"));
}

TEST(UdpServerStartTest, BadOptionsAreUsageErrors) {
  const TempDir folder;
  const std::string short_key = folder.Write("short", "short\n");
  const std::vector<std::vector<std::string>> bad = {
      {"--no-such-option"},
      {"65536"},
      {"x"},
      {"0", "1"},
      {"--mode", "slow"},
      {"--overwrite", "maybe"},
      {"--buf-size", "31"},
      {"--buf-size", "65508"},
      {"--window", "1g", "--memory", "1m"},
      {"--window", "1g", "--memory", "1g"},  // no room for answers
      {"--window", "65535"},
      {"--window", "1073741825", "--memory", "4g"},
      {"--max-sessions", "0"},
      {"--idle-timeout", "0"},
      {"--key-file", folder.path("missing")},
      {"--key-file", short_key},
      {"--dir", folder.path("missing")},
  };
  for (const std::vector<std::string>& flags : bad) {
    EXPECT_EQ(RunServer(flags).exit_code, 2) << ::testing::PrintToString(flags);
  }
}

TEST(UdpServerStartTest, OptionsMayStandInAFile) {
  const TempDir folder;
  UdpServer server({"--options", folder.Write("options", "buf-size = 100\noverwrite = \"no\"\n")});
  DatagramPeer peer("127.0.0.1", server.port());
  EXPECT_EQ(peer.Ask("s | 0 | name | 0"), "a | 1 | 100");
}

TEST(UdpServerStartTest, ABadOptionsFileIsRefusedByFileAndLine) {
  const TempDir folder;
  const struct {
    std::string line;
    std::string why;
  } kCases[] = {
      {"dir = [", "dir: the array has no end"}, {"dir = \"x", "dir: the text has no closing quote"},
      {"dir =", "dir: the value is missing"},   {"dir", "\"dir\" is not \"option = value\""},
      {"bogus = 1", "no option \"bogus\""},     {"[more]", "\"[more]\" is not \"option = value\""},
  };
  for (const auto& c : kCases) {
    const std::string path = folder.Write("options", "# first\nmode = \"auto\"\n" + c.line + "\n");
    EXPECT_THAT(RunServer({"--options", path}),
                ServerRefuses(2, fmt::format("options file \"{}\", line 3: {}", path, c.why)));
  }
  UdpServer server({"--options", folder.Write("options",
                                              "listen = [\"127.0.0.1:0\",  # one\n"
                                              "  \"127.0.0.2:0\"]\n"
                                              "classic = true\n")});
  EXPECT_THAT(server.process().Key("listen"), HasSubstr(",127.0.0.2:"));
}

TEST(UdpServerEndTest, SignalsEndAnIdleServerAtOnce) {
  for (const int signal : {SIGTERM, SIGINT}) {
    UdpServer server;
    ASSERT_TRUE(server.process().Signal(signal));
    EXPECT_TRUE(server.process().Wait().Exited(0));
  }
}

TEST(UdpServerEndTest, Usr1DumpsStatistics) {
  UdpServer server;
  ASSERT_TRUE(server.process().Signal(SIGUSR1));
  EXPECT_TRUE(Eventually(kDeadline, "the statistics are in the log", [&] {
    return server.process().stderr_text().find("udp_classic_sessions 0") != std::string::npos;
  }));
}

TEST(UdpClientTest, UsageErrorsAreFoundBeforeAnythingIsSent) {
  const TempDir folder;
  const std::string source = folder.Write("source", "x");
  const std::string server = "127.0.0.1:1";
  EXPECT_THAT(RunClient({}), ClientRefuses(2, "parse options"));
  EXPECT_THAT(RunClient({server}), ClientRefuses(2, "parse options"));
  EXPECT_THAT(RunClient({server, source}), ClientRefuses(2, "NAME_ON_SERVER"));
  EXPECT_THAT(RunClient({"nonsense", source, "name"}), ClientRefuses(2, "HOST:PORT"));
  EXPECT_THAT(RunClient({server, source, "name", "--mode", "slow"}), ClientRefuses(2, "--mode"));
  EXPECT_THAT(RunClient({server, source, "name", "--mode", "classic", "--resume"}),
              ClientRefuses(2, "--resume"));
  EXPECT_THAT(RunClient({server, source, "a/b", "--mode", "classic"}),
              ClientRefuses(2, "--mode classic: a name with a slash needs fast mode"));
  for (const char* window : {"1", "65535", "1073741825"}) {
    EXPECT_THAT(RunClient({server, source, "name", "--window", window}),
                ClientRefuses(2, "--window"));
  }
  EXPECT_THAT(RunClient({"127.0.0.1:0", source, "name"}), ClientRefuses(2, "port 0"));
  EXPECT_THAT(RunClient({server, source, "name", "--rate-limit", "nan"}),
              ClientRefuses(2, "--rate-limit"));
  std::filesystem::create_directory(folder.path("other"));
  folder.Write("other/source", "y");
  EXPECT_THAT(RunClient({server, source, folder.path("other/source"), "to/"}),
              ClientRefuses(2, "both would be \"to/source\""));
  EXPECT_THAT(RunClient({server, source, "../name"}), ClientRefuses(2, "../name"));
  EXPECT_THAT(RunClient({server, folder.path("missing"), "name"}),
              ClientRefuses(1, "No such file or directory"));
  EXPECT_THAT(RunClient({server, "/dev/null", "name"}), ClientRefuses(1, "neither a file"));
  EXPECT_THAT(RunClient({server, source, "name", "--key-file", folder.path("missing")}),
              ClientRefuses(2, "missing"));
}

TEST(UdpClientTest, ANameThatHasSeveralAddressesIsTriedToItsEnd) {
  // On most machines "localhost" is ::1 first; the server has 127.0.0.1 only.
  UdpServer server({"--listen", "127.0.0.1:0", "--no-sync"});
  const TempDir folder;
  Send(fmt::format("localhost:{}", server.port()), folder.Write("source", "x"), "name");
  EXPECT_EQ(server.folder().Read("name"), "x");
}

TEST(UdpClientTest, PlainOutputIsOneLine) {
  UdpServer server;
  const TempDir folder;
  const ToolResult result =
      RunClient({server.address(), folder.Write("source", "12345"), "name", "--mode", "fast"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, ::testing::MatchesRegex("name 5 bytes in [0-9.]+ s, .* \\(fast\\)\n"));
  EXPECT_EQ(result.err, "");
}

// --- udp-server --check ---

class UdpServerCheckTest : public ::testing::Test {
 protected:
  ToolResult Check() const { return RunServer({"--check", "--dir", server_.folder().path()}); }

  /// Leaves a part of "big" behind; then no server runs.
  void LeaveAPart() {
    HeldClient client(server_, folder_.Write("source", Content(kHeldSourceBytes)));
    ASSERT_TRUE(client.Start());
    EXPECT_EQ(server_.process().Terminate(), 0);
    client.Wait();
  }

  /// The file in the hidden folder whose name ends with this.
  std::filesystem::path Hidden(const std::string& ending) const {
    for (const auto& entry :
         std::filesystem::directory_iterator(server_.folder().path(".udp-partial"))) {
      if (entry.path().string().ends_with(ending)) return entry.path();
    }
    ADD_FAILURE() << "no " << ending;
    return {};
  }

  UdpServer server_{{"--drain-timeout", "0", "--no-sync"}};
  const TempDir folder_;
};

TEST_F(UdpServerCheckTest, AFolderInUseIsRefusedAndItsServerNamed) {
  EXPECT_THAT(Check(),
              ServerRefuses(1, fmt::format("in use by process {}", server_.process().pid())));
}

TEST_F(UdpServerCheckTest, AFolderInOrderHasALineForEachUnfinishedFile) {
  LeaveAPart();
  const ToolResult result = Check();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out,
              ::testing::MatchesRegex("[0-9a-f]+ ok: [0-9]+ of 33554432 bytes of \"big\"\n"));
  EXPECT_EQ(result.err, "");
  ASSERT_TRUE(server_.process().StartAndWaitReady().ok());  // it was left alone
  EXPECT_EQ(server_.Metric("udp_partial_files{state=\"waiting\"}"), 1);
}

TEST_F(UdpServerCheckTest, DamageIsNamed) {
  LeaveAPart();
  const std::filesystem::path part = Hidden(".part");
  const auto half = std::filesystem::file_size(part) / 2;
  {
    std::fstream file(part, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(1000));
    file << "damage";
  }
  const ToolResult changed = Check();
  EXPECT_EQ(changed.exit_code, 1);
  EXPECT_THAT(changed.out, HasSubstr(" damaged: "));
  std::filesystem::resize_file(part, half);
  EXPECT_EQ(Check().exit_code, 1);
  std::filesystem::resize_file(Hidden(".state"), 10);
  const ToolResult cut = Check();
  EXPECT_EQ(cut.exit_code, 1);
  EXPECT_THAT(cut.out, HasSubstr(" damaged: "));
}

TEST_F(UdpServerCheckTest, AFolderThatIsNotThereIsAFailure) {
  EXPECT_THAT(RunServer({"--check", "--dir", folder_.path("missing")}),
              ServerRefuses(1, "missing"));
}

// --- What is meant and not said ---

TEST(EmptyKeyFileTest, AnEmptyNameIsNotTakenForNoKey) {
  const TempDir folder;
  const std::string source = folder.Write("source", "x");
  EXPECT_THAT(RunClient({"127.0.0.1:1", source, "name", "--key-file", ""}),
              ClientRefuses(2, "--key-file"));
  EXPECT_THAT(RunServer({"0", "--dir", folder.path(), "--key-file", ""}),
              ServerRefuses(2, "--key-file"));
  EXPECT_THAT(RunServer({"0", "--dir", folder.path(), "--options",
                         folder.Write("options", "key-file = \"\"\n")}),
              ServerRefuses(2, "key-file"));
}

TEST(ClientJsonTest, ARunThatFailsBeforeItBeginsPrintsAnObjectToo) {
  const TempDir folder;
  const std::string source = folder.Write("source", "x");
  const struct {
    std::vector<std::string> arguments;
    int exit_code;
    std::string error;
  } kCases[] = {
      {{"127.0.0.1:1", folder.path("missing"), "name"}, 1, "No such file or directory"},
      {{"127.0.0.1:1", "/dev/null", "name"}, 1, "neither a file"},
      {{"127.0.0.1:0", source, "name"}, 2, "port 0"},
      {{"127.0.0.1:1", source, "name", "--window", "1"}, 2, "--window"},
      {{"127.0.0.1:1", source, "name", "--key-file", folder.path("missing")}, 2, "missing"},
  };
  for (const auto& c : kCases) {
    std::vector<std::string> arguments = c.arguments;
    arguments.push_back("--json");
    const ToolResult result = RunClient(arguments);
    EXPECT_EQ(result.exit_code, c.exit_code);
    const auto json = nlohmann::json::parse(result.out, nullptr, false);
    ASSERT_TRUE(json.is_object()) << result.out;
    EXPECT_THAT(json["error"].get<std::string>(), HasSubstr(c.error));
    EXPECT_EQ(json["files"], 0);
    EXPECT_EQ(json["failed"], 1);
    EXPECT_EQ(json["failures"][0]["path"], c.arguments[1]);
    EXPECT_TRUE(json["mode"].is_null());
    EXPECT_THAT(result.err, HasSubstr(c.error));
  }
}

}  // namespace
}  // namespace ds::udp_transfer
