#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "udp_transfer/link/side.h"

namespace ds::udp_transfer {

/// pidfd_open(2): readable once the process has ended. Nothing, with errno, on failure.
UniqueFd OpenPidFd(pid_t pid);

/// Programs that cannot outlive this process, however it ends, nor can what they start: all of them
/// live in a process namespace of their own, whose first process reads a pipe that only this
/// process holds open. When that ends the first process ends, and then the kernel kills the others.
/// Not thread-safe.
class ProcessTree {
 public:
  /// A direct child. A value but for the descriptor.
  struct Child {
    pid_t pid = -1;   ///< as this process sees it
    UniqueFd pid_fd;  ///< readable once it has ended
  };
  enum class Streams {
    kInherit,  ///< all three
    kServer,   ///< no input, all output on our stderr
  };

  static absl::StatusOr<std::unique_ptr<ProcessTree>> Create();
  /// Kills whatever is left, and waits for all children of this process.
  ~ProcessTree();
  ProcessTree(const ProcessTree&) = delete;
  ProcessTree& operator=(const ProcessTree&) = delete;

  /// Starts a program in the network namespace of `side`, with the variables LINK_LOCAL and
  /// LINK_PEER (IPv4), LINK_LOCAL6 and LINK_PEER6, and a /proc of the process namespace. A program
  /// that is not there is an error.
  absl::StatusOr<Child> Start(const Side& side, SideName name, const std::vector<std::string>& argv,
                              Streams streams);

  /// Its exit code as a shell has it, 128 + signal for a killed one. REQUIRES: it has ended (its
  /// pid_fd is readable); asked once.
  static int TakeExitCode(const Child& child);

 private:
  ProcessTree() = default;

  Child first_;
  UniqueFd alive_;  ///< the pipe's end
};

}  // namespace ds::udp_transfer
