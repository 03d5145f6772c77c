#include "common/daemon/signals.h"

#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

#include "common/base/check.h"

namespace ds::daemon {

namespace {

/// Descriptors 0 to 2 that are closed become /dev/null. By system calls alone, since this runs
/// before the sanitizers' runtimes are ready.
#if defined(__clang__)
__attribute__((no_sanitize("address", "thread", "undefined")))
#else
__attribute__((no_sanitize_address, no_sanitize_thread, no_sanitize_undefined))
#endif
void FillStandardStreams() {
  long fd = 0;
  do {
    fd = ::syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) ::syscall(SYS_close, fd);
}

/// Before the libraries' constructors: gRPC's open descriptors.
__attribute__((section(".preinit_array"),
               used)) void (*const fill_standard_streams)() = FillStandardStreams;

}  // namespace

void PrepareStandardStreams() {
  FillStandardStreams();
  CHECK(std::signal(SIGPIPE, SIG_IGN) != SIG_ERR);
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
