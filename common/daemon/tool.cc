#include "common/daemon/tool.h"

#include <poll.h>

#include <csignal>

namespace ds::daemon {

Tool::Tool(ProgramInfo info) : info_(std::move(info)), signals_({SIGINT, SIGTERM}) {
  DescribeProgram(flags_, info_);
}

std::optional<int> Tool::Parse(int argc, char** argv) {
  return ParseFlags(flags_, info_.name, argc, argv);
}

bool Tool::interrupted() const {
  pollfd fd{signals_.fd(), POLLIN, 0};
  return ::poll(&fd, 1, 0) == 1;
}

int Tool::InterruptedExitCode() { return 128 + signals_.Take().value_or(SIGINT); }

}  // namespace ds::daemon
