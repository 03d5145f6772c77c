#include "tests/harness/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>

#include "common/base/check.h"

namespace ds::testing {
namespace {

constexpr unsigned kNobody = 65534;

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

/// Both ends close-on-exec and none of them one of the standard descriptors, over which the child
/// is going to copy its ends.
absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return ErrnoError("pipe", errno);
  Pipe pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
  for (UniqueFd* end : {&pipe.read, &pipe.write}) {
    if (end->get() > STDERR_FILENO) continue;
    const int moved = ::fcntl(end->get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (moved < 0) return ErrnoError("move a pipe", errno);
    end->Reset(moved);
  }
  return pipe;
}

void SetNonBlocking(int fd) { CHECK(::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) == 0); }

/// <sys/pidfd.h> of glibc 2.36 forgets that it may be read by C++.
int OpenPidFd(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

int PollTimeout(Duration timeout) {
  return static_cast<int>(
      std::clamp<std::int64_t>(std::chrono::ceil<std::chrono::milliseconds>(timeout).count(), 0,
                               std::numeric_limits<int>::max()));
}

std::vector<std::string> MergedEnvironment(
    const std::vector<std::pair<std::string, std::string>>& additions) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('='));
    // The service manager of whoever runs the tests is not to hear of our daemons.
    const bool dropped = name == "NOTIFY_SOCKET" ||
                         std::any_of(additions.begin(), additions.end(),
                                     [&](const auto& addition) { return addition.first == name; });
    if (!dropped) merged.emplace_back(text);
  }
  for (const auto& [name, value] : additions) merged.push_back(fmt::format("{}={}", name, value));
  return merged;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// Everything that the child needs, made before fork(): in the child of a program with threads only
/// async-signal-safe calls are allowed, so no allocation.
struct ChildPlan {
  const char* program;
  char* const* arguments;
  char* const* environment;
  const char* working_folder;  ///< or nullptr
  std::optional<rlim_t> open_files_max;
  bool as_nobody;
  int standard[3];  ///< become descriptors 0, 1, 2
  int failure;      ///< gets a ChildFailure if the program could not be started
  pid_t parent;
  bool die_with_parent;
};

struct ChildFailure {
  char step[24];
  int error;
};

[[noreturn]] void Fail(const ChildPlan& plan, const char* step) {
  ChildFailure failure{{}, errno};
  ::strncpy(failure.step, step, sizeof failure.step - 1);
  [[maybe_unused]] const ssize_t n = ::write(plan.failure, &failure, sizeof failure);
  ::_exit(127);
}

[[noreturn]] void RunChild(const ChildPlan& plan) {
  ::setpgid(0, 0);
  struct sigaction default_action {};
  default_action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &default_action, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);

  for (int fd = 0; fd < 3; ++fd) {
    if (::dup2(plan.standard[fd], fd) < 0) Fail(plan, "dup2");
  }
  // Whatever the test runner left open without close-on-exec; a kernel without the call leaves it.
  ::close_range(3, std::numeric_limits<unsigned>::max(), CLOSE_RANGE_CLOEXEC);

  if (plan.working_folder != nullptr && ::chdir(plan.working_folder) != 0) Fail(plan, "chdir");
  if (plan.open_files_max) {
    const rlimit limit{*plan.open_files_max, *plan.open_files_max};
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) Fail(plan, "setrlimit");
  }
  // Opened before the change of user: the other one may not be able to reach it (/root is 0700).
  const int program = ::open(plan.program, O_RDONLY | O_CLOEXEC);
  if (program < 0) Fail(plan, "open the program");
  if (plan.as_nobody) {
    // The plain system calls: the library's functions would look for other threads.
    if (::syscall(SYS_setgroups, 0, nullptr) != 0) Fail(plan, "setgroups");
    if (::syscall(SYS_setresgid, kNobody, kNobody, kNobody) != 0) Fail(plan, "setgid");
    if (::syscall(SYS_setresuid, kNobody, kNobody, kNobody) != 0) Fail(plan, "setuid");
  }
  if (plan.die_with_parent) {
    // After the change of user, which clears it.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != plan.parent) ::_exit(127);  // it died before it could be noticed
  }
  ::fexecve(program, plan.arguments, plan.environment);
  // A script: its interpreter cannot open a descriptor that is closed by then, but the path.
  if (errno == ENOENT) ::execve(plan.program, plan.arguments, plan.environment);
  Fail(plan, "exec");
}

void WriteAll(int fd, std::string_view bytes, int ended_fd) {
  // A tool that does not read its input to the end is its own business: SIGPIPE must not hit us.
  // The signal is sent to the thread that writes, and dies with it.
  sigset_t pipe_signal;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  CHECK(::pthread_sigmask(SIG_BLOCK, &pipe_signal, nullptr) == 0);
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      pollfd fds[2] = {{fd, POLLOUT, 0}, {ended_fd, POLLIN, 0}};
      ::poll(fds, 2, -1);
      if (fds[1].revents != 0) return;
    } else if (errno != EINTR) {
      return;
    }
  }
}

}  // namespace

