#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#include "common/net/socket.h"
#include "tests/harness/child_process.h"
#include "tests/harness/daemon_process.h"
#include "tests/harness/eventually.h"
#include "tests/harness/loopback_lease.h"
#include "tests/harness/raw_peer.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/sha256.h"
#include "tests/harness/temp_dir.h"

namespace ds::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// A shell script in the role of a daemon: `ready` is run first, then it waits for the end of its
/// input or a SIGTERM. The "sh" takes the place of $0, so the harness's option becomes $1. (The
/// shell's own `read` would do but for a race: a signal just before it blocks is not noticed.)
DaemonProcess::Options ShellDaemon(const std::string& ready) {
  return {.program = "/bin/sh",
          .arguments = {"-c", "trap 'exit 0' TERM; " + ready + "; exec 3<&0; cat <&3 >&2 & wait $!",
                        "sh"}};
}

constexpr const char* kReady = "echo READY sh listen=127.0.0.1:4242,[::1]:4242 pid=$$ extra=a=b";

bool ProcessIsGone(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);
  const auto name_end = text.rfind(')');
  // A killed process whose new parent does not care stays a zombie.
  return name_end == std::string::npos || text.compare(name_end, 3, ") Z") == 0;
}

TEST(EventuallyTest, SucceedsOnceThePredicateHolds) {
  int asked = 0;
  EXPECT_TRUE(Eventually(kDeadline, "asked often enough", [&] { return ++asked == 4; }));
  EXPECT_EQ(asked, 4);
}

TEST(EventuallyTest, FailureSaysWhatDidNotHappen) {
  const auto result = Eventually(Duration::zero(), "the moon is full", [] { return false; });
  EXPECT_FALSE(result);
  EXPECT_THAT(result.message(), HasSubstr("the moon is full"));
}

TEST(EventuallyTest, PredicateIsAskedEvenWithoutTime) {
  EXPECT_TRUE(Eventually(Duration::zero(), "true", [] { return true; }));
}

TEST(LoopbackLeaseTest, TwoLeasesShareNoAddress) {
  const LoopbackLease first(3);
  const LoopbackLease second(3);
  std::set<std::string> addresses;
  for (std::size_t i = 0; i < 3; ++i) {
    addresses.insert(first.address(i));
    addresses.insert(second.address(i));
  }
  EXPECT_EQ(addresses.size(), 6U);
}

TEST(LoopbackLeaseTest, LeasedAddressesShareAPort) {
  const LoopbackLease lease(2);
  const auto listen = [&](std::size_t index, std::uint16_t port) {
    const auto endpoints = net::Endpoint::Resolve({lease.address(index), port});
    return net::ListenTcp(endpoints->front());
  };
  const auto first = listen(0, 0);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = listen(1, first->local.port());
  EXPECT_TRUE(second.ok()) << second.status();
}

TEST(LoopbackLeaseTest, BlocksAreReturned) {
  // More often than there are blocks.
  for (int i = 0; i < 2000; ++i) EXPECT_EQ(LoopbackLease(1).size(), 1U);
}

