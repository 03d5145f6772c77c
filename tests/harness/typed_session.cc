#include "tests/harness/typed_session.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <pty.h>
#include <spawn.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>

#include "common/base/check.h"
#include "tests/harness/child_process.h"

namespace ds::testing {
namespace {

/// With the terminal `name`, opened by a session leader and so its own, or with the pipes.
absl::StatusOr<pid_t> Spawn(const TypedSession::Options& options, const std::string& path,
                            const char* terminal, int in, int out) {
  std::vector<std::string> words{path};
  words.insert(words.end(), options.arguments.begin(), options.arguments.end());
  std::vector<std::string> variables;
  for (const auto& [name, value] : options.environment)
    variables.push_back(fmt::format("{}={}", name, value));
  for (const char* name : {"TSAN_OPTIONS", "UBSAN_OPTIONS", "ASAN_OPTIONS"}) {
    const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets it
    if (value != nullptr) variables.push_back(fmt::format("{}={}", name, value));
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::vector<char*> envp;
  for (std::string& variable : variables) envp.push_back(variable.data());
  envp.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  CHECK(::posix_spawn_file_actions_init(&actions) == 0 && ::posix_spawnattr_init(&attributes) == 0);
  if (terminal != nullptr) {
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, terminal, O_RDWR, 0);
    ::posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO);
  } else {
    ::posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  }
  ::posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
  pid_t pid = -1;
  const int error =
      ::posix_spawn(&pid, path.c_str(), &actions, &attributes, argv.data(), envp.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return ErrnoError("start " + path, error);
  return pid;
}

}  // namespace

TypedSession::TypedSession(pid_t pid, UniqueFd in, UniqueFd out)
    : pid_(pid), in_(std::move(in)), out_(std::move(out)) {}

absl::StatusOr<std::unique_ptr<TypedSession>> TypedSession::Start(const Options& options) {
  ASSIGN_OR_RETURN(const std::string path, FindProgram(options.program, /*search_path=*/false));
  if (options.kind == Kind::kTerminal) {
    int master = -1;
    int slave = -1;
    std::array<char, 128> name{};
    const winsize size{.ws_row = 24, .ws_col = 200, .ws_xpixel = 0, .ws_ypixel = 0};
    if (::openpty(&master, &slave, name.data(), nullptr, &size) != 0) {
      return ErrnoError("open a terminal", errno);
    }
    UniqueFd ours(master);
    const UniqueFd theirs(slave);  // open until the program has it
    CHECK(::fcntl(master, F_SETFD, FD_CLOEXEC) == 0 && ::fcntl(slave, F_SETFD, FD_CLOEXEC) == 0);
    ASSIGN_OR_RETURN(const pid_t pid, Spawn(options, path, name.data(), -1, -1));
    UniqueFd again(::fcntl(ours.get(), F_DUPFD_CLOEXEC, 0));
    return std::unique_ptr<TypedSession>(new TypedSession(pid, std::move(again), std::move(ours)));
  }
  int in[2];
  int out[2];
  CHECK(::pipe2(in, O_CLOEXEC) == 0 && ::pipe2(out, O_CLOEXEC) == 0);
  const UniqueFd their_in(in[0]);
  const UniqueFd their_out(out[1]);
  UniqueFd our_in(in[1]);
  UniqueFd our_out(out[0]);
  ASSIGN_OR_RETURN(const pid_t pid, Spawn(options, path, nullptr, their_in.get(), their_out.get()));
  return std::unique_ptr<TypedSession>(
      new TypedSession(pid, std::move(our_in), std::move(our_out)));
}

TypedSession::~TypedSession() {
  if (waited_) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void TypedSession::Type(const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(in_.get(), text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // the program has ended: Wait() tells how
    at += static_cast<std::size_t>(n);
  }
}

void TypedSession::CloseInput() { in_.Reset(); }

bool TypedSession::ReadSome() {
  pollfd fd{out_.get(), POLLIN, 0};
  const auto timeout = std::chrono::duration_cast<std::chrono::milliseconds>(kDeadline);
  if (::poll(&fd, 1, static_cast<int>(timeout.count()) * kSlowdown) <= 0) return false;
  std::array<char, 65536> bytes;
  const ssize_t n = ::read(out_.get(), bytes.data(), bytes.size());
  if (n <= 0) return false;  // EIO: nobody has the terminal any more
  output_.append(bytes.data(), static_cast<std::size_t>(n));
  return true;
}

bool TypedSession::See(const std::string& text) {
  for (;;) {
    const std::size_t at = output_.find(text);
    if (at != std::string::npos) {
      output_.erase(0, at + text.size());
      return true;
    }
    if (!ReadSome()) return false;
  }
}

bool TypedSession::terminal_is_cooked() const {
  termios mode{};
  CHECK(::tcgetattr(out_.get(), &mode) == 0);
  return (mode.c_lflag & ICANON) != 0 && (mode.c_lflag & ECHO) != 0;
}

bool TypedSession::Signal(int signal) { return ::kill(pid_, signal) == 0; }

int TypedSession::Wait() {
  while (ReadSome()) {
  }
  // It has closed its output, or has said nothing for kDeadline.
  int status = 0;
  CHECK(::waitpid(pid_, &status, 0) == pid_);
  waited_ = true;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace ds::testing
