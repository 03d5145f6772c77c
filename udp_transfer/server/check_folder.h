#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace ds::udp_transfer {

/// What a server's folder of unfinished files holds.
struct FolderReport {
  std::vector<std::string> lines;  ///< one for each unfinished file, printable
  std::size_t damaged = 0;         ///< of them
};

/// Verifies an udp-server's folder while no server runs: reads every state and the durable prefix
/// of the part that belongs to it, and changes nothing. A folder that no server has used is empty.
/// kFailedPrecondition: a server holds it. Blocks for as long as it takes to read all of that.
absl::StatusOr<FolderReport> CheckFolder(const std::string& folder);

}  // namespace ds::udp_transfer