int WaitStatus::ExitCode() const {
  switch (kind) {
    case Kind::kRunning:
      return -1;
    case Kind::kExited:
      return value;
    case Kind::kSignalled:
      return 128 + value;
  }
  return -1;
}

std::string WaitStatus::ToString() const {
  switch (kind) {
    case Kind::kRunning:
      return "still running";
    case Kind::kExited:
      return fmt::format("exit code {}", value);
    case Kind::kSignalled: {
      const char* text = ::sigdescr_np(value);
      return fmt::format("signal {} ({})", value, text == nullptr ? "?" : text);
    }
  }
  return "?";
}

std::ostream& operator<<(std::ostream& out, const WaitStatus& status) {
  return out << status.ToString();
}

PipeReader::PipeReader(UniqueFd pipe, int ended_fd) : pipe_(std::move(pipe)) {
  SetNonBlocking(pipe_.get());
  thread_ = std::jthread([this, ended_fd] { Read(ended_fd); });
}

void PipeReader::Read(int ended_fd) {
  std::array<char, 65536> buffer;
  bool ended = false;
  for (;;) {
    const ssize_t n = ::read(pipe_.get(), buffer.data(), buffer.size());
    if (n > 0) {
      {
        const std::lock_guard lock(mutex_);
        text_.append(buffer.data(), static_cast<std::size_t>(n));
        if (text_.size() > kTextMax) text_.erase(0, kTextMax / 2);
      }
      changed_.notify_all();
    } else if (n < 0 && errno == EAGAIN && !ended) {
      pollfd fds[2] = {{pipe_.get(), POLLIN, 0}, {ended_fd, POLLIN, 0}};
      ::poll(fds, 2, -1);
      ended = fds[1].revents != 0;
    } else if (n == 0 || errno != EINTR) {
      break;
    }
  }
  {
    const std::lock_guard lock(mutex_);
    at_end_ = true;
  }
  changed_.notify_all();
}

std::string PipeReader::Text() const {
  const std::lock_guard lock(mutex_);
  return text_;
}

bool PipeReader::WaitFor(Duration timeout,
                         const std::function<bool(const std::string&)>& predicate) const {
  std::unique_lock lock(mutex_);
  bool accepted = false;
  changed_.wait_for(lock, timeout, [&] {
    accepted = predicate(text_);
    return accepted || at_end_;
  });
  return accepted;
}

bool PipeReader::AtEnd() const {
  const std::lock_guard lock(mutex_);
  return at_end_;
}

void PipeReader::Join() {
  if (thread_.joinable()) thread_.join();
}

struct ChildProcess::Ends {
  UniqueFd in;
  UniqueFd out;
  UniqueFd err;
};

ChildProcess::ChildProcess(pid_t pid, Ends ends, std::optional<std::string> stdin_text)
    : pid_(pid),
      pid_fd_(OpenPidFd(pid)),
      ended_(::eventfd(0, EFD_CLOEXEC)),
      stdin_(std::move(ends.in)),
      out_(std::move(ends.out), ended_.get()),
      err_(std::move(ends.err), ended_.get()) {
  CHECK(pid_fd_, "pidfd_open");
  CHECK(ended_, "eventfd");
  if (stdin_text) {
    SetNonBlocking(stdin_.get());
    stdin_writer_ = std::jthread([text = *std::move(stdin_text), fd = std::move(stdin_),
                                  ended_fd = ended_.get()] { WriteAll(fd.get(), text, ended_fd); });
  }
}

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(const Options& options) {
  const std::string what = fmt::format("start \"{}\"", options.program);
  ASSIGN_OR_RETURN(Pipe in, MakePipe());
  ASSIGN_OR_RETURN(Pipe out, MakePipe());
  ASSIGN_OR_RETURN(Pipe err, MakePipe());
  ASSIGN_OR_RETURN(Pipe failure, MakePipe());

  // The child may change its folder before it looks for the program.
  std::error_code absolute_error;
  const std::string program = std::filesystem::absolute(options.program, absolute_error).string();
  std::vector<std::string> arguments{options.program};
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  std::vector<std::string> environment = MergedEnvironment(options.environment);
  const std::vector<char*> argument_pointers = Pointers(arguments);
  const std::vector<char*> environment_pointers = Pointers(environment);
  const ChildPlan plan{
      .program = program.c_str(),
      .arguments = argument_pointers.data(),
      .environment = environment_pointers.data(),
      .working_folder = options.working_folder.empty() ? nullptr : options.working_folder.c_str(),
      .open_files_max = options.open_files_max,
      .as_nobody = options.as_nobody && ::geteuid() == 0,
      .standard = {in.read.get(), out.write.get(), err.write.get()},
      .failure = failure.write.get(),
      .parent = ::getpid(),
      .die_with_parent = ::gettid() == ::getpid(),
  };
  const pid_t pid = ::fork();
  if (pid < 0) return ErrnoError(what, errno);
  if (pid == 0) RunChild(plan);

  in.read.Reset();
  out.write.Reset();
  err.write.Reset();
  failure.write.Reset();
  ChildFailure failed{};
  ssize_t n = 0;
  do {
    n = ::read(failure.read.get(), &failed, sizeof failed);
  } while (n < 0 && errno == EINTR);
  if (n > 0) {
    ::waitpid(pid, nullptr, 0);
    return ErrnoError(fmt::format("{}: {}", what, failed.step), failed.error);
  }
  return std::unique_ptr<ChildProcess>(new ChildProcess(
      pid, {std::move(in.write), std::move(out.read), std::move(err.read)}, options.stdin_text));
}

