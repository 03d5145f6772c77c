#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tests/raft/core/group.h"

namespace ds::raft {

struct RandomRunOptions {
  std::uint64_t steps = 600;
  NodeOptions node = QuickOptions();
  std::function<void(const std::string&)> trace = {};
};
/// Sums over runs, to see that something happened in them.
struct RandomRunCounts {
  std::uint64_t leaders = 0;
  std::uint64_t applied = 0;
  std::uint64_t crashes = 0;
  std::uint64_t installs = 0;  ///< snapshots received
  std::uint64_t changes = 0;
  std::uint64_t reads = 0;  ///< answered
};

/// Five members and two that may be added, moved at random by the seed; then healed, and expected
/// to have one leader and equal states. Reads are checked to see all that was applied when they
/// were asked. Failures are reported to GoogleTest.
void RandomRun(std::uint64_t seed, const RandomRunOptions& options, RandomRunCounts& counts);

}  // namespace ds::raft
