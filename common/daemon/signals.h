#pragma once

#include <initializer_list>
#include <optional>

#include "common/base/unique_fd.h"

namespace ds::daemon {

/// Gives a closed stdin, stdout or stderr to /dev/null: started like that, the program would
/// otherwise give its number to a file or socket, and print into that. What is printed to a stdout
/// that was closed fails, as to a full one. Ignores SIGPIPE.
void PrepareStandardStreams();

/// What is printed to a stdout that was closed is lost from now on, and that is no failure.
void PermitClosedOutput();

/// Signals as a descriptor. The constructor blocks the signals in the calling thread, and so in
/// every thread started after it: make it before there is another one. Calls
/// PrepareStandardStreams().
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
