#pragma once

#include "common/daemon/tool.h"
#include "getfile/client/options.h"

namespace ds::getfile {

/// getfile-client: fetches what the options name, prints a line per request, returns the exit code.
int RunClient(const ClientOptions& options, daemon::Tool* tool);

}  // namespace ds::getfile
