#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/base/unique_fd.h"
#include "tests/harness/daemon_process.h"
#include "tests/harness/eventually.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/temp_dir.h"

namespace ds::ipc_proxy_cache {
namespace {

using ::testing::AllOf;
using testing::DaemonProcess;
using testing::Eventually;
using ::testing::HasSubstr;
using testing::kDeadline;
using testing::RunTool;
using testing::TempDir;

/// getfile-cached on a socket of its own.
class CachedTest : public ::testing::Test {
 protected:
  DaemonProcess::Options Options(std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments{"--socket", socket(), "--memory", "16M"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return {.program = "getfile-cached", .arguments = arguments};
  }
  std::string socket() const { return folder_.path("cache.sock"); }
  testing::ToolResult Ctl(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"--socket", socket()});
    return RunTool("getfile-cachectl", arguments);
  }
  nlohmann::json Status() const {
    return nlohmann::json::parse(Ctl({"status", "--json"}).out, nullptr, false);
  }
  /// Connects as anybody can; -1 and errno if that is refused.
  UniqueFd Connect() const {
    UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket().c_str(), sizeof address.sun_path - 1);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      return UniqueFd();
    }
    const timeval patience{.tv_sec = kDeadline / std::chrono::seconds(1) * testing::kSlowdown,
                           .tv_usec = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
  }
  static bool Ends(const UniqueFd& link) {
    char byte = 0;
    errno = 0;
    return ::recv(link.get(), &byte, 1, 0) <= 0 && errno != EAGAIN;
  }
  /// As a proxy without a name and segments does. False once the link has ended.
  static bool SayHello(const UniqueFd& link) {
    const std::string hello = std::string("\x01\0\x02\0\x19\0\0\0", 8) + std::string(17, '\0');
    return ::send(link.get(), hello.data(), hello.size(), MSG_NOSIGNAL) > 0;
  }

  TempDir folder_;
};

TEST_F(CachedTest, ReadyLineNamesTheSocketAndStatusAnswers) {
  DaemonProcess cache(Options());
  ASSERT_TRUE(cache.StartAndWaitReady().ok());
  EXPECT_EQ(cache.Key("cache"), socket());
  EXPECT_EQ(cache.Key("listen"), "unix:" + socket());
  const nlohmann::json status = Status();
  EXPECT_EQ(status["objects"], 0);
  EXPECT_EQ(status["memory"], 16 << 20);
  EXPECT_TRUE(status["proxies"].empty());
  EXPECT_THAT(Ctl({"status"}).out, HasSubstr("objects 0"));
  EXPECT_EQ(cache.Terminate(), 0);
  EXPECT_FALSE(folder_.Exists("cache.sock"));
}

TEST_F(CachedTest, SecondCacheIsRefusedWhileTheFirstLives) {
  DaemonProcess first(Options());
  ASSERT_TRUE(first.StartAndWaitReady().ok());
  DaemonProcess second(Options());
  ASSERT_TRUE(second.Start().ok());
  EXPECT_TRUE(second.Wait().Exited(1));
  EXPECT_THAT(second.stderr_text(), AllOf(HasSubstr(socket()), HasSubstr("in use")));
  EXPECT_EQ(Status()["objects"], 0);
  // A stopped one lives too.
  first.Pause();
  DaemonProcess third(Options());
  ASSERT_TRUE(third.Start().ok());
  EXPECT_TRUE(third.Wait().Exited(1));
  first.Resume();
}

TEST_F(CachedTest, KilledCacheLeavesASocketFileThatTheNextTakesOver) {
  DaemonProcess cache(Options());
  ASSERT_TRUE(cache.StartAndWaitReady().ok());
  EXPECT_EQ(Ctl({"doctor"}).exit_code, 0);
  cache.Kill();
  EXPECT_TRUE(folder_.Exists("cache.sock"));
  const auto doctor = Ctl({"doctor"});
  EXPECT_EQ(doctor.exit_code, 1);
  EXPECT_THAT(doctor.out, HasSubstr(socket()));
  EXPECT_THAT(doctor.out, ::testing::Not(HasSubstr("/dev/shm")));
  EXPECT_EQ(Ctl({"status"}).exit_code, 1);
  ASSERT_TRUE(cache.StartAndWaitReady().ok());
  EXPECT_EQ(Status()["objects"], 0);
  EXPECT_EQ(Ctl({"doctor"}).exit_code, 0);
}

TEST_F(CachedTest, OnlyOneOfManyTakesOverADeadSocket) {
  DaemonProcess dead(Options());
  ASSERT_TRUE(dead.StartAndWaitReady().ok());
  dead.Kill();
  std::vector<std::unique_ptr<DaemonProcess>> caches;
  for (int i = 0; i < 6; ++i) {
    caches.push_back(std::make_unique<DaemonProcess>(Options()));
    ASSERT_TRUE(caches.back()->Start().ok());
  }
  int ready = 0;
  for (const auto& cache : caches) {
    if (cache->WaitReady().ok()) {
      ++ready;
    } else {
      EXPECT_TRUE(cache->Wait().Exited(1));
    }
  }
  EXPECT_EQ(ready, 1);
  EXPECT_EQ(Status()["objects"], 0);
}

