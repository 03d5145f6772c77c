#pragma once

#include <optional>

#include "common/daemon/program.h"
#include "common/daemon/signals.h"

namespace ds::daemon {

/// The frame of a client tool: flags, Ctrl+C as a descriptor that all threads can poll, exit codes.
/// Make it first in main().
class Tool {
 public:
  explicit Tool(ProgramInfo info);

  CLI::App& flags() { return flags_; }
  std::optional<int> Parse(int argc, char** argv);

  /// Readable once SIGINT or SIGTERM has come, and from then on: nobody takes the signal out.
  int interrupt_fd() const { return signals_.fd(); }
  bool interrupted() const;
  /// REQUIRES: interrupted(). 130 after SIGINT, 143 after SIGTERM.
  int InterruptedExitCode();

  int Fail(const absl::Status& status) { return FailWith(info_.name, status); }

 private:
  const ProgramInfo info_;
  SignalFd signals_;
  CLI::App flags_;
};

}  // namespace ds::daemon
