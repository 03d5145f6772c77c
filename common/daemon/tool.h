#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/daemon/program.h"
#include "common/daemon/signals.h"

namespace ds::daemon {

/// The frame of a client tool: flags, Ctrl+C, exit codes. Make it first in main(). Results that
/// could not be written to stdout make the exit code 1, whatever main() returns.
///
/// Until BeginWork() SIGINT and SIGTERM end the process as they do by default, so that nothing the
/// tool waits for (a list from a pipe, a name to be resolved) has to listen. After it they are a
/// descriptor that all threads can poll.
class Tool {
 public:
  explicit Tool(ProgramInfo info);

  CLI::App& flags() { return flags_; }
  std::optional<int> Parse(int argc, char** argv);
  std::optional<int> ParseWithWords(int argc, char** argv, std::vector<std::string>* words);

  /// REQUIRES: no other thread was started yet, and it is the first call.
  void BeginWork();

  // All of these REQUIRE BeginWork().

  /// Readable once SIGINT or SIGTERM has come, and from then on: nobody takes the signal out.
  int interrupt_fd() const;
  bool interrupted() const;
  /// REQUIRES: interrupted(). 130 after SIGINT, 143 after SIGTERM.
  int InterruptedExitCode();

  // At any time.
  int Fail(const absl::Status& status) { return FailWith(info_.name, status); }

 private:
  const ProgramInfo info_;
  std::optional<SignalFd> signals_;
  CLI::App flags_;
};

}  // namespace ds::daemon