TEST_F(CachedTest, MalformedPacketsEndTheirLinksOnly) {
  DaemonProcess cache(Options());
  ASSERT_TRUE(cache.StartAndWaitReady().ok());
  const UniqueFd idle = Connect();
  ASSERT_TRUE(idle);
  for (const std::string& packet :
       {std::string(1, 'x'), std::string(8, '\0'), std::string(20000, '\xff'),
        std::string("\x10\0\x02\0\x08\0\0\0", 8)}) {
    const UniqueFd link = Connect();
    ASSERT_TRUE(link);
    ASSERT_GT(::send(link.get(), packet.data(), packet.size(), MSG_NOSIGNAL), 0);
    char told = 0;
    while (::recv(link.get(), &told, 1, 0) > 0) {
    }
    EXPECT_TRUE(Ends(link));
  }
  EXPECT_EQ(Status()["objects"], 0);
}

TEST_F(CachedTest, StoppedToolDoesNotSlowOthers) {
  DaemonProcess cache(Options());
  ASSERT_TRUE(cache.StartAndWaitReady().ok());
  std::vector<UniqueFd> stopped;  // they never read
  const std::string open("\x13\0\x02\0\x10\0\0\0\x01\0\0\0\0\0\0\0", 16);
  for (int i = 0; i < 20; ++i) {
    stopped.push_back(Connect());
    ASSERT_TRUE(stopped.back());
    ASSERT_TRUE(SayHello(stopped.back()));
    const int fd = stopped.back().get();
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
    for (int k = 0; k < 100; ++k) ::send(fd, open.data(), open.size(), MSG_NOSIGNAL);
  }
  EXPECT_EQ(Status()["objects"], 0);
  EXPECT_EQ(cache.Terminate(), 0);
}

TEST_F(CachedTest, DescriptorsOfEndedLinksAreClosed) {
  DaemonProcess cache(Options());
  ASSERT_TRUE(cache.StartAndWaitReady().ok());
  EXPECT_EQ(Status()["objects"], 0);
  const std::size_t before = cache.open_descriptors();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(Connect());
  EXPECT_TRUE(Eventually(kDeadline, "the links are closed",
                         [&] { return cache.open_descriptors() == before; }));
}

TEST_F(CachedTest, PinnedObjectsAreLoadedAndReloaded) {
  folder_.Write("a.txt", "content");
  folder_.Write("list", "/a a.txt\n");
  DaemonProcess cache(Options({"-c", folder_.path("list"), "-t", "8"}));
  ASSERT_TRUE(cache.StartAndWaitReady().ok());
  EXPECT_EQ(Status()["objects"], 1);
  folder_.Write("list", "/a a.txt\n/b a.txt\n# two\n/c a.txt\n");
  cache.Signal(SIGHUP);
  EXPECT_TRUE(Eventually(kDeadline, "three objects", [&] { return Status()["objects"] == 3; }));
  folder_.Write("list", "/d missing\n");
  cache.Signal(SIGHUP);
  EXPECT_TRUE(Eventually(kDeadline, "the bad list is refused",
                         [&] { return cache.stderr_text().find("missing") != std::string::npos; }));
  EXPECT_EQ(Status()["objects"], 3);
  EXPECT_EQ(Ctl({"purge", "--prefix", "/"}).out, "purged 3\n");
  EXPECT_EQ(Ctl({"purge", "/a"}).out, "purged 0\n");
  EXPECT_EQ(Status()["objects"], 0);
}

TEST_F(CachedTest, BadConfigurationIsRefusedBeforeAnythingIsServed) {
  folder_.Write("bad", "no-path file\n");
  folder_.Write("big.bin", std::string(3 << 20, 'x'));
  folder_.Write("too-big", "/big big.bin\n");
  const struct {
    std::vector<std::string> arguments;
    std::string named;  ///< in the message
  } cases[] = {
      {{"-c", folder_.path("bad")}, folder_.path("bad")},
      {{"-c", folder_.path("none")}, folder_.path("none")},
      {{"-c", folder_.path("too-big"), "--memory", "16M"}, "big"},
      {{"--memory", "1K"}, "--memory"},
      {{"--memory", "64T"}, "--memory: this machine has"},
      {{"--memory", "65T"}, "--memory"},
      {{"--max-object", "2"}, "--max-object"},
      {{"--ttl", "-1"}, "--ttl"},
      {{"--socket", std::string(200, 'x')}, "socket"},
      {{"--no-such-option"}, "--no-such-option"},
  };
  for (const auto& wrong : cases) {
    SCOPED_TRACE(wrong.arguments.front());
    std::vector<std::string> arguments = wrong.arguments;
    if (arguments.front() != "--socket") {
      arguments.insert(arguments.end(), {"--socket", socket()});
    }
    DaemonProcess cache({.program = "getfile-cached", .arguments = arguments});
    ASSERT_TRUE(cache.Start().ok());
    EXPECT_TRUE(cache.Wait().Exited(2)) << cache.stderr_text();
    EXPECT_THAT(cache.stderr_text(), HasSubstr(wrong.named));
    EXPECT_FALSE(folder_.Exists("cache.sock"));
  }
  EXPECT_EQ(RunTool("getfile-cachectl", {"frobnicate"}).exit_code, 2);
  EXPECT_EQ(RunTool("getfile-cachectl", {"purge"}).exit_code, 2);
}

