#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/net/endpoint.h"
#include "tests/harness/child_process.h"
#include "tests/harness/deadline.h"

namespace ds::testing {

/// One daemon as its user meets it: a process with a ready line, a log and signals.
///
///   DaemonProcess server({.program = "getfile-server", .arguments = {"-p", "0"}});
///   ASSERT_TRUE(server.StartAndWaitReady().ok());
///
/// The test fails when the daemon prints a sanitizer's report, ends by a signal that the harness
/// has not sent, or ends and nobody asks how. The last lines of its log are printed when the test
/// has failed. The destructor ends a running daemon by SIGTERM and expects exit code 0. Should the
/// test program die, its daemons die with it. Not thread-safe.
class DaemonProcess {
 public:
  struct Options {
    std::string program;  ///< of $DS_BIN_DIR, or a path
    /// In front of `--exit-on-stdin-close`, which is always added.
    std::vector<std::string> arguments{};
    std::string working_folder{};                                    ///< empty: that of the test
    std::vector<std::pair<std::string, std::string>> environment{};  ///< set in addition
    std::optional<rlim_t> open_files_max{};                          ///< RLIMIT_NOFILE
    bool as_nobody = false;  ///< as uid and gid 65534, if the test is root
  };

  explicit DaemonProcess(Options options);
  ~DaemonProcess();
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  /// Starts the process and does not wait for anything. REQUIRES: not running. Output, ready line
  /// and keys of an earlier run are forgotten.
  [[nodiscard]] absl::Status Start();
  /// Waits for the line `READY <program> key=value …` and reads its keys. Fails early if the
  /// process ends.
  [[nodiscard]] absl::Status WaitReady(Duration deadline = kDeadline);
  [[nodiscard]] absl::Status StartAndWaitReady(Duration deadline = kDeadline);
  /// StartAndWaitReady() with the same options, after Terminate() if it still runs (which must end
  /// with exit code 0). With port 0 the new process has a new port.
  [[nodiscard]] absl::Status Restart();

  // Of the ready line; empty, or 0, before WaitReady() has succeeded or where it has none.
  std::string Key(const std::string& name) const;
  /// The first entry of `listen=`.
  net::HostPort address() const;
  std::string host() const { return address().host; }
  std::uint16_t port() const { return address().port; }

  // Output of the present, or else the last, run.
  std::vector<std::string> stdout_lines() const;  ///< complete lines only
  std::string stderr_text() const;

  /// Of the present, or else the last, run. REQUIRES: started.
  pid_t pid() const;
  bool running();
  /// False if the process has ended.
  bool Signal(int signal);
  void CloseStdin();

  /// Waits for the end. A status that is still Running() when `deadline` has passed is not a
  /// failure by itself.
  WaitStatus Wait(Duration deadline = kDeadline);
  /// SIGTERM, and waits for the end; returns the exit code as a shell would (128 + signal for a
  /// killed process). One that does not end within kDeadline is killed, and the test fails.
  [[nodiscard]] int Terminate();
  /// SIGKILL, and waits for the end.
  void Kill();
  /// SIGSTOP, and waits until every thread of the process stands still.
  void Pause();
  void Resume();

  // What the process uses now; 0 if it has ended.
  std::size_t open_descriptors();
  std::uint64_t resident_bytes();
  std::chrono::milliseconds cpu_time();  ///< user and system, all threads, in steps of 10 ms

 private:
  /// ChildProcess::Wait(), and on the first sight of an end the checks of it.
  WaitStatus Look(Duration timeout);
  void PrintLog() const;

  const Options options_;
  const std::string name_;  ///< of the program, without folders
  std::unique_ptr<ChildProcess> child_;
  std::map<std::string, std::string> keys_;
  std::string earlier_log_;   ///< the last lines of the run before
  bool end_checked_ = false;  ///< Look() has seen the end of this run
  bool end_told_ = false;     ///< the test knows how it ended
  bool paused_ = false;
};

}  // namespace ds::testing