ChildProcess::~ChildProcess() {
  if (Wait(Duration::zero()).Running()) {
    KillGroup();
    // Nothing survives SIGKILL but a process stuck in the kernel, for which nobody can do anything.
    CHECK(!Wait(std::chrono::minutes(5)).Running(), "a killed process does not end");
  }
}

bool ChildProcess::Signal(int signal) {
  if (!Wait(Duration::zero()).Running()) return false;
  sent_.insert(signal);
  return ::kill(pid_, signal) == 0;
}

void ChildProcess::KillGroup() {
  if (!Wait(Duration::zero()).Running()) return;
  sent_.insert(SIGKILL);
  ::kill(pid_, SIGKILL);  // it may have left its group
  ::kill(-pid_, SIGKILL);
}

void ChildProcess::CloseStdin() { stdin_.Reset(); }

WaitStatus ChildProcess::Wait(Duration timeout) {
  if (!status_.Running()) return status_;
  const TimePoint deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    int status = 0;
    const pid_t reaped = ::waitpid(pid_, &status, WNOHANG);
    CHECK(reaped >= 0, "waitpid");
    if (reaped == pid_) {
      status_ = WIFSIGNALED(status) ? WaitStatus{WaitStatus::Kind::kSignalled, WTERMSIG(status)}
                                    : WaitStatus{WaitStatus::Kind::kExited, WEXITSTATUS(status)};
      const std::uint64_t one = 1;
      CHECK(::write(ended_.get(), &one, sizeof one) == sizeof one);
      out_.Join();
      err_.Join();
      return status_;
    }
    const Duration left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) return status_;
    pollfd entry{pid_fd_.get(), POLLIN, 0};
    ::poll(&entry, 1, PollTimeout(left));
  }
}

absl::StatusOr<std::string> FindProgram(const std::string& name, bool search_path) {
  if (name.find('/') != std::string::npos) return name;
  const auto variable = [](const char* key) -> std::string {
    const char* value = std::getenv(key);  // NOLINT(concurrency-mt-unsafe): nobody sets it
    return value == nullptr ? "" : value;
  };
  const std::string bin_folder = variable("DS_BIN_DIR");
  std::string path = fmt::format("{}/{}", bin_folder, name);
  if (!bin_folder.empty() && ::access(path.c_str(), X_OK) == 0) return path;
  if (search_path) {
    const std::string folders = variable("PATH");
    for (std::size_t begin = 0; begin < folders.size();) {
      const std::size_t end = std::min(folders.find(':', begin), folders.size());
      path = fmt::format("{}/{}", folders.substr(begin, end - begin), name);
      if (end > begin && ::access(path.c_str(), X_OK) == 0) return path;
      begin = end + 1;
    }
  }
  return Error(absl::StatusCode::kNotFound,
               fmt::format("find program \"{}\": not in DS_BIN_DIR (\"{}\"){}", name, bin_folder,
                           search_path ? " and not in PATH" : ""));
}

std::string LastLines(const std::string& text, std::size_t lines_max) {
  if (text.empty()) return "";
  std::size_t begin = text.size() - (text.back() == '\n' ? 1 : 0);
  for (std::size_t lines = 0; lines < lines_max && begin != std::string::npos; ++lines) {
    begin = begin == 0 ? std::string::npos : text.rfind('\n', begin - 1);
  }
  return begin == std::string::npos ? text : text.substr(begin + 1);
}

std::optional<std::string> SanitizerReport(const std::string& text) {
  for (const std::string_view mark : {"Sanitizer: ", ": runtime error: "}) {
    const std::size_t at = text.find(mark);
    if (at == std::string::npos) continue;
    const std::size_t newline = text.rfind('\n', at);
    const std::size_t begin = newline == std::string::npos ? 0 : newline + 1;
    return text.substr(begin, std::min(text.find('\n', at), text.size()) - begin);
  }
  return std::nullopt;
}

}  // namespace ds::testing