TEST_F(CachedTest, FileThatIsNoSocketStays) {
  folder_.Write("cache.sock", "precious");
  DaemonProcess cache(Options());
  ASSERT_TRUE(cache.Start().ok());
  EXPECT_TRUE(cache.Wait().Exited(1));
  EXPECT_EQ(folder_.Read("cache.sock"), "precious");
}

TEST_F(CachedTest, OtherUsersAreRefusedUnlessAllowed) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  /// As another user: 'w' was welcomed, 'e' the link was ended, 'n' could not connect.
  const auto connect_as_nobody = [&] {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      char outcome = 'n';
      if (::setgid(65534) == 0 && ::setuid(65534) == 0) {
        if (const UniqueFd link = Connect()) {
          SayHello(link);
          outcome = Ends(link) ? 'e' : 'w';
        }
      }
      static_cast<void>(::write(ends[1], &outcome, 1));
      ::_exit(0);
    }
    char outcome = '?';
    EXPECT_EQ(::read(ends[0], &outcome, 1), 1);
    ::waitpid(child, nullptr, 0);
    ::close(ends[0]);
    ::close(ends[1]);
    return outcome;
  };
  {
    DaemonProcess cache(Options());
    ASSERT_TRUE(cache.StartAndWaitReady().ok());
    EXPECT_EQ(connect_as_nobody(), 'n') << "the file's mode";
  }
  {
    DaemonProcess cache(Options({"--allow-uid", "12345"}));
    ASSERT_TRUE(cache.StartAndWaitReady().ok());
    EXPECT_EQ(connect_as_nobody(), 'e') << "another user than the one allowed";
  }
  DaemonProcess cache(Options({"--allow-uid", "65534"}));
  ASSERT_TRUE(cache.StartAndWaitReady().ok());
  EXPECT_EQ(connect_as_nobody(), 'w');
}

TEST_F(CachedTest, FolderOfAnotherUserIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_EQ(::chown(folder_.path().c_str(), 12345, 12345), 0);
  DaemonProcess cache(Options());
  ASSERT_TRUE(cache.Start().ok());
  EXPECT_TRUE(cache.Wait().Exited(1));
  EXPECT_THAT(cache.stderr_text(), HasSubstr("uid 12345"));
  ASSERT_EQ(::chown(folder_.path().c_str(), 0, 0), 0);
}

TEST_F(CachedTest, CacheOfAnotherUserIsTrustedOnlyWhereThatIsSaid) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_EQ(::chown(folder_.path().c_str(), 65534, 65534), 0);
  // It would have us.
  DaemonProcess::Options options = Options({"--allow-uid", "0"});
  options.as_nobody = true;
  DaemonProcess cache(options);
  ASSERT_TRUE(cache.StartAndWaitReady().ok());
  const struct {
    std::vector<std::string> flags;
    bool trusted;
  } cases[] = {{{}, false},
               {{"--cache-uid", "12345"}, false},
               {{"--cache-uid", "65534"}, true},
               {{"--cache-uid", "12345", "--cache-uid", "65534"}, true}};
  for (const auto& [flags, trusted] : cases) {
    SCOPED_TRACE(flags.empty() ? "nobody is trusted" : flags.back());
    std::vector<std::string> arguments = flags;
    arguments.insert(arguments.end(), {"-s", "127.0.0.1:1", "-p", "0", "--cache-socket", socket()});
    DaemonProcess proxy({.program = "getfile-proxy", .arguments = arguments});
    ASSERT_TRUE(proxy.StartAndWaitReady().ok());
    EXPECT_EQ(proxy.Key("cache"), trusted ? socket() : "none");
    const auto ctl = [&, &more = flags](std::vector<std::string> command) {
      command.insert(command.begin(), more.begin(), more.end());
      return Ctl(command);
    };
    EXPECT_EQ(ctl({"status"}).exit_code, trusted ? 0 : 1);
    EXPECT_EQ(ctl({"doctor"}).exit_code, trusted ? 0 : 1);
    const auto purge = ctl({"purge", "/a"});
    EXPECT_EQ(purge.out, trusted ? "purged 0\n" : "");
    EXPECT_EQ(purge.err.find("uid 65534") != std::string::npos, !trusted) << purge.err;
    EXPECT_EQ(proxy.Terminate(), 0);
  }
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
