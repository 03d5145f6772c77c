#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"

// How the harness runs a process. Tests use DaemonProcess, ToolProcess and RunTool().

namespace ds::testing {

/// Whether, and how, a process has ended. A value.
struct WaitStatus {
  enum class Kind { kRunning, kExited, kSignalled };
  Kind kind = Kind::kRunning;
  int value = 0;  ///< the exit code, or the signal

  bool Running() const { return kind == Kind::kRunning; }
  bool Exited(int code) const { return kind == Kind::kExited && value == code; }
  bool KilledBy(int signal) const { return kind == Kind::kSignalled && value == signal; }
  /// As a shell says it: 128 + signal for a killed process; -1 for a running one.
  int ExitCode() const;
  /// "exit code 1", "signal 11 (Segmentation fault)", "still running".
  std::string ToString() const;
};
std::ostream& operator<<(std::ostream& out, const WaitStatus& status);

/// Reads a pipe on a thread of its own, so that the process at the other end never waits for the
/// test. Thread-safe.
class PipeReader {
 public:
  /// Beyond this much text the older half is forgotten.
  static constexpr std::size_t kTextMax = 64U << 20U;

  /// Reads until end-of-file; once `ended_fd` is readable, until the pipe is empty (a grandchild
  /// may hold the other end open for ever).
  PipeReader(UniqueFd pipe, int ended_fd);

  /// What has come so far.
  std::string Text() const;
  /// Waits until `predicate` accepts the text, at most `timeout`, and not beyond its end.
  bool WaitFor(Duration timeout, const std::function<bool(const std::string&)>& predicate) const;
  bool AtEnd() const;
  /// Waits for the end of the text. REQUIRES: ended_fd is readable.
  void Join();

 private:
  void Read(int ended_fd);

  const UniqueFd pipe_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::string text_;     // guarded by mutex_
  bool at_end_ = false;  // guarded by mutex_
  std::jthread thread_;
};

/// One process from fork() to its end. Not thread-safe but for the readers.
///
/// The child gets the three standard descriptors and no other, default signal dispositions, an
/// empty signal mask and a process group of its own. When this process dies, its standard input
/// closes and, if it was started by the main thread, it gets SIGKILL as well (PR_SET_PDEATHSIG acts
/// when the starting thread ends, so another thread must not ask for it).
class ChildProcess {
 public:
  struct Options {
    std::string program;  ///< a path
    std::vector<std::string> arguments{};
    std::string working_folder{};  ///< empty: that of this process
    std::vector<std::pair<std::string, std::string>> environment{};  ///< set in addition
    std::optional<rlim_t> open_files_max{};                          ///< RLIMIT_NOFILE
    bool as_nobody = false;                                          ///< uid and gid 65534, if root
    std::optional<std::string> stdin_text{};  ///< written and closed; else stdin stays open
  };

  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(const Options& options);

  /// A process that still runs is killed, with its process group.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  /// False if the process has ended.
  bool Signal(int signal);
  /// SIGKILL to the process and its whole group.
  void KillGroup();
  /// Whether Signal() or KillGroup() has sent it.
  bool HasSent(int signal) const { return sent_.contains(signal); }
  void CloseStdin();

  /// Waits for the end at most `timeout` (0: only looks). Once it returns an end, the readers have
  /// everything that the process wrote.
  WaitStatus Wait(Duration timeout);

  const PipeReader& out() const { return out_; }
  const PipeReader& err() const { return err_; }

 private:
  struct Ends;  ///< our ends of the pipes
  ChildProcess(pid_t pid, Ends ends, std::optional<std::string> stdin_text);

  const pid_t pid_;
  const UniqueFd pid_fd_;
  const UniqueFd ended_;  ///< eventfd: readable once the process was waited for
  UniqueFd stdin_;
  PipeReader out_;
  PipeReader err_;
  std::set<int> sent_;
  WaitStatus status_;
  std::jthread stdin_writer_;
};

/// The path of a program: `name` itself if it has a slash, else $DS_BIN_DIR/name, else (only with
/// `search_path`) the first of $PATH.
absl::StatusOr<std::string> FindProgram(const std::string& name, bool search_path);

/// The last lines of a log, for a failure message.
std::string LastLines(const std::string& text, std::size_t lines_max = 40);

/// The line in which a sanitizer says what it found, or nothing.
std::optional<std::string> SanitizerReport(const std::string& text);

}  // namespace ds::testing
