#include "common/daemon/signals.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <optional>

#include "common/base/unique_fd.h"

namespace ds::daemon {
namespace {

bool Readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1;
}

TEST(SignalFdTest, SignalsAreTakenInsteadOfDelivered) {
  SignalFd signals({SIGUSR1, SIGTERM});
  EXPECT_FALSE(Readable(signals.fd()));
  EXPECT_EQ(signals.Take(), std::nullopt);
  ASSERT_EQ(::raise(SIGTERM), 0);
  EXPECT_TRUE(Readable(signals.fd()));
  EXPECT_EQ(signals.Take(), SIGTERM);
  EXPECT_EQ(signals.Take(), std::nullopt);
  ASSERT_EQ(::raise(SIGUSR1), 0);
  EXPECT_EQ(signals.Take(), SIGUSR1);
}

TEST(SignalFdTest, BrokenPipeDoesNotKill) {
  const SignalFd signals({SIGUSR1});
  int fds[2];
  ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  const UniqueFd writer(fds[1]);
  ::close(fds[0]);
  EXPECT_EQ(::write(writer.get(), "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
}

TEST(StandardStreamsTest, WhatIsPrintedToAClosedOutputFailsUnlessThatIsPermitted) {
  const auto run = [] {
    ::close(STDOUT_FILENO);
    PrepareStandardStreams();
    const bool failed = ::write(STDOUT_FILENO, "x", 1) < 0 && errno == EBADF;
    PermitClosedOutput();
    ::_exit(failed && ::write(STDOUT_FILENO, "x", 1) == 1 ? 0 : 1);
  };
  EXPECT_EXIT(run(), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace ds::daemon
