#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/time.h"
#include "raft/core/planted_bug.h"
#include "raft/sim/fault.h"
#include "raft/sim/totals.h"

namespace ds::raft {

struct SimulationOptions {
  std::uint64_t nodes = 5;                     ///< members at the begin
  Duration length = std::chrono::seconds(30);  ///< of virtual time, at least
  std::uint64_t operations = 500;              ///< that clients begin, at least
  FaultKinds faults{kFaultKinds.begin(), kFaultKinds.end()};
  PlantedBug planted_bug = PlantedBug::kNone;
  /// The run ends there if it lasts longer, and is judged by what there is. It goes as the whole
  /// one up to then.
  std::optional<Duration> until;

  absl::Status Validate() const;
  /// So many operations the clients are sure to begin, whatever the faults cost them.
  std::uint64_t OperationsMax() const;
};

/// What one run came to. A value: two runs of one seed with the same faults are equal.
struct SimulationResult {
  std::optional<std::string> violation;
  /// From the begin: what came later has no part in it. Unknown if none is.
  std::optional<Duration> violated_at;
  std::uint64_t steps = 0;
  std::uint64_t digest = 0;  ///< of the trace, every message and every total
  std::vector<std::string> trace_tail;
  Totals totals;
  friend bool operator==(const SimulationResult&, const SimulationResult&) = default;
};

/// The faults that the run of this seed meets.
std::vector<Fault> FaultsOf(const SimulationOptions& options, std::uint64_t seed);

/// Which members of the seed's cluster read by lease: none of an even seed, all of most odd ones.
enum class Leases : std::uint8_t { kNone, kSome, kAll };
Leases LeasesOf(std::uint64_t seed);

/// One run: a cluster of Nodes on simulated disks, clocks and a network, clients with a history,
/// and faults until the last sixth of the time. All invariants are checked after every step, the
/// history at the end; the cluster must come back to work once it is left in peace, and all members
/// to the same state. `print` is given every line of the trace, messages included.
SimulationResult Simulate(const SimulationOptions& options, std::uint64_t seed,
                          const std::vector<Fault>& faults,
                          const std::function<void(const std::string&)>& print = nullptr);

}  // namespace ds::raft
