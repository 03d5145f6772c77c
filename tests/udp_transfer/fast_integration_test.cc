#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "tests/harness/eventually.h"
#include "tests/harness/loopback_lease.h"
#include "tests/udp_transfer/foreign_classic.h"
#include "tests/udp_transfer/udp_proxy.h"
#include "tests/udp_transfer/udp_server.h"

// Fast mode between the built programs.

namespace ds::udp_transfer {
namespace {

using testing::DatagramPeer;
using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::RunTool;
using testing::TempDir;
using testing::ToolProcess;
using Way = UdpProxy::Way;

namespace stdfs = std::filesystem;

// --- Files ---

/// Where the programs are.
std::string ProgramFolder() {
  const char* const folder = std::getenv("DS_BIN_DIR");  // NOLINT(concurrency-mt-unsafe)
  return folder != nullptr ? folder : ".";
}

TEST(FastModeTest, FilesOfAllSizesArriveWhole) {
  UdpServer server;
  const TempDir folder;
  for (const std::size_t size : std::vector<std::size_t>{0, 1, 1199, 65'536, kMiB, 33 * kMiB + 7}) {
    const std::string content = Content(size);
    // What fits into one classic message may be there before the answer to the hello.
    const char* const mode = size <= 1 ? "fast" : "auto";
    const auto result =
        Send(server.address(), folder.Write("source", content), "name", {"--mode", mode});
    EXPECT_EQ(result["mode"], "fast") << size;
    EXPECT_EQ(result["bytes"], size);
    EXPECT_TRUE(server.folder().Read("name") == content) << size;
  }
  EXPECT_EQ(server.HiddenFiles(), 0U);
}

TEST(FastModeTest, SizesAroundPowersOfTwoArriveWhole) {
  UdpServer server({"--no-sync"});
  const TempDir folder;
  std::map<std::string, std::string> files;
  for (std::size_t power = 1; power <= 4 * kMiB; power *= 2) {
    for (const std::size_t size : {power - 1, power, power + 1}) {
      const std::string name = std::to_string(size);
      files[name] = Content(size, static_cast<unsigned>(size));
      folder.Write("put/" + name, files[name]);
    }
  }
  const auto result = Send(server.address(), folder.path("put"), "put");
  EXPECT_EQ(result["failed"], 0);
  for (const auto& [name, content] : files) {
    EXPECT_TRUE(server.folder().Read("put/" + name) == content) << name;
  }
}

TEST(FastModeTest, BothFamiliesAreServed) {
  if (!testing::MachineHasIpv6()) GTEST_SKIP() << "no IPv6 on this machine";
  UdpServer server;
  const TempDir folder;
  const auto result = Send(fmt::format("[::1]:{}", server.port()), folder.Write("source", "6"),
                           "six", {"--mode", "fast"});
  EXPECT_EQ(result["mode"], "fast");
  EXPECT_EQ(server.folder().Read("six"), "6");
}

TEST(FastModeTest, TheRateLimitIsNotExceeded) {
  UdpServer server;
  const TempDir folder;
  const auto result = Send(server.address(), folder.Write("source", Content(3 * kMiB)), "name",
                           {"--rate-limit", "20"});
  EXPECT_LT(result["mbit_per_s"], 21);
}

TEST(FastModeTest, WhatIsLargerThanTheLimitsIsRefused) {
  const TempDir folder;
  const std::string most = folder.Write("most", Content(kMiB));
  const std::string more = folder.Write("more", Content(kMiB + 1));
  for (const char* limit : {"--max-file", "--max-partial"}) {
    UdpServer server({limit, "1m"});
    Send(server.address(), most, "most", {"--mode", "fast"});
    const ToolResult result = RunClient({server.address(), more, "more", "--mode", "fast"});
    EXPECT_EQ(result.exit_code, 1) << limit;
    EXPECT_THAT(result.err, HasSubstr("send \"" + more + "\" as \"more\": ")) << limit;
    EXPECT_THAT(server.Files(), ElementsAre("most"));
    EXPECT_EQ(server.HiddenFiles(), 0U);
  }
}

TEST(FastModeTest, ATerminalGetsAProgressLineAndAPipeNone) {
  UdpServer server;
  const TempDir folder;
  const std::string source = folder.Write("source", Content(5 * kMiB));
  const std::string command = fmt::format(
      "$DS_BIN_DIR/udp-client {} {} name --mode fast --rate-limit 20", server.address(), source);
  const ToolResult terminal = RunTool("script", {"-qec", command, "/dev/null"});
  EXPECT_EQ(terminal.exit_code, 0);
  EXPECT_THAT(terminal.out, ::testing::ContainsRegex("[0-9]+%.*[0-9.]+ [kMG]i?B/s"));
  EXPECT_THAT(terminal.out, HasSubstr("name 5242880 bytes in "));
  const ToolResult pipe = RunTool("sh", {"-c", command});
  EXPECT_EQ(pipe.exit_code, 0);
  EXPECT_EQ(pipe.err, "");
}

TEST(FastModeTest, TheResultHasAllItsFields) {
  UdpServer server;
  const TempDir folder;
  const std::string content = Content(kMiB);
  const auto result = Send(server.address(), folder.Write("source", content), "name");
  for (const char* field : {"bytes", "seconds", "mbit_per_s", "sent_bytes", "retransmitted_bytes",
                            "resumed_bytes", "mode", "rtt_ms"}) {
    EXPECT_TRUE(result.contains(field)) << field;
  }
  EXPECT_EQ(result["name"], "name");
  EXPECT_GT(result["seconds"], 0);
  EXPECT_GT(result["mbit_per_s"], 0);
  EXPECT_GT(result["sent_bytes"], kMiB);
  EXPECT_GT(result["rtt_ms"], 0);
  EXPECT_EQ(result["resumed_bytes"], 0);
}

TEST(FastModeTest, ModeAndTimeOfAFileComeAlong) {
  UdpServer server;
  const TempDir folder;
  const std::string source = folder.Write("source", "content");
  ASSERT_EQ(::chmod(source.c_str(), 0640), 0);
  const std::array<timespec, 2> times = {timespec{1'000'000'000, 0}, timespec{1'234'567'890, 5000}};
  ASSERT_EQ(::utimensat(AT_FDCWD, source.c_str(), times.data(), 0), 0);
  Send(server.address(), source, "name", {"--mode", "fast"});
  struct stat info {};
  ASSERT_EQ(::stat(server.folder().path("name").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777U, 0640U);
  EXPECT_EQ(info.st_mtim.tv_sec, 1'234'567'890);
  EXPECT_EQ(info.st_mtim.tv_nsec, 5000);
}

TEST(FastModeTest, FoldersArriveWithAllThatIsInThem) {
  UdpServer server;
  const TempDir folder;
  folder.Write("tree/a", "1");
  folder.Write("tree/b/c", "2");
  folder.Write("tree/b/empty", "");
  ASSERT_TRUE(stdfs::create_directory(folder.path("tree/hollow")));
  for (int i = 0; i < 300; ++i) folder.Write(fmt::format("tree/many/{}", i), std::to_string(i));
  const auto result = Send(server.address(), folder.path("tree"), "copy");
  EXPECT_EQ(result["failed"], 0);
  EXPECT_EQ(server.folder().Read("copy/a"), "1");
  EXPECT_EQ(server.folder().Read("copy/b/c"), "2");
  EXPECT_EQ(server.folder().Read("copy/b/empty"), "");
  EXPECT_TRUE(stdfs::is_directory(server.folder().path("copy/hollow")));
  for (int i = 0; i < 300; ++i) {
    ASSERT_EQ(server.folder().Read(fmt::format("copy/many/{}", i)), std::to_string(i));
  }
}

TEST(FastModeTest, SeveralPathsAndATrailingSlashGoBelowTheName) {
  UdpServer server;
  const TempDir folder;
  folder.Write("tree/a", "1");
  const std::string b = folder.Write("b", "2");
  const ToolResult two =
      RunClient({server.address(), folder.path("tree/"), b, "put", "--mode", "fast"});
  EXPECT_EQ(two.exit_code, 0) << two.err;
  EXPECT_EQ(server.folder().Read("put/tree/a"), "1");
  EXPECT_EQ(server.folder().Read("put/b"), "2");
  Send(server.address(), b, "slash/");
  EXPECT_EQ(server.folder().Read("slash/b"), "2");
}

TEST(FastModeTest, OneBadFileDoesNotKeepTheOthersBack) {
  UdpServer server({"--overwrite", "no"});
  server.folder().Write("put/taken", "was here");
  const TempDir folder;
  const std::string taken = folder.Write("taken", "new");
  const std::string good = folder.Write("good", "good");
  const ToolResult result = RunClient({server.address(), taken, good, "put"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("put/taken"));
  EXPECT_EQ(server.folder().Read("put/taken"), "was here");
  EXPECT_EQ(server.folder().Read("put/good"), "good");
}

TEST(FastModeTest, LinksBelowAFolderAreNotSentAndOneThatIsNamedIsFollowed) {
  UdpServer server({"--no-sync"});
  const TempDir folder;
  folder.Write("secret", "secret");
  ASSERT_TRUE(stdfs::create_directory(folder.path("put")));
  folder.Write("put/file", "x");
  stdfs::create_symlink("../secret", folder.path("put/to-file"));
  stdfs::create_directory_symlink("..", folder.path("put/to-folder"));
  stdfs::create_symlink("nowhere", folder.path("put/to-nothing"));
  ASSERT_EQ(::mkfifo(folder.path("put/pipe").c_str(), 0600), 0);
  const ToolResult result = RunClient({server.address(), folder.path("put"), "put"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* link : {"to-file", "to-folder", "to-nothing"}) {
    EXPECT_THAT(result.err, HasSubstr(fmt::format("put/{}\" is a link", link)));
    EXPECT_FALSE(stdfs::exists(server.folder().path(fmt::format("put/{}", link))));
  }
  EXPECT_THAT(result.err, HasSubstr("put/pipe\" is neither a file nor a folder"));
  EXPECT_EQ(server.folder().Read("put/file"), "x");
  Send(server.address(), folder.path("put/to-file"), "followed");
  EXPECT_EQ(server.folder().Read("followed"), "secret");
}

TEST(FastModeTest, WhatCannotBeListedIsNamedAndTheRestIsSent) {
  UdpServer server;
  const TempDir folder;
  ASSERT_TRUE(stdfs::create_directories(folder.path("put/closed")));
  folder.Write("put/file", "x");
  ASSERT_EQ(::chmod(folder.path("put/closed").c_str(), 0), 0);
  const std::string bin = ProgramFolder();
  // In a user namespace that maps nobody, since root could list it.
  const ToolResult result =
      RunTool("unshare", {"-U", bin + "/udp-client", server.address(), folder.path("put"), "put"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("put/closed\": Permission denied"));
  EXPECT_EQ(server.folder().Read("put/file"), "x");
  EXPECT_FALSE(stdfs::exists(server.folder().path("put/closed")));
}

TEST(FastModeTest, TheServersReasonIsPrintedAsItIsWritten) {
  UdpServer server;
  const TempDir folder;
  const std::string source = folder.Write("source", "x");
  ASSERT_TRUE(stdfs::create_directory(server.folder().path("taken")));
  const ToolResult result = RunClient({server.address(), source, "taken", "--mode", "fast"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("\"taken\": Is a directory"));
  EXPECT_THAT(result.err, ::testing::Not(HasSubstr("\\x22")));
}

TEST(FastModeTest, NamesThatLeaveTheFolderAreRefused) {
  UdpServer server;
  const TempDir folder;
  const std::string source = folder.Write("source", "x");
  for (const std::string name : {"../x", "a/../../x", "/etc/x", ".udp-partial/x", "a//b"}) {
    const ToolResult result = RunClient({server.address(), source, name, "--mode", "fast"});
    EXPECT_NE(result.exit_code, 0) << name;
  }
  EXPECT_THAT(server.Files(), IsEmpty());
}

TEST(FastModeTest, ASourceThatChangesMeanwhileIsNotStored) {
  UdpServer server;
  const TempDir folder;
  // Far more than a client reads ahead.
  const std::string source = folder.Write("source", Content(128 * kMiB));
  HeldClient client(server, source);
  ASSERT_TRUE(client.Start());
  {
    const UniqueFd fd(::open(source.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::pwrite(fd.get(), "changed", 7, 0), 7);
  }
  client.LetGo();
  const ToolResult result = client.Wait();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("changed"));
  EXPECT_THAT(server.Files(), IsEmpty());
}

TEST(FastModeTest, ManyClientsAtOnceAllGetThrough) {
  UdpServer server({"--memory", "16m", "--window", "4m"});
  const TempDir folder;
  const std::string content = Content(3 * kMiB);
  const std::string source = folder.Write("source", content);
  std::vector<std::unique_ptr<ToolProcess>> clients;
  for (int i = 0; i < 12; ++i) {
    clients.push_back(std::make_unique<ToolProcess>(
        "udp-client", std::vector<std::string>{server.address(), source, fmt::format("{}", i)}));
    ASSERT_TRUE(clients.back()->Start().ok());
  }
  for (int i = 0; i < 12; ++i) {
    const ToolResult result = clients[static_cast<std::size_t>(i)]->Wait();
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(server.folder().Read(std::to_string(i)) == content);
  }
  EXPECT_TRUE(Eventually(kDeadline, "all memory is given back",
                         [&] { return server.Metric("udp_fast_buffer_bytes") == 0; }));
}

TEST(FastModeTest, AFullServerSaysSo) {
  UdpServer server({"--max-sessions", "1"});
  const TempDir folder;
  const std::string big = folder.Write("big", Content(kHeldSourceBytes));
  HeldClient first(server, big);
  ASSERT_TRUE(first.Start());
  const ToolResult second = RunClient({server.address(), big, "second", "--mode", "fast"});
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_THAT(second.err, HasSubstr("the server is full"));
  EXPECT_GE(server.Metric("udp_fast_refused_total{reason=\"full\"}"), 1);
  first.LetGo();
  EXPECT_EQ(first.Wait().exit_code, 0);
}

TEST(FastModeTest, AResumeWaitsForAPlaceAtAFullServer) {
  UdpServer server({"--max-sessions", "1", "--idle-timeout", "60"});
  const TempDir folder;
  const std::string big = folder.Write("big", Content(kHeldSourceBytes));
  HeldClient first(server, big);
  ASSERT_TRUE(first.Start());
  const ToolResult in_vain =
      RunClient({server.address(), big, "second", "--resume", "--idle-timeout", "1"});
  EXPECT_EQ(in_vain.exit_code, 1);
  EXPECT_THAT(in_vain.err, HasSubstr("the server is full"));
  const double refused = server.Metric("udp_fast_refused_total{reason=\"full\"}");
  EXPECT_GE(refused, 1);
  ToolProcess second("udp-client", {server.address(), big, "second", "--resume"});
  ASSERT_TRUE(second.Start().ok());
  EXPECT_TRUE(Eventually(kDeadline, "the second one was refused", [&] {
    return server.Metric("udp_fast_refused_total{reason=\"full\"}") > refused;
  }));
  first.LetGo();
  EXPECT_EQ(first.Wait().exit_code, 0);
  const ToolResult result = second.Wait();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(server.Files(), ElementsAre("big", "second"));
}

TEST(FastModeTest, AResumeGetsThePlaceOfAClientThatWasKilled) {
  // Equal time-outs: the server's may end just before the client's, and between two of its probes.
  UdpServer server({"--max-sessions", "1", "--idle-timeout", "3"});
  const TempDir folder;
  const std::string big = folder.Write("big", Content(kHeldSourceBytes));
  HeldClient first(server, big, {"--resume"});
  ASSERT_TRUE(first.Start());
  first.Kill();
  const ToolResult result =
      RunClient({server.address(), big, "second", "--resume", "--idle-timeout", "3"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_GE(server.Metric("udp_fast_refused_total{reason=\"full\"}"), 1);
  EXPECT_THAT(server.Files(), ElementsAre("second"));
}

// --- Broken transfers ---

TEST(FastModeResumeTest, AKilledClientsTransferGoesOnWhereItStopped) {
  UdpServer server({"--idle-timeout", "60", "--drain-timeout", "0"});
  const TempDir folder;
  const std::string content = Content(64 * kMiB);
  const std::string source = folder.Write("source", content);
  HeldClient client(server, source, {"--resume"});
  ASSERT_TRUE(client.Start());
  client.Kill();
  EXPECT_THAT(server.Files(), IsEmpty());
  // The server's idle time-out is far away: it is taken over from a connection that seems alive.
  EXPECT_EQ(server.Metric("udp_fast_sessions"), 1);
  const auto result = Send(server.address(), source, "big", {"--resume"});
  const std::size_t resumed = result["resumed_bytes"];
  EXPECT_GE(resumed, kHeldBytes);
  const std::size_t sent = result["sent_bytes"];
  const std::size_t again = result["retransmitted_bytes"];
  EXPECT_LT(sent - again, content.size() - resumed + kHeldBytes / 2);
  EXPECT_TRUE(server.folder().Read("big") == content);
}

TEST(FastModeResumeTest, AKilledServersTransferGoesOnAtItsCheckpoint) {
  UdpServer server({"--no-sync"});
  const TempDir folder;
  const std::string content = Content(128 * kMiB);
  const std::string source = folder.Write("source", content);
  HeldClient client(server, source, {"--resume", "--idle-timeout", "5"});
  ASSERT_TRUE(client.Start());
  // One is made when something comes a second after the last one.
  ASSERT_TRUE(Eventually(kDeadline, "there is a checkpoint", [&] {
    client.LetPass(kMiB / 16);
    const stdfs::directory_iterator hidden(server.folder().path(".udp-partial"));
    return std::any_of(begin(hidden), end(hidden),
                       [](const auto& entry) { return entry.path().extension() == ".state"; });
  }));
  server.process().Kill();
  EXPECT_EQ(client.Wait().exit_code, 1);
  EXPECT_THAT(server.Files(), IsEmpty());
  ASSERT_TRUE(server.process().StartAndWaitReady().ok());
  const auto result = Send(server.address(), source, "big", {"--resume"});
  EXPECT_GT(result["resumed_bytes"], 0);
  EXPECT_TRUE(server.folder().Read("big") == content);
  EXPECT_EQ(server.HiddenFiles(), 0U);
}

TEST(FastModeResumeTest, ATerminatedServerKeepsAllAndTellsItsClients) {
  UdpServer server({"--drain-timeout", "0", "--no-sync"});
  const TempDir folder;
  const std::string content = Content(kHeldSourceBytes);
  const std::string source = folder.Write("source", content);
  HeldClient client(server, source, {"--resume"});
  ASSERT_TRUE(client.Start());
  EXPECT_EQ(server.process().Terminate(), 0);
  const ToolResult broken = client.Wait();
  EXPECT_EQ(broken.exit_code, 1);
  EXPECT_THAT(broken.err, HasSubstr("the server shuts down"));
  ASSERT_TRUE(server.process().StartAndWaitReady().ok());
  const auto result = Send(server.address(), source, "big", {"--resume"});
  EXPECT_GE(result["resumed_bytes"], kHeldBytes);
  EXPECT_TRUE(server.folder().Read("big") == content);
}

TEST(FastModeResumeTest, AClientThatSeemedDeadFindsItsTransferTakenOver) {
  UdpServer server;
  const TempDir folder;
  const std::string content = Content(kHeldSourceBytes);
  const std::string source = folder.Write("source", content);
  HeldClient first(server, source, {"--resume"});
  ASSERT_TRUE(first.Start());
  first.process().Pause();
  const auto second = Send(server.address(), source, "big", {"--resume"});
  EXPECT_GE(second["resumed_bytes"], kHeldBytes);
  EXPECT_TRUE(server.folder().Read("big") == content);
  first.LetGo();
  first.process().Resume();
  EXPECT_EQ(first.Wait().exit_code, 1);
  EXPECT_TRUE(server.folder().Read("big") == content);
}

TEST(FastModeResumeTest, WhatNobodyHasResumedInTimeIsGone) {
  const TempDir folder;
  const std::string keep = folder.Write("options", "keep-partial = 3600\n");
  UdpServer server({"--drain-timeout", "0", "--no-sync", "--options", keep});
  const std::string source = folder.Write("source", Content(kHeldSourceBytes));
  HeldClient client(server, source, {"--resume"});
  ASSERT_TRUE(client.Start());
  EXPECT_EQ(server.process().Terminate(), 0);
  EXPECT_EQ(client.Wait().exit_code, 1);
  ASSERT_TRUE(server.process().StartAndWaitReady().ok());
  EXPECT_EQ(server.Metric("udp_partial_files{state=\"waiting\"}"), 1);
  EXPECT_GT(server.HiddenFiles(), 0U);
  folder.Write("options", "keep-partial = 0\n");
  // Its age is counted in whole seconds.
  EXPECT_TRUE(Eventually(kDeadline, "a start removes it", [&] {
    EXPECT_TRUE(server.process().Restart().ok());
    return server.HiddenFiles() == 0;
  }));
  EXPECT_EQ(Send(server.address(), source, "big", {"--resume"})["resumed_bytes"], 0);
}

TEST(FastModeResumeTest, AChangedSourceBeginsAnew) {
  UdpServer server({"--drain-timeout", "0"});
  const TempDir folder;
  const std::string source = folder.Write("source", Content(kHeldSourceBytes));
  HeldClient client(server, source, {"--resume"});
  ASSERT_TRUE(client.Start());
  client.Kill();
  const std::string other = Content(kHeldSourceBytes, 2);
  folder.Write("source", other);
  const auto result = Send(server.address(), source, "big", {"--resume"});
  EXPECT_EQ(result["resumed_bytes"], 0);
  EXPECT_TRUE(server.folder().Read("big") == other);
}

TEST(FastModeResumeTest, AResumedFolderSendsOnlyWhatIsNotStoredYet) {
  for (const char* overwrite : {"yes", "no", "rename"}) {
    UdpServer server({"--overwrite", overwrite, "--drain-timeout", "0"});
    const TempDir folder;
    std::vector<std::string> names;
    for (int i = 0; i < 6; ++i) {
      names.push_back(fmt::format("f{}", i));
      folder.Write("tree/" + names.back(), Content(i < 3 ? kMiB : 10 * kMiB));
    }
    folder.Write("tree/empty", "");
    HeldClient client(server, folder.path("tree"));
    ASSERT_TRUE(client.Start());
    EXPECT_TRUE(stdfs::exists(server.folder().path("big/f2"))) << "three files are stored";
    client.Kill();
    const auto result =
        Send(server.address(), folder.path("tree"), "big", {"--mode", "fast", "--resume"});
    EXPECT_EQ(result["failed"], 0) << overwrite;
    EXPECT_GE(result["resumed_bytes"], 3 * kMiB) << overwrite;
    EXPECT_LE(result["resumed_bytes"], result["bytes"]);
    // And once more: all is there.
    const auto again =
        Send(server.address(), folder.path("tree"), "big", {"--mode", "fast", "--resume"});
    EXPECT_EQ(again["failed"], 0) << overwrite;
    EXPECT_EQ(again["resumed_bytes"], again["bytes"]) << overwrite;
    EXPECT_EQ(std::distance(stdfs::directory_iterator(server.folder().path("big")), {}), 7)
        << "nothing twice: " << overwrite;
    for (const std::string& name : names) {
      EXPECT_TRUE(server.folder().Read("big/" + name) == folder.Read("tree/" + name)) << name;
    }
    EXPECT_EQ(server.HiddenFiles(), 0U) << overwrite;
  }
}

TEST(FastModeResumeTest, AFileWhoseLastAnswerWasLostIsFoundInItsPlace) {
  for (const char* overwrite : {"yes", "no", "rename"}) {
    UdpServer server({"--overwrite", overwrite, "--drain-timeout", "0"});
    const TempDir folder;
    const std::string content = Content(1000);  // goes into the client's first packet
    const std::string source = folder.Write("source", content);
    UdpProxy proxy(server.port(), [](Way way, const std::string& datagram) {
      const bool answer = way == Way::kToClient && IsPacket(datagram);
      return answer ? std::vector<std::string>() : UdpProxy::PassOn(way, datagram);
    });
    ToolProcess client("udp-client", {Address(proxy.port()), source, "name", "--mode", "fast"});
    ASSERT_TRUE(client.Start().ok());
    ASSERT_TRUE(Eventually(kDeadline, "it is stored",
                           [&] { return stdfs::exists(server.folder().path("name")); }));
    client.Signal(SIGKILL);
    client.Wait();
    // Who does not know about --resume may send it again, too, where nothing is overwritten.
    if (overwrite == std::string("no")) {
      const auto again = Send(server.address(), source, "name", {"--mode", "fast"});
      EXPECT_EQ(again["name"], "name");
      EXPECT_EQ(again["resumed_bytes"], 0);
    }
    const auto result = Send(server.address(), source, "name", {"--mode", "fast", "--resume"});
    EXPECT_EQ(result["name"], "name");
    EXPECT_EQ(result["resumed_bytes"], content.size()) << overwrite;
    EXPECT_THAT(server.Files(), ElementsAre("name"));
    if (overwrite == std::string("no")) {
      const ToolResult other = RunClient(
          {server.address(), folder.Write("other", Content(1000, 2)), "name", "--mode", "fast"});
      EXPECT_EQ(other.exit_code, 1);
      EXPECT_THAT(other.err, HasSubstr("the file exists (see udp-server's --overwrite)"));
      EXPECT_TRUE(server.folder().Read("name") == content);
    }
  }
}

TEST(FastModeResumeTest, APartialFileIsKeptNoLongerThanItsTime) {
  UdpServer server({"--keep-partial", "1"});
  const TempDir folder;
  const std::string source = folder.Write("source", Content(64 * kMiB));
  HeldClient client(server, source);
  ASSERT_TRUE(client.Start());
  EXPECT_EQ(client.Interrupt(), 130);
  EXPECT_TRUE(Eventually(kDeadline, "it is removed", [&] { return server.HiddenFiles() == 0; }));
}

TEST(FastModeResumeTest, CtrlCLeavesAFileThatCanBeResumed) {
  UdpServer server;
  const TempDir folder;
  const std::string content = Content(64 * kMiB);
  const std::string source = folder.Write("source", content);
  HeldClient client(server, source);
  ASSERT_TRUE(client.Start());
  EXPECT_EQ(client.Interrupt(), 130);
  EXPECT_TRUE(Eventually(kDeadline, "the connection has ended",
                         [&] { return server.Metric("udp_fast_sessions") == 0; }));
  const auto result = Send(server.address(), source, "big", {"--resume"});
  EXPECT_GE(result["resumed_bytes"], kHeldBytes);
  EXPECT_TRUE(server.folder().Read("big") == content);
}

// --- A bad network ---

TEST(FastModeTest, PacketsOfUnknownConnectionsAreAnsweredByASmallReset) {
  UdpServer server;
  DatagramPeer peer("127.0.0.1", server.port());
  const auto answer = peer.Ask("\xA0" + std::string(40, '\x01'));
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->size(), 25U);
  EXPECT_EQ(answer->front(), '\xB0');
  // Nothing that is shorter than its answer gets one.
  peer.Send("\xA0" + std::string(20, '\x01'));
  EXPECT_TRUE(Eventually(kDeadline, "both are counted", [&] {
    return server.Metric("udp_fast_refused_total{reason=\"unknown_connection\"}") == 2;
  }));
  EXPECT_EQ(server.Metric("udp_fast_resets_total"), 1);
}

TEST(FastModeTest, GarbageOfEveryTypeIsCountedAndSurvived) {
  UdpServer server;
  DatagramPeer peer("127.0.0.1", server.port());
  Rng rng(1);
  for (int i = 0; i < 2000; ++i) {
    std::string datagram(rng.Below(100), '\0');
    for (char& c : datagram) c = static_cast<char>(rng.Next());
    if (!datagram.empty()) datagram[0] = static_cast<char>(0x80 + 16 * rng.Below(8));
    peer.Send(datagram);
  }
  const TempDir folder;
  Send(server.address(), folder.Write("source", "fine"), "name", {"--mode", "fast"});
  EXPECT_EQ(server.folder().Read("name"), "fine");
  EXPECT_EQ(server.Metric("udp_fast_sessions_begun_total"), 1);
}

TEST(FastModeTest, ALostServerIsNoticedAndAnUnknownConnectionReset) {
  UdpServer server({"--drain-timeout", "0"});
  UdpServer other;
  const TempDir folder;
  HeldClient client(server, folder.Write("source", Content(kHeldSourceBytes)));
  ASSERT_TRUE(client.Start());
  client.proxy().SetServer(other.port());  // as if it had been restarted
  client.LetGo();
  const ToolResult result = client.Wait();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("does not know this transfer"));
}

TEST(FastModeTest, ASilentServerIsGivenUpAfterTheIdleTimeout) {
  UdpServer server({"--drain-timeout", "0", "--no-sync"});
  const TempDir folder;
  HeldClient client(server, folder.Write("source", Content(kHeldSourceBytes)),
                    {"--idle-timeout", "5"});
  ASSERT_TRUE(client.Start());
  client.proxy().SetRule([](Way, const std::string&) { return std::vector<std::string>(); });
  const ToolResult result = client.Wait();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("idle"));
}

TEST(FastModeTest, WhatWasSentAsAWholeAndNotAnsweredMayHaveBeenStored) {
  UdpServer server;
  UdpProxy proxy(server.port(), [](Way way, const std::string& datagram) {
    const bool lost = way == Way::kToClient && IsPacket(datagram);
    return lost ? std::vector<std::string>() : UdpProxy::PassOn(way, datagram);
  });
  const TempDir folder;
  for (int i = 0; i < 29; ++i) folder.Write(fmt::format("put/{}", i), "x");
  const ToolResult result = RunClient(
      {Address(proxy.port()), folder.path("put"), "put", "--idle-timeout", "5", "--json"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(Eventually(kDeadline, "all are stored", [&] {
    return server.Metric("udp_fast_files_total{outcome=\"stored\"}") == 29;
  }));
  EXPECT_EQ(server.folder().Read("put/28"), "x");
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["files"], 0);
  EXPECT_EQ(json["failed"], 0);
  EXPECT_EQ(json["unknown"], 30);
  EXPECT_EQ(json["bytes"], 0);
  EXPECT_EQ(json["failures"].size(), 30U);
  EXPECT_EQ(json["failures"][7]["outcome"], "unknown");
  EXPECT_THAT(std::string(json["error"]), HasSubstr("idle"));
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 22);
  EXPECT_THAT(result.err, HasSubstr("as \"put\": it may have been stored"));
  EXPECT_THAT(result.err, HasSubstr("and 10 more"));
}

TEST(FastModeTest, ABrokenRunNamesWhatIsStoredUnknownAndNotSent) {
  UdpServer server({"--no-sync"});
  const TempDir folder;
  folder.Write("put/1", "first");
  folder.Write("put/2", Content(kHeldSourceBytes));
  folder.Write("put/3", "last");
  HeldClient client(server, folder.path("put"), {"--idle-timeout", "5"});
  ASSERT_TRUE(client.Start());
  // What the server says next stands behind its answers for the folder and the first file.
  const std::size_t said = client.proxy().count(Way::kToClient);
  ASSERT_TRUE(Eventually(kDeadline, "it has said more", [&] {
    client.LetPass(16 * std::size_t{1024});
    return client.proxy().count(Way::kToClient) > said + 1;
  }));
  client.proxy().SetRule([](Way, const std::string&) { return std::vector<std::string>(); });
  const ToolResult result = client.Wait();
  EXPECT_EQ(result.exit_code, 1);
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["files"], 2);  // the folder, and the first file
  EXPECT_EQ(json["bytes"], 5);
  EXPECT_EQ(json["failed"], 2);
  EXPECT_EQ(json["unknown"], 0);
  EXPECT_THAT(result.err, HasSubstr("as \"big/2\": not sent as a whole"));
  EXPECT_THAT(result.err, HasSubstr("as \"big/3\": not sent as a whole"));
}

TEST(FastModeTest, AShutdownDoesNotWaitForAClientWhoseLastPacketsWereLost) {
  // Nobody would wait for so long: the test ends in time only if the drain does not.
  UdpServer server({"--drain-timeout", "3600", "--idle-timeout", "3600", "--no-sync"});
  std::atomic<bool> cut{false};
  UdpProxy proxy(server.port(), [&](Way way, const std::string& datagram) {
    if (!cut && server.Metric("udp_fast_files_total{outcome=\"stored\"}") == 1) cut = true;
    return cut ? std::vector<std::string>() : UdpProxy::PassOn(way, datagram);
  });
  const TempDir folder;
  const ToolResult result = RunClient({Address(proxy.port()), folder.Write("source", "x"), "name",
                                       "--mode", "fast", "--idle-timeout", "5"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(server.Metric("udp_fast_sessions"), 1);
  EXPECT_EQ(server.process().Terminate(), 0);
  EXPECT_THAT(server.process().stderr_text(), ::testing::Not(HasSubstr("cut off")));
}

TEST(FastModeTest, OneSourceOffLoopbackHasAShareOfTheSessions) {
  const TempDir folder;
  const std::string big = folder.Write("big", Content(64 * kMiB));
  const std::string small = folder.Write("small", "x");
  ASSERT_TRUE(stdfs::create_directory(folder.path("in")));
  const std::string bin = ProgramFolder();
  // A network of its own, in which an address off loopback needs no link.
  const ToolResult result =
      RunTool("unshare",
              {"-Urn", "sh", "-c",
               "ip link set lo up && ip address add 10.77.9.1/32 dev lo || exit 99\n"
               "\"$1\"/udp-server --listen 10.77.9.1:10990 --allow-insecure --dir \"$2\"/in \\\n"
               "  --max-sessions-per-source 1 > \"$2\"/ready 2> \"$2\"/log &\n"
               "server=$!\n"
               "until grep -q READY \"$2\"/ready; do kill -0 $server || exit 98; sleep 0.05; done\n"
               "\"$1\"/udp-client 10.77.9.1:10990 \"$3\" big --rate-limit 8 &\n"  // for a minute
               "first=$!\n"
               "until ls \"$2\"/in/.udp-partial/*.part 2> /dev/null; do\n"
               "  kill -0 $first || exit 97; sleep 0.05\n"
               "done\n"
               "\"$1\"/udp-client 10.77.9.1:10990 \"$4\" small --mode fast && exit 96\n"
               "kill $first; wait $first; test $? = 143 || exit 95\n"
               "until \"$1\"/udp-client 10.77.9.1:10990 \"$4\" small --mode fast 2> /dev/null; do\n"
               "  sleep 0.05\n"
               "done\n"
               "kill $server && wait $server\n",
               "sh", bin, folder.path(), big, small});
  ASSERT_NE(result.exit_code, 99) << "no network namespace here: " << result.err;
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("the server is full"));
}

TEST(FastModeTest, APathThatCarriesNoFastDatagramIsNamedAtOnce) {
  const TempDir folder;
  const std::string source = folder.Write("source", Content(kMiB));
  ASSERT_TRUE(stdfs::create_directory(folder.path("in")));
  const std::string bin = ProgramFolder();
  const ToolResult result =
      RunTool("unshare",
              {"-Urn", "sh", "-c",
               "ip link set lo mtu 1100 up || exit 99\n"
               "\"$1\"/udp-server 0 --listen 127.0.0.1:0 --dir \"$2\"/in \\\n"
               "  > \"$2\"/ready 2> \"$2\"/log &\n"
               "server=$!\n"
               "until grep -q READY \"$2\"/ready; do kill -0 $server || exit 98; sleep 0.05; done\n"
               "at=$(sed 's/.*listen=\\([^, ]*\\).*/\\1/' \"$2\"/ready)\n"
               "\"$1\"/udp-client $at \"$3\" name --idle-timeout 5\n"
               "code=$?\n"
               "kill $server && wait $server && exit $code\n",
               "sh", bin, folder.path(), source});
  ASSERT_NE(result.exit_code, 99) << "no network namespace here: " << result.err;
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_THAT(result.err, HasSubstr("the path carries no 1200 bytes"));
}

TEST(FastModeTest, AHelloThatIsLostCostsNothingButTime) {
  for (const char* mode : {"auto", "fast"}) {
    UdpServer server;
    std::atomic<int> lost{0};
    UdpProxy proxy(server.port(), [&](Way way, const std::string& datagram) {
      if (way == Way::kToServer && !IsPacket(datagram) && lost < 2) {
        ++lost;
        return std::vector<std::string>();
      }
      return UdpProxy::PassOn(way, datagram);
    });
    const TempDir folder;
    const std::string content = Content(3 * kMiB);
    const auto result =
        Send(Address(proxy.port()), folder.Write("source", content), "name", {"--mode", mode});
    EXPECT_EQ(result["mode"], "fast") << mode;
    EXPECT_TRUE(server.folder().Read("name") == content);
  }
}

// --- The disk ---

TEST(FastModeTest, AFullDiskIsToldAndLeavesTheServerServing) {
  const TempDir folder;
  const std::string big = folder.Write("big", Content(3 * kMiB));
  const std::string small = folder.Write("small", "fits");
  ASSERT_TRUE(stdfs::create_directory(folder.path("disk")));
  const std::string bin = ProgramFolder();
  // A user namespace of its own: no root is needed for a real small disk.
  const ToolResult result = RunTool(
      "unshare",
      {"-Urm", "sh", "-c",
       "mount -t tmpfs -o size=2m tmpfs \"$2\" || exit 99\n"
       "\"$1\"/udp-server 0 --dir \"$2\" > \"$2\"/../ready 2> \"$2\"/../log &\n"
       "server=$!\n"
       "until grep -q READY \"$2\"/../ready; do kill -0 $server || exit 98; sleep 0.05; done\n"
       "at=$(sed 's/.*listen=\\([^, ]*\\).*/\\1/' \"$2\"/../ready)\n"
       "for mode in classic fast; do\n"
       "  \"$1\"/udp-client $at \"$3\" big --mode $mode --timeout 5 && exit 97\n"
       "  \"$1\"/udp-client $at \"$4\" $mode --mode $mode || exit 96\n"
       "done\n"
       "ls \"$2\"\n"
       "kill $server && wait $server\n",
       "sh", bin, folder.path("disk"), big, small});
  ASSERT_NE(result.exit_code, 99) << "no tmpfs in a user namespace here: " << result.err;
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("no space left on the server's disk"));
  EXPECT_THAT(result.out, HasSubstr("\nclassic\nfast\n"));
  EXPECT_THAT(result.out, ::testing::Not(HasSubstr("\nbig\n")));
}

}  // namespace
}  // namespace ds::udp_transfer
