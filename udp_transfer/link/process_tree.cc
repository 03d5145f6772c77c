#include "udp_transfer/link/process_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>
#include <utility>

#include "common/base/check.h"

namespace ds::udp_transfer {
namespace {

absl::StatusOr<std::pair<UniqueFd, UniqueFd>> Pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return ErrnoError("create a pipe", errno);
  return std::pair(UniqueFd(fds[0]), UniqueFd(fds[1]));
}

// Between fork() and exec() only system calls: another thread may have held any lock.

/// The first process of the namespace. Reaps what is orphaned by ignoring it.
[[noreturn]] void RunFirst(int alive_fd) {
  ::prctl(PR_SET_NAME, "link-init");
  std::signal(SIGCHLD, SIG_IGN);
  char byte = 0;
  while (::read(alive_fd, &byte, 1) < 0 && errno == EINTR) {
  }
  ::_exit(0);
}

/// Ends with the errno in `report_fd` if the program cannot be started.
[[noreturn]] void RunProgram(char* const argv[], char* const environment[],
                             ProcessTree::Streams streams, int report_fd) {
  if (streams == ProcessTree::Streams::kServer) {
    ::close(STDIN_FILENO);
    ::open("/dev/null", O_RDONLY);
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
  }
  // A /proc with the right numbers. Where mounting is not allowed, the old one has to do.
  if (::unshare(CLONE_NEWNS) == 0 &&
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0) {
    ::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  }
  std::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  ::execvpe(argv[0], argv, environment);
  const int error = errno;
  const ssize_t written = ::write(report_fd, &error, sizeof error);
  ::_exit(written == sizeof error ? 127 : 126);
}

std::vector<std::string> EnvironmentFor(SideName name) {
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (std::strncmp(*variable, "LINK_", 5) != 0) environment.emplace_back(*variable);
  }
  const auto side = static_cast<std::size_t>(name);
  const SideAddresses& local = kSideAddresses[side];
  const SideAddresses& peer = kSideAddresses[1 - side];
  environment.push_back(fmt::format("LINK_LOCAL={}", local.ipv4));
  environment.push_back(fmt::format("LINK_PEER={}", peer.ipv4));
  environment.push_back(fmt::format("LINK_LOCAL6={}", local.ipv6));
  environment.push_back(fmt::format("LINK_PEER6={}", peer.ipv6));
  return environment;
}

std::vector<char*> Pointers(std::vector<std::string>* texts) {
  std::vector<char*> pointers;
  for (std::string& text : *texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

UniqueFd OpenPidFd(pid_t pid) {
  // This glibc's declaration of pidfd_open() is not for C++.
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

absl::StatusOr<std::unique_ptr<ProcessTree>> ProcessTree::Create() {
  std::unique_ptr<ProcessTree> tree(new ProcessTree);
  ASSIGN_OR_RETURN(auto pipe, Pipe());
  int error = 0;
  // On a thread of its own: it is the thread's children that go into the new namespace.
  std::jthread([&] {
    if (::unshare(CLONE_NEWPID) == 0) {
      tree->first_.pid = ::fork();
      if (tree->first_.pid == 0) {
        ::close(pipe.second.get());
        RunFirst(pipe.first.get());
      }
    }
    error = errno;
  }).join();
  if (tree->first_.pid < 0) return ErrnoError("create a process namespace", error);
  tree->alive_ = std::move(pipe.second);
  tree->first_.pid_fd = OpenPidFd(tree->first_.pid);
  if (!tree->first_.pid_fd) return ErrnoError("watch the process namespace", errno);
  return tree;
}

ProcessTree::~ProcessTree() {
  alive_.Reset();
  // The first process ends only after all others of the namespace were waited for, and those that
  // we started are ours to wait for. This process has no other children.
  while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
  }
}

absl::StatusOr<ProcessTree::Child> ProcessTree::Start(const Side& side, SideName name,
                                                      const std::vector<std::string>& argv,
                                                      Streams streams) {
  CHECK(!argv.empty());
  std::vector<std::string> arguments = argv;
  std::vector<std::string> environment = EnvironmentFor(name);
  const std::vector<char*> argument_pointers = Pointers(&arguments);
  const std::vector<char*> environment_pointers = Pointers(&environment);
  ASSIGN_OR_RETURN(auto report, Pipe());
  Child child;
  int error = 0;
  side.Run([&] {
    if (::setns(first_.pid_fd.get(), CLONE_NEWPID) == 0) {
      child.pid = ::fork();
      if (child.pid == 0) {
        RunProgram(argument_pointers.data(), environment_pointers.data(), streams,
                   report.second.get());
      }
    }
    error = errno;
  });
  const std::string what =
      fmt::format("start \"{}\" in side {}", argv[0], kSideNames[static_cast<std::size_t>(name)]);
  if (child.pid < 0) return ErrnoError(what, error);
  child.pid_fd = OpenPidFd(child.pid);
  CHECK(child.pid_fd, "pidfd_open of a child");
  report.second.Reset();
  // Empty at exec(), which closes the other end.
  if (::read(report.first.get(), &error, sizeof error) == sizeof error) {
    ::waitpid(child.pid, nullptr, 0);
    return ErrnoError(what, error);
  }
  return child;
}

int ProcessTree::TakeExitCode(const Child& child) {
  int status = 0;
  CHECK(::waitpid(child.pid, &status, 0) == child.pid, "waited for twice");
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace ds::udp_transfer
