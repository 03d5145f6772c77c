#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/unique_fd.h"
#include "tests/getfile/getfile_server.h"
#include "tests/harness/eventually.h"
#include "tests/harness/loopback_lease.h"
#include "tests/harness/raw_peer.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/sha256.h"
#include "tests/harness/temp_dir.h"

namespace ds::getfile {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::LoopbackLease;
using ::testing::MatchesRegex;
using ::testing::Not;
using testing::RunTool;
using ::testing::SizeIs;
using ::testing::StartsWith;
using testing::TempDir;
using testing::ToolProcess;
using testing::ToolResult;
using End = RawPeer::End;

constexpr std::size_t kMiB = std::size_t{1} << 20U;

/// A server that must not start: exit code `code`, and one line on stderr that has `text` in it.
MATCHER_P2(Refuses, code, text, "") {
  const auto lines = std::count(arg.err.begin(), arg.err.end(), '\n');
  return arg.exit_code == code && lines == 1 && arg.out.empty() &&
         arg.err.starts_with("getfile-server: ") && arg.err.find(text) != std::string::npos;
}

ToolResult RunServer(const std::vector<std::string>& flags, const std::string& folder = "") {
  return RunTool("getfile-server", flags, {.working_folder = folder});
}

DaemonProcess::Options Program(std::vector<std::string> flags) {
  return {.program = "getfile-server", .arguments = std::move(flags)};
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

::testing::AssertionResult LogEventuallyHas(DaemonProcess& server, const std::string& text) {
  return Eventually(kDeadline, "the log has \"" + text + '"',
                    [&] { return server.stderr_text().find(text) != std::string::npos; });
}

/// A peer in the middle of a large answer: it has read the beginning and offers a small window.
struct SlowTransfer {
  RawPeer peer;
  std::string begin;

  SlowTransfer(const GetfileServer& server, std::string_view request)
      : peer(server.Connect({.receive_buffer_bytes = 4096})) {
    CHECK(peer.Send(request));
    begin = peer.Read(100).bytes;
    CHECK(begin.size() == 100);
  }
  RawPeer::Received Finish() {
    RawPeer::Received received = peer.ReadToEnd();
    received.bytes.insert(0, begin);
    peer.Close();
    return received;
  }
};

// --- The start ---

/// The hosts of the machine's loopback: both families, or without IPv6 the one.
std::vector<std::string> LoopbackHosts() {
  if (!testing::MachineHasIpv6()) return {"127.0.0.1"};
  return {"127.0.0.1", "::1"};
}

TEST(GetfileServerStartTest, TheReadyLineNamesBothAddressesAtOnePort) {
  DaemonProcess server(Program({"-p", "0"}));
  ASSERT_TRUE(server.StartAndWaitReady().ok());
  const std::string expected = fmt::format(
      "READY getfile-server listen=127.0.0.1:{}{} pid={}", server.port(),
      testing::MachineHasIpv6() ? fmt::format(",[::1]:{}", server.port()) : "", server.pid());
  EXPECT_THAT(server.stdout_lines(), ElementsAre(expected));
  EXPECT_GT(server.port(), 0);
}

TEST(GetfileServerStartTest, TheReadyLineNamesTheMetricsPage) {
  DaemonProcess server(Program({"-p", "0", "--metrics", "127.0.0.1:0"}));
  ASSERT_TRUE(server.StartAndWaitReady().ok());
  EXPECT_THAT(server.Key("metrics"), MatchesRegex("127.0.0.1:[1-9][0-9]*"));
}

TEST(GetfileServerStartTest, ListenMayBeRepeatedAndWinsOverThePort) {
  const LoopbackLease lease(2);
  const TempDir root;
  root.Write("a", "everywhere");
  const bool ipv6 = testing::MachineHasIpv6();
  std::vector<std::string> flags = {"--root",   root.path(),
                                    "-p",       "10881",
                                    "--listen", lease.address(0) + ":10882",
                                    "--listen", lease.address(1) + ":0"};
  if (ipv6) flags.insert(flags.end(), {"--listen", "[::1]:0"});
  DaemonProcess server(Program(flags));
  ASSERT_TRUE(server.StartAndWaitReady().ok());
  std::vector<std::string> addresses;
  std::istringstream listen(server.Key("listen"));
  for (std::string address; std::getline(listen, address, ',');) addresses.push_back(address);
  ASSERT_THAT(addresses, SizeIs(ipv6 ? 3 : 2));
  EXPECT_EQ(addresses[0], lease.address(0) + ":10882");
  EXPECT_THAT(addresses[1], StartsWith(lease.address(1) + ":"));
  if (ipv6) {
    EXPECT_THAT(addresses[2], StartsWith("[::1]:"));
  }
  for (const std::string& text : addresses) {
    const auto address = net::HostPort::Parse(text);
    ASSERT_TRUE(address.ok());
    EXPECT_NE(address->port, 0);
    EXPECT_NE(address->port, 10881);
    EXPECT_THAT(RawPeer::Exchange(address->host, address->port, Get("/a")),
                Answers(Ok("everywhere")));
  }
}

TEST(GetfileServerStartTest, TheServedFolderIsTheCurrentOneByDefault) {
  const TempDir root;
  root.Write("a", "here");
  GetfileServer server({}, {.program = "", .working_folder = root.path()});
  EXPECT_THAT(server.Exchange(Get("/a")), Answers(Ok("here")));
}

TEST(GetfileServerStartTest, AnAddressInUseIsAFailureThatNamesTheFix) {
  const GetfileServer server({});
  const std::string port = std::to_string(server.port());
  EXPECT_THAT(RunServer({"-p", port}),
              Refuses(1, fmt::format("bind 127.0.0.1:{}: Address already in use (is another server "
                                     "running?)",
                                     port)));
  EXPECT_THAT(RunServer({"--listen", "127.0.0.1:" + port}), Refuses(1, "Address already in use"));
  if (testing::MachineHasIpv6()) {
    EXPECT_THAT(RunServer({"--listen", "[::1]:" + port}), Refuses(1, "Address already in use"));
  }
  EXPECT_THAT(RunServer({"-p", "0", "--metrics", "127.0.0.1:" + port}),
              Refuses(1, "Address already in use"));
}

TEST(GetfileServerStartTest, AnAddressOffLoopbackIsRefusedBeforeAnythingElse) {
  const TempDir root;
  const std::string bad_content = root.Write("content", "bad\n");
  for (const char* address : {"0.0.0.0:0", "[::]:0", "192.0.2.1:0"}) {
    EXPECT_THAT(RunServer({"--listen", address}), Refuses(2, "--allow-insecure"));
    EXPECT_THAT(RunServer({"--listen", "127.0.0.1:0", "--listen", address}),
                Refuses(2, "--allow-insecure"));
    EXPECT_THAT(RunServer({"-p", "0", "--metrics", address}), Refuses(2, "--allow-insecure"));
  }
  EXPECT_THAT(RunServer({"--listen", "0.0.0.0:0", "-m", bad_content}),
              Refuses(2, "--allow-insecure"));
  EXPECT_THAT(RunServer({"--listen", "0.0.0.0:0", "--root", root.path("missing")}),
              Refuses(2, "--allow-insecure"));
}

TEST(GetfileServerStartTest, AnAddressOffLoopbackIsServedWhenAllowed) {
  const TempDir root;
  root.Write("a", "allowed");
  DaemonProcess server(
      Program({"--root", root.path(), "--listen", "0.0.0.0:0", "--allow-insecure"}));
  ASSERT_TRUE(server.StartAndWaitReady().ok());
  EXPECT_EQ(server.host(), "0.0.0.0");
  EXPECT_THAT(RawPeer::Exchange("127.0.0.1", server.port(), Get("/a")), Answers(Ok("allowed")));
}

TEST(GetfileServerStartTest, ABadOptionIsAUsageError) {
  const std::vector<std::vector<std::string>> bad = {
      {"--no-such-option"},
      {"positional"},
      {"-p"},
      {"-p", "65536"},
      {"-p", "-1"},
      {"-p", "http"},
      {"-t", "-1"},
      {"-t", "1025"},
      {"-t", "two"},
      {"-d", "-1"},
      {"-d", "5000001"},
      {"-d", "1s"},
      {"--dialect", "klingon"},
      {"--dialect", "1"},
      {"--header-timeout", "0"},
      {"--header-timeout", "-1"},
      {"--header-timeout", "soon"},
      {"--timeout", "0"},
      {"--timeout", "-3"},
      {"--timeout", "nan"},
      {"--header-timeout", "nan"},
      {"--drain-timeout", "nan"},
      {"--options", "/dev/zero"},
      {"--revalidate", "-1"},
      {"--max-connections", "0"},
      {"--max-connections", "-5"},
      {"--send-buffer-total", "1k"},
      {"--send-buffer-total", "much"},
      {"--drain-timeout", "-1"},
      {"--log-level", "loud"},
      {"--log-format", "xml"},
      {"--listen", "nonsense"},
      {"--listen", "127.0.0.1"},
      {"--listen", "127.0.0.1:65536"},
      {"--listen", "::1:80"},
      {"--metrics", "127.0.0.1:x"},
      {"--root", ".", "-m", "content"},
  };
  for (std::vector<std::string> flags : bad) {
    const std::string what = fmt::format("{}", fmt::join(flags, " "));
    // Should one of them be accepted, the server stays out of the way of others.
    if (flags.front() != "-p" && flags.front() != "--listen") {
      flags.insert(flags.end(), {"--listen", "127.0.0.1:0"});
    }
    EXPECT_THAT(RunServer(flags), Refuses(2, "")) << what;
  }
}

TEST(GetfileServerStartTest, AMissingRootIsAUsageError) {
  const TempDir root;
  const std::string file = root.Write("file", "");
  EXPECT_THAT(RunServer({"-p", "0", "--root", root.path("missing")}),
              Refuses(2, root.path("missing") + "\": No such file or directory"));
  EXPECT_THAT(RunServer({"-p", "0", "--root", file}), Refuses(2, "Not a directory"));
}

TEST(GetfileServerStartTest, HelpAndVersionGoToStandardOutput) {
  const ToolResult help = RunServer({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.err, IsEmpty());
  for (const char* text : {"--port",       "10880",
                           "--threads",    "--root",
                           "--content",    "--delay",
                           "Microseconds", "--dot-files",
                           "--dialect",    "--header-timeout",
                           "Seconds",      "--max-connections",
                           "65536",        "--send-buffer-total",
                           "--access-log", "--listen",
                           "--metrics",    "--drain-timeout",
                           "--options",    "--log-level",
                           "--log-format", "--exit-on-stdin-close"}) {
    EXPECT_THAT(help.out, HasSubstr(text));
  }
  const ToolResult version = RunServer({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.err, IsEmpty());
  EXPECT_THAT(version.out, MatchesRegex("getfile-server [0-9]+\\.[0-9]+\\.[0-9]+ \\(.*\\)\n"));
}

TEST(GetfileServerStartTest, EveryOptionMayStandInAnOptionsFile) {
  const TempDir root;
  root.Write("site/.hidden", "from the file");
  const LoopbackLease lease(1);
  const std::string options =
      root.Write("options.toml", fmt::format("# of this test\n"
                                             "root = \"{}\"\n"
                                             "listen = [\"127.0.0.1:0\", \"{}:0\"]\n"
                                             "threads = 3\n"
                                             "dot-files = true\n"
                                             "dialect = \"legacy\"\n"
                                             "header-timeout = 2.5\n"
                                             "send-buffer-total = \"32m\"\n",
                                             root.path("site"), lease.address(0)));
  DaemonProcess server(Program({"--options", options}));
  ASSERT_TRUE(server.StartAndWaitReady().ok());
  EXPECT_THAT(server.Key("listen"),
              MatchesRegex("127.0.0.1:[0-9]+," + lease.address(0) + ":[0-9]+"));
  EXPECT_THAT(RawPeer::Exchange(server.host(), server.port(), Get("/.hidden")),
              Answers("GETFILE OK 13 from the file"));
}

TEST(GetfileServerStartTest, TheCommandLineWinsOverTheOptionsFile) {
  const TempDir root;
  const std::string options = root.Write("options.toml", "dialect = \"legacy\"\nport = 0\n");
  DaemonProcess server(Program({"--options", options, "--dialect", "standard"}));
  ASSERT_TRUE(server.StartAndWaitReady().ok());
  EXPECT_THAT(RawPeer::Exchange(server.host(), server.port(), Get("/nothing")), Answers(kNotFound));
}

TEST(GetfileServerStartTest, ABadOptionsFileIsAUsageError) {
  const TempDir root;
  const std::string unknown = root.Write("unknown.toml", "no-such-option = 1\n");
  const std::string bad_value = root.Write("value.toml", "threads = \"two\"\n");
  const std::string bad_port = root.Write("port.toml", "port = 70000\n");
  EXPECT_THAT(RunServer({"--options", unknown}), Refuses(2, "no-such-option"));
  EXPECT_THAT(RunServer({"--options", bad_value}), Refuses(2, "threads"));
  EXPECT_THAT(RunServer({"--options", bad_port}), Refuses(2, "port"));
  EXPECT_THAT(RunServer({"--options", root.path("missing.toml")}), Refuses(2, "missing.toml"));
}

TEST(GetfileServerStartTest, SystemdHearsTheReadyLineAndTheEnd) {
  const TempDir folder;
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = ""};
  const std::string path = folder.path("notify");
  ASSERT_LT(path.size(), sizeof address.sun_path);
  std::memcpy(address.sun_path, path.data(), path.size());
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  const timeval patience{
      .tv_sec = std::chrono::floor<std::chrono::seconds>(kDeadline * testing::kSlowdown).count(),
      .tv_usec = 0};
  ASSERT_EQ(::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
  const auto receive = [&] {
    char buffer[256];
    const ssize_t n = ::recv(socket.get(), buffer, sizeof buffer, 0);
    return std::string(buffer, n > 0 ? static_cast<std::size_t>(n) : 0);
  };

  DaemonProcess::Options options = Program({"-p", "0"});
  options.environment = {{"NOTIFY_SOCKET", path}};
  DaemonProcess server(options);
  ASSERT_TRUE(server.Start().ok());
  EXPECT_EQ(receive(), "READY=1");
  ASSERT_TRUE(server.WaitReady().ok());
  EXPECT_EQ(server.Terminate(), 0);
  EXPECT_EQ(receive(), "STOPPING=1");
}

TEST(GetfileServerStartTest, ADescriptorLimitThatIsTooLowForTheConnectionsIsSaid) {
  DaemonProcess::Options options = Program({"-p", "0"});
  options.open_files_max = 1024;
  DaemonProcess server(options);
  ASSERT_TRUE(server.StartAndWaitReady().ok());
  EXPECT_TRUE(Eventually(kDeadline, "the limit is said", [&] {
    return server.stderr_text().find("connections instead of 65536") != std::string::npos;
  }));
}

// --- The content file ---

TEST(GetfileServerContentTest, AContentFileNamesWhatIsServed) {
  const TempDir elsewhere;
  const std::string absolute = elsewhere.Write("absolute", "somewhere else");
  const TempDir folder;
  folder.Write("first.txt", "first");
  folder.Write("a name with  blanks.txt", "blanks");
  folder.Write("sub/file", "in a folder");
  folder.Write(".hidden", "hidden");
  folder.Write("\xc3\xa4", "umlaut");
  folder.Write("hash#tag", "hash");
  folder.Write("last", "last");
  folder.Write("not listed", "secret");
  const std::string content = folder.Write("content",
                                           "# what this server has\n"
                                           "\n"
                                           "/blank first.txt\n"
                                           "/tab\tfirst.txt\n"
                                           "  /many \t  first.txt \t \n"
                                           "/blanks a name with  blanks.txt\n"
                                           "/comment sub/file # the one in a folder\n"
                                           "/crlf first.txt\r\n"
                                           "/hidden .hidden\n"
                                           "/\xc3\xa4/\xff \xc3\xa4\n"
                                           "/hash#key hash#tag\n"
                                           "/absolute " +
                                               absolute +
                                               "\n"
                                               "/last last");
  const TempDir current;
  GetfileServer server({"-m", content}, {.program = "", .working_folder = current.path()});
  const std::vector<std::pair<std::string, std::string>> listed = {
      {"/blank", "first"},         {"/tab", "first"},
      {"/many", "first"},          {"/blanks", "blanks"},
      {"/comment", "in a folder"}, {"/crlf", "first"},
      {"/hidden", "hidden"},       {"/\xc3\xa4/\xff", "umlaut"},
      {"/hash#key", "hash"},       {"/absolute", "somewhere else"},
      {"/last", "last"},
  };
  for (const auto& [key, body] : listed) {
    EXPECT_THAT(server.Exchange(Get(key)), Answers(Ok(body))) << key;
  }
  for (const char* path : {"/", "/first.txt", "/content", "/BLANK", "/blank/", "//blank",
                           "/./blank", "/sub/file", "/not"}) {
    EXPECT_THAT(server.Exchange(Get(path)), Answers(kNotFound)) << path;
  }
}

TEST(GetfileServerContentTest, TheFolderOfTheContentFileMayBeTheCurrentOne) {
  const TempDir folder;
  folder.Write("file", "relative");
  folder.Write("content", "/a file\n");
  GetfileServer server({"-m", "content"}, {.program = "", .working_folder = folder.path()});
  EXPECT_THAT(server.Exchange(Get("/a")), Answers(Ok("relative")));
}

TEST(GetfileServerContentTest, EverythingWrongWithAContentFileIsListedInOneLine) {
  const TempDir folder;
  folder.Write("good.txt", "good");
  ASSERT_EQ(::mkdir(folder.path("folder").c_str(), 0755), 0);
  ASSERT_EQ(::mkfifo(folder.path("fifo").c_str(), 0644), 0);
  const std::string content = folder.Write("content",
                                           "/good good.txt\n"
                                           "no-slash good.txt\n"
                                           "/lonely\n"
                                           "/good good.txt\n"
                                           "/missing missing.txt\n"
                                           "/folder folder\n"
                                           "/fifo fifo\n"
                                           "/bell\a good.txt\n"
                                           "/last-line-too");
  const ToolResult result = RunServer({"-p", "0", "-m", content});
  EXPECT_THAT(result, Refuses(2, content));
  EXPECT_THAT(result.err, Not(HasSubstr("line 1:")));
  for (int line = 2; line <= 9; ++line) {
    EXPECT_THAT(result.err, HasSubstr(fmt::format("line {}:", line)));
  }
  EXPECT_THAT(result.err, AllOf(HasSubstr("no-slash"), HasSubstr("missing.txt"),
                                HasSubstr("not a regular file")));
}

TEST(GetfileServerContentTest, AMissingContentFileIsAUsageError) {
  const TempDir folder;
  EXPECT_THAT(RunServer({"-p", "0", "-m", folder.path("missing")}),
              Refuses(2, "No such file or directory"));
  EXPECT_THAT(RunServer({"-p", "0", "-m", folder.path()}), Refuses(2, "not a regular file"));
}

TEST(GetfileServerContentTest, AReloadDropsNoConnection) {
  const TempDir folder;
  const std::string body = Content(16 * kMiB);
  folder.Write("large", body);
  folder.Write("small", "small");
  folder.Write("content", "/large large\n/old small\n");
  GetfileServer server({"-m", folder.path("content"), "--header-timeout", "600"});
  SlowTransfer transfer(server, GetKeepAlive("/large"));
  RawPeer idle = server.Connect();
  const std::string small = Ok("small");
  ASSERT_TRUE(idle.Send(GetKeepAlive("/old")));
  ASSERT_EQ(idle.Read(small.size()).bytes, small);
  RawPeer halfway = server.Connect();
  ASSERT_TRUE(halfway.Send("GETFILE GET /n"));
  ASSERT_TRUE(server.WaitUntilRead(halfway));

  folder.Write("content", "/new small\n");
  ASSERT_TRUE(server.process().Signal(SIGHUP));
  EXPECT_TRUE(LogEventuallyHas(server.process(), "content file read again"));
  EXPECT_TRUE(Eventually(kDeadline, "both workers serve the new content", [&] {
    for (int i = 0; i < 10; ++i) {
      if (server.Exchange(Get("/new")).bytes != small) return false;
      if (server.Exchange(Get("/old")).bytes != kNotFound) return false;
    }
    return true;
  }));

  // The connections from before: one idle, one in the middle of a header, one of an answer.
  ASSERT_TRUE(idle.Send(GetKeepAlive("/old") + Get("/new")));
  EXPECT_THAT(idle.ReadToEnd(), Answers(std::string(kNotFound) + small));
  ASSERT_TRUE(halfway.Send("ew\r\n\r\n"));
  EXPECT_THAT(halfway.ReadToEnd(), Answers(small));
  ASSERT_TRUE(transfer.peer.Send(Get("/large")));
  EXPECT_THAT(transfer.Finish(), Answers(Ok(body) + std::string(kNotFound)));
}

TEST(GetfileServerContentTest, ABadNewContentFileKeepsTheOldOneAndSaysSo) {
  const TempDir folder;
  folder.Write("file", "kept");
  const std::string content = folder.Write("content", "/a file\n");
  GetfileServer server({"-m", content});
  folder.Write("content", "/b file\nnonsense\n/c missing\n");
  ASSERT_TRUE(server.process().Signal(SIGHUP));
  EXPECT_TRUE(LogEventuallyHas(server.process(), "the old content stays"));
  EXPECT_THAT(server.process().stderr_text(), AllOf(HasSubstr("line 2:"), HasSubstr("line 3:")));
  EXPECT_THAT(server.Exchange(Get("/a")), Answers(Ok("kept")));
  EXPECT_THAT(server.Exchange(Get("/b")), Answers(kNotFound));

  ASSERT_EQ(::unlink(content.c_str()), 0);
  ASSERT_TRUE(server.process().Signal(SIGHUP));
  EXPECT_TRUE(LogEventuallyHas(server.process(), "No such file or directory"));
  EXPECT_THAT(server.Exchange(Get("/a")), Answers(Ok("kept")));
}

// --- Signals and ends ---

TEST(GetfileServerEndTest, TransfersInFlightFinishAfterSigtermAndNewOnesAreRefused) {
  const TempDir root;
  const std::string body = Content(16 * kMiB);
  root.Write("large", body);
  GetfileServer server({"--root", root.path(), "--drain-timeout", "600"});
  std::vector<SlowTransfer> transfers;
  transfers.reserve(4);
  for (int i = 0; i < 4; ++i) {
    transfers.emplace_back(server, i % 2 == 0 ? Get("/large") : GetKeepAlive("/large"));
  }
  ASSERT_TRUE(server.process().Signal(SIGTERM));
  EXPECT_TRUE(Eventually(kDeadline, "new connections are refused", [&] {
    const auto hosts = LoopbackHosts();
    return std::none_of(hosts.begin(), hosts.end(), [&](const std::string& host) {
      return RawPeer::Connect(host, server.port()).ok();
    });
  }));
  EXPECT_TRUE(server.process().running());
  for (SlowTransfer& transfer : transfers) EXPECT_THAT(transfer.Finish(), Answers(Ok(body)));
  EXPECT_TRUE(server.process().Wait().Exited(0));
}

TEST(GetfileServerEndTest, ARequestThatWaitsForItsLookupIsAnsweredAfterSigterm) {
  const TempDir root;
  root.Write("a", "late");
  GetfileServer server({"--root", root.path(), "-d", "500000", "--drain-timeout", "600"});
  RawPeer peer = server.Connect();
  ASSERT_TRUE(peer.Send(GetKeepAlive("/a")));
  ASSERT_TRUE(server.WaitUntilRead(peer));
  ASSERT_TRUE(server.process().Signal(SIGTERM));
  EXPECT_THAT(peer.ReadToEnd(), Answers(Ok("late")));
  peer.Close();
  EXPECT_TRUE(server.process().Wait().Exited(0));
}

TEST(GetfileServerEndTest, IdleConnectionsDoNotHoldUpTheEnd) {
  const TempDir root;
  root.Write("a", "idle");
  GetfileServer server({"--root", root.path(), "--drain-timeout", "600"});
  RawPeer silent = server.Connect();
  RawPeer idle = server.Connect();
  const std::string answer = Ok("idle");
  ASSERT_TRUE(idle.Send(GetKeepAlive("/a")));
  ASSERT_EQ(idle.Read(answer.size()).bytes, answer);
  EXPECT_EQ(server.process().Terminate(), 0);
  EXPECT_THAT(silent.ReadToEnd(), Answers(""));
  EXPECT_THAT(idle.ReadToEnd(), Answers(""));
}

TEST(GetfileServerEndTest, PeersThatNeverFinishAreCutOffAtTheDrainTimeout) {
  const TempDir root;
  root.Write("large", Content(16 * kMiB));
  GetfileServer server({"--root", root.path(), "--drain-timeout", "0.2"});
  const SlowTransfer never_reads(server, Get("/large"));
  RawPeer never_ends = server.Connect();
  ASSERT_TRUE(never_ends.Send("GETFILE GET"));
  ASSERT_TRUE(server.WaitUntilRead(never_ends));
  EXPECT_EQ(server.process().Terminate(), 0);
  EXPECT_THAT(server.process().stderr_text(), HasSubstr("2 connections cut off"));
}

TEST(GetfileServerEndTest, ASecondSignalEndsAtOnceWithAFailure) {
  const TempDir root;
  root.Write("large", Content(16 * kMiB));
  for (const auto& [first, second] : {std::pair{SIGTERM, SIGTERM}, {SIGINT, SIGTERM}}) {
    GetfileServer server({"--root", root.path(), "--drain-timeout", "86400"});
    const SlowTransfer transfer(server, Get("/large"));
    ASSERT_TRUE(server.process().Signal(first));
    ASSERT_TRUE(LogEventuallyHas(server.process(), "shutting down"));
    ASSERT_TRUE(server.process().Signal(second));
    EXPECT_TRUE(server.process().Wait().Exited(1));
  }
}

TEST(GetfileServerEndTest, HalfARequestDoesNotHoldUpTheEnd) {
  GetfileServer server({"--drain-timeout", "86400"});
  auto peer = RawPeer::Connect("127.0.0.1", server.port());
  ASSERT_TRUE(peer.ok());
  ASSERT_TRUE(peer->Send("GETFILE G"));
  EXPECT_EQ(server.Exchange(Get("/missing")).bytes, kNotFound) << "the other one was accepted";
  ASSERT_TRUE(server.process().Signal(SIGTERM));
  EXPECT_EQ(peer->ReadToEnd().bytes, kInvalid);
  peer->Close();
  EXPECT_TRUE(server.process().Wait().Exited(0));
}

TEST(GetfileServerEndTest, RequestsThatArrivedBeforeTheSignalAreAnswered) {
  const TempDir root;
  root.Write("a", "hello");
  GetfileServer server({"--root", root.path()});
  server.process().Pause();
  std::vector<RawPeer> peers;
  for (int i = 0; i < 200; ++i) {
    auto peer = RawPeer::Connect("127.0.0.1", server.port());
    ASSERT_TRUE(peer.ok());
    ASSERT_TRUE(peer->Send(Get("/a")));
    peers.push_back(*std::move(peer));
  }
  ASSERT_TRUE(server.process().Signal(SIGTERM));
  server.process().Resume();
  for (RawPeer& peer : peers) EXPECT_EQ(peer.ReadToEnd().bytes, Ok("hello"));
  EXPECT_TRUE(server.process().Wait().Exited(0));
}

TEST(GetfileServerEndTest, SigintIsAsGoodAsSigterm) {
  GetfileServer server({});
  ASSERT_TRUE(server.process().Signal(SIGINT));
  EXPECT_TRUE(server.process().Wait().Exited(0));
}

TEST(GetfileServerEndTest, TheServerEndsWhenItsStandardInputCloses) {
  GetfileServer server({});
  server.process().CloseStdin();
  EXPECT_TRUE(server.process().Wait().Exited(0));
}

TEST(GetfileServerEndTest, SighupAndSigpipeDoNotEndIt) {
  const TempDir root;
  root.Write("a", "alive");
  GetfileServer server({"--root", root.path()});
  for (const int signal : {SIGHUP, SIGPIPE, SIGHUP}) {
    ASSERT_TRUE(server.process().Signal(signal));
    EXPECT_THAT(server.Exchange(Get("/a")), Answers(Ok("alive")));
  }
}

TEST(GetfileServerEndTest, APeerThatResetsInTheMiddleOfAnAnswerHurtsNobody) {
  const TempDir root;
  root.Write("large", Content(16 * kMiB));
  root.Write("a", "alive");
  GetfileServer server({"--root", root.path()});
  for (int i = 0; i < 20; ++i) {
    SlowTransfer transfer(server, Get("/large"));
    transfer.peer.Reset();
    EXPECT_THAT(server.Exchange(Get("/a")), Answers(Ok("alive")));
  }
}

TEST(GetfileServerEndTest, AKilledServerStartsAgainAtOnceOnItsPortUnderLoad) {
  constexpr int kFiles = 40;
  const int requests = testing::kSlowdown > 1 ? 1500 : 15000;
  const LoopbackLease lease(1);
  const TempDir root;
  const TempDir output;
  std::string workload;
  std::string digests;
  for (unsigned i = 0; i < kFiles; ++i) {
    const std::string body = Content(std::size_t{1000} * i, i);
    root.Write(fmt::format("f{}", i), body);
    workload += fmt::format("/f{}\n", i);
    digests += fmt::format("{}  f{}\n", testing::Sha256Hex(body), i);
  }
  const TempDir lists;
  DaemonProcess server(Program({"--root", root.path(), "--listen", lease.address(0) + ":10880"}));
  ASSERT_TRUE(server.StartAndWaitReady().ok());
  ToolProcess client("getfile-client",
                     {"-s", lease.address(0), "-w", lists.Write("workload", workload), "-r",
                      std::to_string(requests), "-t", "8", "-o", output.path(), "--verify",
                      lists.Write("digests", digests), "--retries", "1000"},
                     {.timeout = std::chrono::minutes(3)});
  ASSERT_TRUE(client.Start().ok());
  const auto arrived = [&] {
    const std::string out = client.out();
    return std::count(out.begin(), out.end(), '\n');
  };
  for (int round = 1; round <= 3; ++round) {
    const auto goal = arrived() + requests / 6;
    ASSERT_TRUE(Eventually(kDeadline, "files arrive", [&] { return arrived() >= goal; }));
    server.Kill();
    ASSERT_TRUE(server.StartAndWaitReady().ok()) << "round " << round;
    EXPECT_EQ(server.port(), 10880);
  }
  const ToolResult result = client.Wait();
  EXPECT_EQ(result.exit_code, 0) << result.err.substr(0, 2000);
  EXPECT_EQ(arrived(), requests);
  EXPECT_EQ(Lines(result.out).size(), static_cast<std::size_t>(requests));
}

// --- What it says about itself ---

TEST(GetfileServerReportTest, Sigusr1DumpsStatisticsToTheLog) {
  const TempDir root;
  root.Write("a", "counted");
  GetfileServer server({"--root", root.path()});
  for (int i = 0; i < 3; ++i) ASSERT_THAT(server.Exchange(Get("/a")), Answers(Ok("counted")));
  ASSERT_TRUE(server.process().Signal(SIGUSR1));
  EXPECT_TRUE(LogEventuallyHas(server.process(),
                               "getfile_requests_total{protocol=\"getfile\",status=\"OK\"} 3"));
  EXPECT_TRUE(LogEventuallyHas(server.process(), "getfile_body_bytes_total 21"));
  EXPECT_THAT(server.process().stdout_lines(), SizeIs(1));
}

TEST(GetfileServerReportTest, JsonLogLinesAreJsonObjects) {
  const TempDir folder;
  folder.Write("file", "file");
  const std::string content = folder.Write("content", "/a file\n");
  GetfileServer server({"-m", content, "--log-format", "json"});
  // A message with quotes, a backslash and a byte that is not UTF-8.
  folder.Write("content", "/b file\n\"x\\y\xff file\n/z \xff\n");
  ASSERT_TRUE(server.process().Signal(SIGHUP));
  ASSERT_TRUE(LogEventuallyHas(server.process(), "the old content stays"));
  ASSERT_TRUE(server.process().Signal(SIGUSR1));
  ASSERT_TRUE(LogEventuallyHas(server.process(), "getfile_access_log_lines_lost_total"));
  EXPECT_EQ(server.process().Terminate(), 0);
  std::map<std::string, int> levels;
  for (const std::string& text : Lines(server.process().stderr_text())) {
    const auto line = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(line.is_object()) << text;
    EXPECT_THAT(line.value("time", ""), MatchesRegex("20..-..-..T..:..:..\\....Z")) << text;
    EXPECT_EQ(line.value("program", ""), "getfile-server") << text;
    EXPECT_NE(line.value("message", ""), "") << text;
    ++levels[line.value("level", "")];
  }
  EXPECT_EQ(levels["error"], 1);
  EXPECT_GT(levels["info"], 0);
}

TEST(GetfileServerReportTest, TheLogLevelKeepsLesserLinesBack) {
  const TempDir folder;
  folder.Write("file", "file");
  const std::string content = folder.Write("content", "/a file\n");
  GetfileServer server({"-m", content, "--log-level", "error"});
  folder.Write("content", "nonsense\n");
  ASSERT_TRUE(server.process().Signal(SIGHUP));
  ASSERT_TRUE(LogEventuallyHas(server.process(), "the old content stays"));
  EXPECT_EQ(server.process().Terminate(), 0);
  EXPECT_THAT(Lines(server.process().stderr_text()), SizeIs(1));
}

TEST(GetfileServerReportTest, TheMetricsPageIsPrometheusText) {
  const TempDir root;
  root.Write("a", "12345");
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  ASSERT_THAT(server.Exchange(Get("/a")), Answers(Ok("12345")));
  ASSERT_THAT(server.Exchange(Get("/b")), Answers(kNotFound));
  ASSERT_THAT(server.Exchange("nonsense"), Answers(kInvalid));
  const std::string page = server.MetricsPage();
  EXPECT_THAT(page, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(page, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_EQ(FindMetric(page, "getfile_requests_total{protocol=\"getfile\",status=\"OK\"}"), 1);
  EXPECT_EQ(
      FindMetric(page, "getfile_requests_total{protocol=\"getfile\",status=\"FILE_NOT_FOUND\"}"),
      1);
  EXPECT_EQ(FindMetric(page, "getfile_requests_total{protocol=\"getfile\",status=\"INVALID\"}"), 1);
  EXPECT_EQ(FindMetric(page, "getfile_requests_total{protocol=\"getfile\",status=\"ERROR\"}"), 0);
  EXPECT_EQ(FindMetric(page, "getfile_body_bytes_total"), 5);
  EXPECT_EQ(FindMetric(page, "getfile_connections_accepted_total"), 3);
  EXPECT_EQ(FindMetric(page, "getfile_answer_seconds_count"), 3);
  EXPECT_GT(FindMetric(page, "process_resident_memory_bytes"), 0);
  EXPECT_THAT(page, HasSubstr("# TYPE getfile_answer_seconds histogram"));
  EXPECT_THAT(page, HasSubstr("# TYPE getfile_connections_open gauge"));
}

TEST(GetfileServerReportTest, HealthFollowsTheServersLife) {
  const TempDir root;
  root.Write("large", Content(16 * kMiB));
  GetfileServer server(
      {"--root", root.path(), "--metrics", "127.0.0.1:0", "--drain-timeout", "600"});
  const auto address = net::HostPort::Parse(server.process().Key("metrics"));
  ASSERT_TRUE(address.ok());
  const auto ask = [&](const std::string& path) {
    return RawPeer::Exchange(address->host, address->port, "GET " + path + " HTTP/1.0\r\n\r\n")
        .bytes;
  };
  EXPECT_THAT(ask("/healthz"), AllOf(StartsWith("HTTP/1.1 200 "), HasSubstr("\r\n\r\nok\n")));
  EXPECT_THAT(ask("/"), MatchesRegex("HTTP/1\\.. 404 (.|\n)*"));
  EXPECT_THAT(ask("/metricsx"), MatchesRegex("HTTP/1\\.. 404 (.|\n)*"));
  SlowTransfer transfer(server, Get("/large"));
  ASSERT_TRUE(server.process().Signal(SIGTERM));
  EXPECT_TRUE(Eventually(kDeadline, "it is no longer healthy",
                         [&] { return ask("/healthz").starts_with("HTTP/1.1 503 "); }));
  EXPECT_EQ(transfer.Finish().end, End::kClosed);
  EXPECT_TRUE(server.process().Wait().Exited(0));
}

// --- The access log ---

/// The lines of a log file, or none if there is no such file.
std::vector<std::string> FileLines(const TempDir& folder, const std::string& name) {
  return folder.Exists(name) ? Lines(folder.Read(name)) : std::vector<std::string>();
}

TEST(GetfileServerAccessLogTest, EveryAnswerHasALine) {
  const TempDir root;
  root.Write("a", "12345");
  root.Write("gr\xc3\xbc\"n", "");
  const TempDir logs;
  GetfileServer server({"--root", root.path(), "--access-log", logs.path("access.log")});
  for (const std::string& request :
       {Get("/a"), Get("/missing"), std::string("nonsense"), Get("/gr\xc3\xbc\"n")}) {
    server.Exchange(request);
  }
  const std::string last_host = LoopbackHosts().back();
  EXPECT_NE(RawPeer::Exchange(last_host, server.port(), Get("/a")).bytes, "");
  EXPECT_TRUE(Eventually(kDeadline, "five lines",
                         [&] { return FileLines(logs, "access.log").size() == 5; }));
  // The two workers may write in either order.
  std::string all = logs.Read("access.log");
  const std::string stamp = " - - \\[[0-9]+/[A-Z][a-z]+/20[0-9]+:..:..:.. \\+0000\\] ";
  const std::string seconds = " [0-9]+\\.[0-9]+";
  EXPECT_THAT(Lines(all),
              ::testing::UnorderedElementsAre(
                  MatchesRegex("127.0.0.1" + stamp + "\"GET /a GETFILE\" 200 5" + seconds),
                  MatchesRegex("127.0.0.1" + stamp + "\"GET /missing GETFILE\" 404 0" + seconds),
                  MatchesRegex("127.0.0.1" + stamp + "\"-\" 400 0" + seconds),
                  MatchesRegex("127.0.0.1" + stamp +
                               "\"GET /gr\\\\xc3\\\\xbc\\\\x22n GETFILE\" 200 0" + seconds),
                  MatchesRegex(last_host + stamp + "\"GET /a GETFILE\" 200 5" + seconds)));
}

TEST(GetfileServerAccessLogTest, LinesAreWrittenAtTheEnd) {
  const TempDir root;
  const TempDir logs;
  GetfileServer server({"--root", root.path(), "--access-log", logs.path("access.log")});
  for (int i = 0; i < 100; ++i) ASSERT_THAT(server.Exchange(Get("/a")), Answers(kNotFound));
  EXPECT_EQ(server.process().Terminate(), 0);
  EXPECT_THAT(FileLines(logs, "access.log"), SizeIs(100));
}

TEST(GetfileServerAccessLogTest, ARenamedLogIsFollowedByAFreshOneAfterSighup) {
  const TempDir root;
  const TempDir logs;
  const std::string log = logs.path("access.log");
  GetfileServer server({"--root", root.path(), "--access-log", log});
  std::size_t requests = 0;
  const auto ask = [&] {
    ++requests;
    return server.Exchange(Get("/a")).bytes == kNotFound;
  };
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(ask());
  ASSERT_EQ(std::rename(log.c_str(), logs.path("access.log.1").c_str()), 0);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(ask());
  ASSERT_TRUE(server.process().Signal(SIGHUP));
  EXPECT_TRUE(Eventually(kDeadline, "lines in the fresh log",
                         [&] { return ask() && !FileLines(logs, "access.log").empty(); }));
  EXPECT_THAT(FileLines(logs, "access.log.1"), SizeIs(::testing::Ge(20U)));
  // Nothing was lost between the two.
  EXPECT_EQ(server.process().Terminate(), 0);
  EXPECT_EQ(FileLines(logs, "access.log.1").size() + FileLines(logs, "access.log").size(),
            requests);
}

TEST(GetfileServerAccessLogTest, LinesThatTheDiskRefusesAreCountedAndFilesStillServed) {
  const TempDir root;
  root.Write("a", "served");
  GetfileServer server(
      {"--root", root.path(), "--metrics", "127.0.0.1:0", "--access-log", "/dev/full"});
  for (int i = 0; i < 20; ++i) ASSERT_THAT(server.Exchange(Get("/a")), Answers(Ok("served")));
  EXPECT_TRUE(Eventually(kDeadline, "the lost lines are counted", [&] {
    return server.Metric("getfile_access_log_lines_lost_total") == 20;
  }));
  EXPECT_THAT(server.Exchange(Get("/a")), Answers(Ok("served")));
}

TEST(GetfileServerAccessLogTest, ALogThatCannotBeReopenedIsKept) {
  const TempDir root;
  const TempDir logs;
  logs.Write("folder/keep", "");
  const std::string log = logs.path("folder/access.log");
  GetfileServer server({"--root", root.path(), "--access-log", log});
  ASSERT_THAT(server.Exchange(Get("/a")), Answers(kNotFound));
  ASSERT_EQ(std::rename(logs.path("folder").c_str(), logs.path("elsewhere").c_str()), 0);
  ASSERT_TRUE(server.process().Signal(SIGHUP));
  EXPECT_TRUE(LogEventuallyHas(server.process(), "the old access log stays"));
  ASSERT_THAT(server.Exchange(Get("/a")), Answers(kNotFound));
  EXPECT_EQ(server.process().Terminate(), 0);
  EXPECT_THAT(FileLines(logs, "elsewhere/access.log"), SizeIs(2));
}

// --- Limits ---

TEST(GetfileServerLimitTest, ConnectionsBeyondTheMaximumAreAnsweredErrorUntilOneEnds) {
  const TempDir root;
  root.Write("a", "served");
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0", "--max-connections", "4",
                        "--header-timeout", "600"});
  std::vector<RawPeer> peers;
  const std::string answer = Ok("served");
  for (int i = 0; i < 4; ++i) {
    peers.push_back(server.Connect());
    ASSERT_TRUE(peers.back().Send(GetKeepAlive("/a")));
    ASSERT_EQ(peers.back().Read(answer.size()).bytes, answer);
  }
  EXPECT_THAT(server.Exchange(Get("/a")), Answers(kError));
  EXPECT_THAT(server.Exchange(GetKeepAlive("/a") + Get("/a")), Answers(kError));
  RawPeer silent = server.Connect();
  EXPECT_THAT(silent.ReadToEnd(), Answers(""));
  EXPECT_EQ(server.Metric("getfile_connections_refused_total"), 3);
  EXPECT_EQ(server.Metric("getfile_connections_accepted_total"), 4);

  // Those within the limit do not notice.
  ASSERT_TRUE(peers[0].Send(GetKeepAlive("/a")));
  ASSERT_EQ(peers[0].Read(answer.size()).bytes, answer);

  peers.pop_back();
  EXPECT_TRUE(Eventually(kDeadline, "a place has become free",
                         [&] { return server.Exchange(Get("/a")).bytes == answer; }));
}

TEST(GetfileServerLimitTest, WithoutDescriptorsTheAcceptLoopPausesAndThenServesWhoWaits) {
  constexpr int kListeners = 2;
  constexpr int kWorkers = 2;
  const TempDir root;
  root.Write("a", "patience");
  GetfileServer server({"--root", root.path()});
  std::vector<RawPeer> waiting;
  {
    const auto start = std::chrono::steady_clock::now();
    const DescriptorLimit limit(server.process().pid(), 3);  // the three standard ones are open
    for (int i = 0; i < 20; ++i) {
      waiting.push_back(server.Connect());
      ASSERT_TRUE(waiting.back().Send(Get("/a")));
    }
    double errors = 0;
    EXPECT_TRUE(Eventually(kDeadline, "accepting has failed repeatedly", [&] {
      if (!server.process().Signal(SIGUSR1)) return true;  // it has ended
      errors =
          FindMetric(server.process().stderr_text(), "statistics: getfile_accept_errors_total");
      return errors >= 8;
    }));
    ASSERT_TRUE(server.process().running());
    // A loop that spins would have failed thousands of times: each listener of each worker pauses
    // for 100 ms after a failure. (However slow the machine is, it cannot fail more often.)
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    EXPECT_LE(errors, kListeners * kWorkers * (elapsed.count() / 0.1 + 2));
  }
  for (RawPeer& peer : waiting) EXPECT_THAT(peer.ReadToEnd(), Answers(Ok("patience")));
  EXPECT_THAT(server.Exchange(Get("/a")), Answers(Ok("patience")));
}

}  // namespace
}  // namespace ds::getfile
