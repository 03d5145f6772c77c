#pragma once

#include "common/daemon/tool.h"
#include "udp_transfer/client/options.h"

namespace ds::udp_transfer {

/// Sends what the options say and prints what became of it; returns the exit code.
int RunClient(ClientOptions options, daemon::Tool* tool);

}  // namespace ds::udp_transfer
