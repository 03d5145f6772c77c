#pragma once

#include "common/base/status.h"

namespace ds::udp_transfer {

/// For a sync that has failed: ends the process, with exit code 1 and without any clean-up, since
/// nothing that is acknowledged from now on could be promised.
[[noreturn]] void EndProcess(const absl::Status& status);

}  // namespace ds::udp_transfer
