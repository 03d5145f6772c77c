#pragma once

#include "common/daemon/tool.h"
#include "udp_transfer/link/options.h"

namespace ds::udp_transfer {

/// Emulates the link and runs what the options say; the exit code of the program. REQUIRES:
/// options.Links() has succeeded.
int RunEmulator(const EmulatorOptions& options, daemon::Tool* tool);

/// Becomes options.command, inside of a side of a running emulator (options.join). Returns only
/// with an error.
absl::Status JoinEmulator(const EmulatorOptions& options);

}  // namespace ds::udp_transfer
