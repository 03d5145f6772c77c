#pragma once

#include "common/daemon/tool.h"
#include "compute/tcp/client_options.h"

namespace ds::compute::tcp {

/// prime-client: asks about what the options name, prints a line for each, returns the exit code.
int RunClient(const ClientOptions& options, daemon::Tool* tool);

}  // namespace ds::compute::tcp
