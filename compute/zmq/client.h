#pragma once

#include "common/daemon/tool.h"
#include "compute/zmq/options.h"

namespace ds::compute::zmq {

/// zmq-client: one command, or those of standard input, by the classic service or the reliable one.
/// Returns the exit code. REQUIRES: the flags are parsed, and BeginWork() was not called.
int RunClient(const ClientOptions& options, daemon::Tool* tool);

}  // namespace ds::compute::zmq