TEST(TempDirTest, FolderGoesWithAllThatIsInIt) {
  std::string path;
  {
    const TempDir folder;
    path = folder.path();
    folder.Write("deep/er/file", std::string("a\0b", 3));
    EXPECT_EQ(folder.Read("deep/er/file"), std::string("a\0b", 3));
    EXPECT_TRUE(folder.Exists("deep"));
    ASSERT_EQ(::chmod(folder.path("deep").c_str(), 0), 0);
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

TEST(TempDirTest, WriteReplaces) {
  const TempDir folder;
  folder.Write("file", "a longer text");
  folder.Write("file", "short");
  EXPECT_EQ(folder.Read("file"), "short");
}

TEST(Sha256Test, KnownDigests) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(LastLinesTest, KeepsWholeLinesFromTheEnd) {
  EXPECT_EQ(LastLines("", 2), "");
  EXPECT_EQ(LastLines("a\n", 2), "a\n");
  EXPECT_EQ(LastLines("a\nb\nc\n", 2), "b\nc\n");
  EXPECT_EQ(LastLines("a\nb\nc", 2), "b\nc");
  EXPECT_EQ(LastLines("\n\n\n", 2), "\n\n");
}

TEST(SanitizerReportTest, FindsTheLine) {
  EXPECT_EQ(SanitizerReport("x\n==1==ERROR: AddressSanitizer: heap-use-after-free on\ny\n"),
            "==1==ERROR: AddressSanitizer: heap-use-after-free on");
  EXPECT_EQ(SanitizerReport("a.cc:1:2: runtime error: shift"), "a.cc:1:2: runtime error: shift");
  EXPECT_EQ(SanitizerReport("all is well\n"), std::nullopt);
}

TEST(RunToolTest, OutputErrorAndExitCodeAreTold) {
  const ToolResult result = RunTool("/bin/sh", {"-c", "echo out; echo err >&2; exit 3"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.out, "out\n");
  EXPECT_EQ(result.err, "err\n");
}

TEST(RunToolTest, NameWithoutASlashIsLookedUpInPath) {
  EXPECT_EQ(RunTool("true", {}).exit_code, 0);
}

TEST(RunToolTest, AScriptIsRunByItsInterpreter) {
  const TempDir folder;
  const std::string script = folder.Write("script", "#!/bin/sh\necho \"$0 $1\"\n");
  ASSERT_EQ(::chmod(script.c_str(), 0755), 0);
  EXPECT_EQ(RunTool(script, {"argument"}).out, script + " argument\n");
}

TEST(RunToolTest, InputIsFedAndThenEnds) {
  const std::string input(1U << 20U, 'x');
  const ToolResult result = RunTool("cat", {}, {.stdin_text = input});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, input);
}

TEST(RunToolTest, ToolThatDoesNotReadItsInputIsFine) {
  EXPECT_EQ(RunTool("true", {}, {.stdin_text = std::string(1U << 20U, 'x')}).exit_code, 0);
}

TEST(RunToolTest, FolderAndEnvironmentAreSet) {
  const TempDir folder;
  const ToolResult result =
      RunTool("/bin/sh", {"-c", "pwd; echo $DS_HARNESS_TEST"},
              {.working_folder = folder.path(), .environment = {{"DS_HARNESS_TEST", "a b"}}});
  EXPECT_EQ(result.out, folder.path() + "\na b\n");
}

TEST(RunToolTest, ToolInheritsNoDescriptorButTheStandardOnes) {
  const UniqueFd leaked(::fcntl(STDERR_FILENO, F_DUPFD, 200));  // not close-on-exec
  const ToolResult result = RunTool("/bin/sh", {"-c", "echo /proc/$$/fd/*"});
  EXPECT_THAT(result.out, HasSubstr("/fd/2"));
  EXPECT_THAT(result.out, Not(HasSubstr("/fd/" + std::to_string(leaked.get()))));
}

TEST(RunToolTest, BackgroundProcessDoesNotDelayTheEnd) {
  // The process left behind keeps the pipes of the tool open.
  const ToolResult result = RunTool("/bin/sh", {"-c", "sleep 100 & echo $!"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(::kill(std::stoi(result.out), SIGKILL), 0);
}

TEST(RunToolTest, ProgramThatDoesNotExistFailsTheTest) {
  ToolResult result;
  EXPECT_NONFATAL_FAILURE(result = RunTool("ds-no-such-program", {}), "not in PATH");
  EXPECT_EQ(result.exit_code, 127);
  EXPECT_NONFATAL_FAILURE(result = RunTool("/nonexistent/program", {}), "No such file");
}

TEST(RunToolTest, UnexpectedSignalFailsTheTest) {
  ToolResult result;
  EXPECT_NONFATAL_FAILURE(result = RunTool("/bin/sh", {"-c", "kill -SEGV $$"}), "signal 11");
  EXPECT_EQ(result.exit_code, 128 + SIGSEGV);
}

TEST(RunToolTest, TimeoutKillsTheWholeGroupAndFailsTheTest) {
  ToolResult result;
  EXPECT_NONFATAL_FAILURE(result = RunTool("/bin/sh", {"-c", "sleep 1000 & echo $!; wait"},
                                           {.timeout = std::chrono::milliseconds(200)}),
                          "not done after");
  EXPECT_EQ(result.exit_code, 128 + SIGKILL);
  const int grandchild = std::stoi(result.out);
  EXPECT_TRUE(Eventually(kDeadline, "grandchild gone", [&] { return ProcessIsGone(grandchild); }));
}

TEST(RunToolTest, SanitizerReportFailsTheTest) {
  EXPECT_NONFATAL_FAILURE(
      RunTool("/bin/sh", {"-c", "echo SUMMARY: ThreadSanitizer: data race >&2; exit 1"}),
      "data race");
}

TEST(ToolProcessTest, ToolIsSignalledInTheMiddleOfItsWork) {
  ToolProcess tool("/bin/sh",
                   {"-c", "trap 'echo caught; exit 130' INT; echo working; while :; do :; done"});
  ASSERT_TRUE(tool.Start().ok());
  ASSERT_TRUE(Eventually(kDeadline, "it works", [&] { return tool.out() == "working\n"; }));
  EXPECT_TRUE(tool.running());
  EXPECT_TRUE(tool.Signal(SIGINT));
  const ToolResult result = tool.Wait();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_EQ(result.out, "working\ncaught\n");
  EXPECT_FALSE(tool.Signal(SIGINT));
}

TEST(DaemonProcessTest, ReadyLineIsRead) {
  DaemonProcess daemon(ShellDaemon("echo first; " + std::string(kReady) + "; echo args: $1 >&2"));
  ASSERT_TRUE(daemon.StartAndWaitReady().ok());
  EXPECT_EQ(daemon.Key("listen"), "127.0.0.1:4242,[::1]:4242");
  EXPECT_EQ(daemon.host(), "127.0.0.1");
  EXPECT_EQ(daemon.port(), 4242);
  EXPECT_EQ(daemon.Key("extra"), "a=b");
  EXPECT_EQ(daemon.Key("pid"), std::to_string(daemon.pid()));
  EXPECT_EQ(daemon.Key("none"), "");
  EXPECT_EQ(daemon.stdout_lines().front(), "first");
  EXPECT_TRUE(Eventually(kDeadline, "the option is always given",
                         [&] { return daemon.stderr_text() == "args: --exit-on-stdin-close\n"; }));
}

TEST(DaemonProcessTest, HostOfIpv6ListenerHasNoBrackets) {
  DaemonProcess daemon(ShellDaemon("echo READY sh listen=[::1]:80"));
  ASSERT_TRUE(daemon.StartAndWaitReady().ok());
  EXPECT_EQ(daemon.host(), "::1");
}

TEST(DaemonProcessTest, TerminateTellsTheExitCode) {
  DaemonProcess daemon(ShellDaemon("trap 'exit 7' TERM; " + std::string(kReady)));
  ASSERT_TRUE(daemon.StartAndWaitReady().ok());
  EXPECT_EQ(daemon.Terminate(), 7);
  EXPECT_FALSE(daemon.running());
  EXPECT_FALSE(daemon.Signal(SIGTERM));
}

TEST(DaemonProcessTest, DaemonEndsWhenItsInputCloses) {
  DaemonProcess daemon(ShellDaemon(kReady));
  ASSERT_TRUE(daemon.StartAndWaitReady().ok());
  daemon.CloseStdin();
  EXPECT_TRUE(daemon.Wait().Exited(0));
}

TEST(DaemonProcessTest, KilledDaemonIsRestarted) {
  DaemonProcess daemon(ShellDaemon(kReady));
  ASSERT_TRUE(daemon.StartAndWaitReady().ok());
  const pid_t before = daemon.pid();
  daemon.Kill();
  EXPECT_TRUE(daemon.Wait().KilledBy(SIGKILL));
  ASSERT_TRUE(daemon.Restart().ok());
  EXPECT_NE(daemon.pid(), before);
  ASSERT_TRUE(daemon.Restart().ok()) << "a running one";
}

TEST(DaemonProcessTest, PausedDaemonStandsStillUntilItIsResumed) {
  DaemonProcess daemon(ShellDaemon(std::string(kReady) + "; trap 'echo usr1' USR1"));
  ASSERT_TRUE(daemon.StartAndWaitReady().ok());
  daemon.Pause();
  std::ifstream stat("/proc/" + std::to_string(daemon.pid()) + "/stat");
  std::string text;
  std::getline(stat, text);
  EXPECT_THAT(text, HasSubstr(") T "));
  daemon.Resume();
  EXPECT_EQ(daemon.Terminate(), 0);
}

TEST(DaemonProcessTest, PausedDaemonIsTerminated) {
  DaemonProcess daemon(ShellDaemon(kReady));
  ASSERT_TRUE(daemon.StartAndWaitReady().ok());
  daemon.Pause();
  EXPECT_EQ(daemon.Terminate(), 0);
}

TEST(DaemonProcessTest, EarlyEndIsToldByWaitReady) {
  DaemonProcess daemon({.program = "/bin/sh", .arguments = {"-c", "exit 2", "sh"}});
  const absl::Status status = daemon.StartAndWaitReady();
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(Message(status), HasSubstr("exit code 2"));
  EXPECT_TRUE(daemon.Wait().Exited(2));
}

TEST(DaemonProcessTest, MissingReadyLineMeetsTheDeadline) {
  DaemonProcess daemon(ShellDaemon("echo READY another listen=127.0.0.1:1"));
  ASSERT_TRUE(daemon.Start().ok());
  const absl::Status status = daemon.WaitReady(std::chrono::milliseconds(50));
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(Message(status), HasSubstr("ready line of sh: not within"));
  EXPECT_TRUE(Eventually(kDeadline, "the shell has set its trap",
                         [&] { return !daemon.stdout_lines().empty(); }));
}

TEST(DaemonProcessTest, UnexpectedSignalFailsTheTest) {
  EXPECT_NONFATAL_FAILURE(
      {
        DaemonProcess daemon({.program = "/bin/sh", .arguments = {"-c", "kill -ABRT $$", "sh"}});
        EXPECT_TRUE(daemon.Start().ok());
        EXPECT_TRUE(daemon.Wait().KilledBy(SIGABRT));
      },
      "signal 6");
}

TEST(DaemonProcessTest, SanitizerReportFailsTheTest) {
  EXPECT_NONFATAL_FAILURE(
      {
        DaemonProcess daemon(
            {.program = "/bin/sh",
             .arguments = {"-c", "echo ==1==ERROR: LeakSanitizer: leaks >&2; exit 1", "sh"}});
        EXPECT_TRUE(daemon.Start().ok());
        EXPECT_TRUE(daemon.Wait().Exited(1));
      },
      "LeakSanitizer");
}

TEST(DaemonProcessTest, EndThatTheTestDidNotAskAboutFailsTheTest) {
  EXPECT_NONFATAL_FAILURE(
      {
        DaemonProcess daemon({.program = "/bin/sh", .arguments = {"-c", "exit 5", "sh"}});
        EXPECT_TRUE(daemon.Start().ok());
        EXPECT_TRUE(Eventually(kDeadline, "it ends", [&] { return !daemon.running(); }));
      },
      "exit code 5");
}

TEST(DaemonProcessTest, NonzeroExitCodeAtTheEndOfTheTestFailsIt) {
  EXPECT_NONFATAL_FAILURE(
      {
        DaemonProcess daemon(ShellDaemon("trap 'exit 9' TERM; " + std::string(kReady)));
        EXPECT_TRUE(daemon.StartAndWaitReady().ok());
      },
      "9");
}

TEST(DaemonProcessTest, DaemonIsNotLookedUpInPath) {
  DaemonProcess daemon({.program = "true"});
  EXPECT_EQ(daemon.Start().code(), absl::StatusCode::kNotFound);
}

TEST(DaemonProcessTest, LimitOfOpenFilesIsSet) {
  DaemonProcess::Options options = ShellDaemon(std::string(kReady) + " files=$(ulimit -n)");
  options.open_files_max = 77;
  DaemonProcess daemon(options);
  ASSERT_TRUE(daemon.StartAndWaitReady().ok());
  EXPECT_EQ(daemon.Key("files"), "77");
}

TEST(DaemonProcessTest, RunsAsNobody) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  DaemonProcess::Options options =
      ShellDaemon(std::string(kReady) + " uid=$(id -u) gid=$(id -g) groups=$(id -G)");
  options.as_nobody = true;
  DaemonProcess daemon(options);
  ASSERT_TRUE(daemon.StartAndWaitReady().ok());
  EXPECT_EQ(daemon.Key("uid"), "65534");
  EXPECT_EQ(daemon.Key("gid"), "65534");
  EXPECT_EQ(daemon.Key("groups"), "65534");
}

TEST(DaemonProcessTest, UseOfResourcesIsTold) {
  DaemonProcess daemon(
      ShellDaemon("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; " + std::string(kReady)));
  ASSERT_TRUE(daemon.StartAndWaitReady().ok());
  EXPECT_GE(daemon.open_descriptors(), 3U);
  EXPECT_GT(daemon.resident_bytes(), 0U);
  EXPECT_GT(daemon.cpu_time().count(), 0);
  EXPECT_EQ(daemon.Terminate(), 0);
  EXPECT_EQ(daemon.open_descriptors(), 0U);
  EXPECT_EQ(daemon.resident_bytes(), 0U);
}

/// Plays a test program that starts a daemon and is killed. Returns the daemon's pid.
pid_t OrphanOfAKilledRunner(const std::string& ready) {
  int fds[2];
  EXPECT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  const UniqueFd told(fds[0]);
  UniqueFd tell(fds[1]);
  const pid_t runner = ::fork();
  if (runner == 0) {
    DaemonProcess daemon(ShellDaemon(ready));
    if (!daemon.StartAndWaitReady().ok()) ::_exit(1);
    const pid_t pid = daemon.pid();
    if (::write(tell.get(), &pid, sizeof pid) != sizeof pid) ::_exit(1);
    ::raise(SIGKILL);
  }
  tell.Reset();
  pid_t daemon = 0;
  EXPECT_EQ(::read(told.get(), &daemon, sizeof daemon), static_cast<ssize_t>(sizeof daemon));
  EXPECT_EQ(::waitpid(runner, nullptr, 0), runner);
  return daemon;
}

TEST(DaemonProcessTest, DaemonDiesWithTheTestProgram) {
  const pid_t daemon = OrphanOfAKilledRunner(kReady);
  EXPECT_TRUE(Eventually(kDeadline, "it is gone", [&] { return ProcessIsGone(daemon); }));
}

TEST(DaemonProcessTest, DaemonThatIgnoresItsInputDiesWithTheTestProgramToo) {
  const pid_t daemon = OrphanOfAKilledRunner(std::string(kReady) + "; while :; do sleep 1; done");
  EXPECT_TRUE(Eventually(kDeadline, "it is gone", [&] { return ProcessIsGone(daemon); }));
}

/// A listener and one accepted connection, to look at a RawPeer from the other side.
class RawPeerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto endpoints = net::Endpoint::Resolve({"127.0.0.1", 0});
    auto listener = net::ListenTcp(endpoints->front());
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
    port_ = listener_.local.port();
    ASSERT_EQ(::fcntl(listener_.socket.get(), F_SETFL, 0), 0);  // accept() is to block
  }
  UniqueFd Accept() const { return UniqueFd(::accept(listener_.socket.get(), nullptr, nullptr)); }

  net::Listener listener_;
  std::uint16_t port_ = 0;
};

TEST_F(RawPeerTest, ReadsToTheEnd) {
  auto peer = RawPeer::Connect("127.0.0.1", port_);
  ASSERT_TRUE(peer.ok()) << peer.status();
  UniqueFd server = Accept();
  ASSERT_EQ(::send(server.get(), "hello", 5, 0), 5);
  const auto some = peer->Read(2);
  EXPECT_EQ(some.bytes, "he");
  EXPECT_EQ(some.end, RawPeer::End::kOpen);
  server.Reset();
  const auto rest = peer->ReadToEnd();
  EXPECT_EQ(rest.bytes, "llo");
  EXPECT_EQ(rest.end, RawPeer::End::kClosed);
}

TEST_F(RawPeerTest, SilenceIsATimeout) {
  auto peer = RawPeer::Connect("127.0.0.1", port_);
  ASSERT_TRUE(peer.ok()) << peer.status();
  const UniqueFd server = Accept();
  ASSERT_EQ(::send(server.get(), "x", 1, 0), 1);
  const auto received = peer->ReadToEnd(std::chrono::milliseconds(10));
  EXPECT_EQ(received.end, RawPeer::End::kTimeout);
}

TEST_F(RawPeerTest, ResetIsSeenOnBothSides) {
  auto peer = RawPeer::Connect("127.0.0.1", port_);
  ASSERT_TRUE(peer.ok()) << peer.status();
  UniqueFd server = Accept();
  ASSERT_TRUE(peer->Send("unread"));
  server.Reset();  // with bytes that nobody has read: a reset
  EXPECT_EQ(peer->ReadToEnd().end, RawPeer::End::kReset);

  peer = RawPeer::Connect("127.0.0.1", port_);
  ASSERT_TRUE(peer.ok()) << peer.status();
  server = Accept();
  peer->Reset();
  char byte = 0;
  EXPECT_EQ(::recv(server.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

TEST_F(RawPeerTest, BytesAndEndOfInputArrive) {
  auto peer = RawPeer::Connect("127.0.0.1", port_);
  ASSERT_TRUE(peer.ok()) << peer.status();
  const UniqueFd server = Accept();
  EXPECT_TRUE(peer->SendSlowly("slow"));
  peer->ShutdownWrite();
  std::string text(16, '\0');
  const ssize_t n = ::recv(server.get(), text.data(), text.size(), MSG_WAITALL);
  ASSERT_EQ(n, 4);
  EXPECT_EQ(text.substr(0, 4), "slow");
}

TEST_F(RawPeerTest, SendToAPeerThatIsGoneFails) {
  auto peer = RawPeer::Connect("127.0.0.1", port_);
  ASSERT_TRUE(peer.ok()) << peer.status();
  Accept().Reset();
  EXPECT_TRUE(Eventually(kDeadline, "the reset is here", [&] { return !peer->Send("x"); }));
}

TEST_F(RawPeerTest, SmallReceiveBufferIsKept) {
  auto peer = RawPeer::Connect("127.0.0.1", port_, {.receive_buffer_bytes = 4096});
  ASSERT_TRUE(peer.ok()) << peer.status();
  int size = 0;
  socklen_t length = sizeof size;
  ASSERT_EQ(::getsockopt(peer->fd(), SOL_SOCKET, SO_RCVBUF, &size, &length), 0);
  EXPECT_EQ(size, 2 * 4096);  // the kernel doubles it
}

TEST(RawPeerExchangeTest, NobodyListeningFailsTheTest) {
  const LoopbackLease lease(1);
  EXPECT_NONFATAL_FAILURE(RawPeer::Exchange(lease.address(0), 1, "x"), "connect");
}

TEST_F(RawPeerTest, ExchangeSendsAndReadsTheAnswer) {
  std::jthread server([&] {
    const UniqueFd connection = Accept();
    char request[4];
    if (::recv(connection.get(), request, 4, MSG_WAITALL) == 4) {
      EXPECT_EQ(::send(connection.get(), "pong", 4, 0), 4);
    }
  });
  const auto received = RawPeer::Exchange("127.0.0.1", port_, "ping");
  EXPECT_EQ(received.bytes, "pong");
  EXPECT_EQ(received.end, RawPeer::End::kClosed);
}

}  // namespace
}  // namespace ds::testing
