#include "common/daemon/signals.h"

#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

#include "common/base/check.h"

namespace ds::daemon {

namespace {

/// Descriptors 0 to 2 that are closed become /dev/null, 1 one that cannot be written. By system
/// calls alone, since this runs before the sanitizers' runtimes are ready.
#if defined(__clang__)
__attribute__((no_sanitize("address", "thread", "undefined")))
#else
__attribute__((no_sanitize_address, no_sanitize_thread, no_sanitize_undefined))
#endif
void FillStandardStreams() {
  for (long fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::syscall(SYS_fcntl, fd, F_GETFD) >= 0) continue;
    // Gets the lowest number that is free: this one.
    ::syscall(SYS_openat, AT_FDCWD, "/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_RDWR);
  }
}

/// Before the libraries' constructors: gRPC's open descriptors.
__attribute__((section(".preinit_array"),
               used)) void (*const fill_standard_streams)() = FillStandardStreams;

}  // namespace

void PrepareStandardStreams() {
  FillStandardStreams();
  CHECK(std::signal(SIGPIPE, SIG_IGN) != SIG_ERR);
}

void PermitClosedOutput() {
  const int flags = ::fcntl(STDOUT_FILENO, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) != O_RDONLY) return;
  const UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  if (null) ::dup2(null.get(), STDOUT_FILENO);
}

SignalFd::SignalFd(std::initializer_list<int> signals) {
  PrepareStandardStreams();
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  CHECK(::pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
  fd_.Reset(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  CHECK(fd_, "signalfd");
}

std::optional<int> SignalFd::Take() {
  signalfd_siginfo info{};
  if (::read(fd_.get(), &info, sizeof info) != sizeof info) return std::nullopt;
  return static_cast<int>(info.ssi_signo);
}

}  // namespace ds::daemon
