#pragma once

#include <initializer_list>
#include <optional>

#include "common/base/unique_fd.h"

namespace ds::daemon {

/// Signals as a descriptor. Also gives a closed stdin, stdout or stderr to /dev/null. The
/// constructor blocks the signals in the calling thread, and so in every thread started after it:
/// make one first in main(). SIGPIPE is ignored from then on.
class SignalFd {
 public:
  SignalFd(std::initializer_list<int> signals);

  int fd() const { return fd_.get(); }
  /// The next pending signal, if there is one.
  std::optional<int> Take();

 private:
  UniqueFd fd_;
};

}  // namespace ds::daemon
