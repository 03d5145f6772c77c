#include "common/daemon/tool.h"

#include <poll.h>

#include <csignal>

#include "common/base/check.h"

namespace ds::daemon {

Tool::Tool(ProgramInfo info) : info_(std::move(info)) {
  PrepareStandardStreams();
  FailIfOutputIsLost(info_.name);
  DescribeProgram(flags_, info_);
}

std::optional<int> Tool::Parse(int argc, char** argv) {
  return ParseFlags(flags_, info_.name, argc, argv);
}

std::optional<int> Tool::ParseWithWords(int argc, char** argv, std::vector<std::string>* words) {
  return ParseFlagsAndWords(flags_, info_.name, argc, argv, words);
}

void Tool::BeginWork() {
  CHECK(!signals_, "begun twice");
  signals_.emplace({SIGINT, SIGTERM});
}

int Tool::interrupt_fd() const {
  CHECK(signals_.has_value(), "BeginWork() comes first");
  return signals_->fd();
}

bool Tool::interrupted() const {
  pollfd fd{interrupt_fd(), POLLIN, 0};
  return ::poll(&fd, 1, 0) == 1;
}

int Tool::InterruptedExitCode() {
  CHECK(interrupted());
  return 128 + signals_->Take().value_or(SIGINT);
}

}  // namespace ds::daemon
