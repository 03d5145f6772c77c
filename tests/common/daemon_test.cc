#include "common/daemon/daemon.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/base/unique_fd.h"

namespace ds::daemon {
namespace {

using ::testing::HasSubstr;

/// A daemon that is told at once to end, since its standard input is closed, and whose start takes
/// so long that it hears of that.
class StartWithClosedStdinTest : public ::testing::Test {
 protected:
  StartWithClosedStdinTest() : stdin_(::dup(STDIN_FILENO)) {
    const UniqueFd closed(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    CHECK(stdin_ && closed && ::dup2(closed.get(), STDIN_FILENO) == STDIN_FILENO);
  }
  ~StartWithClosedStdinTest() override { ::dup2(stdin_.get(), STDIN_FILENO); }

  /// The exit code of one whose start ends so.
  int Run(const absl::Status& status) {
    Daemon daemon({.name = "x-server", .summary = "Serves x."});
    std::vector<std::string> arguments = {"x-server", "--exit-on-stdin-close"};
    std::vector<char*> argv = {arguments[0].data(), arguments[1].data()};
    EXPECT_EQ(daemon.Parse(2, argv.data()), std::nullopt);
    ::testing::internal::CaptureStderr();
    const int code =
        daemon.Run([&](const std::stop_token& stop, Metrics&) -> absl::StatusOr<Started> {
          std::mutex mutex;
          std::unique_lock lock(mutex);
          std::condition_variable_any().wait(lock, stop, [] { return false; });
          return status;
        });
    err_ = ::testing::internal::GetCapturedStderr();
    return code;
  }

  std::string err_;

 private:
  const UniqueFd stdin_;
};

TEST(DaemonTest, AClosedStandardOutputIsNoFailure) {
  const auto run = [] {
    ::close(STDOUT_FILENO);
    const Daemon daemon({.name = "x-server", .summary = "Serves x."});
    ::_exit(std::puts("READY x-server") >= 0 && std::fflush(stdout) == 0 ? 0 : 1);
  };
  EXPECT_EXIT(run(), ::testing::ExitedWithCode(0), "");
}

TEST_F(StartWithClosedStdinTest, AStartThatFailsIsAFailureAllTheSame) {
  EXPECT_EQ(Run(Unavailable("listen on port 7: in use")), kExitFailure);
  EXPECT_THAT(err_, HasSubstr("x-server: listen on port 7: in use"));
  EXPECT_EQ(Run(InvalidArgument("--root: no such folder")), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("x-server: --root: no such folder"));
}

TEST_F(StartWithClosedStdinTest, AStartThatIsGivenUpIsNone) {
  EXPECT_EQ(Run(absl::CancelledError("told to end")), kExitSuccess);
  EXPECT_EQ(err_, "");
}

}  // namespace
}  // namespace ds::daemon
