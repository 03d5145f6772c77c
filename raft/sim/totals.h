#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "raft/sim/fault.h"

namespace ds::raft {

/// What happened in simulated runs, so that a reader sees that it did.
enum class Total : std::uint8_t {
  kOperations,  ///< that clients began
  kSucceeded,   ///< of those: the client has the answer
  kUnknown,     ///< may have been executed
  kNotExecuted,
  kNotJudged,  ///< histories that were too long for the checker: a failure
  kElections,  ///< leaders
  kTerms,
  kSplitVotes,  ///< candidates beyond the leaders
  kTruncations,
  kSnapshots,
  kSnapshotsInstalled,
  kConfigurations,  ///< configuration entries of the committed logs
  kLeaseReads,
  kIndexReads,
  kRestarts,
  kTornTails,  ///< restarts that found a part of a write
  kLost,
  kDuplicated,
  kReordered,
  kPartitions,
  kOneWayCuts,
  kPowerLosses,
  kKills,
  kPauses,
  kSlowDisks,
  kDiskFull,  ///< members that died of it
  kFailedSyncs,
  kDriftChanges,
  kMembershipChanges,   ///< that a leader took in
  kTransfers,           ///< that made another member leader
  kRefusedConnections,  ///< refusals by living members, heard by another
  kBrokenStreams,       ///< to a follower, of which a leader was told
  kRefusedByLimits,     ///< proposals and reads that a member did not take in
  kStalledLeaders,      ///< that gave up because of their disks
  kForcedSnapshots,
  kCount,
};

inline constexpr std::size_t kTotals = static_cast<std::size_t>(Total::kCount);

/// "snapshots_installed"
std::string_view Name(Total total);

/// A value: sums over runs.
class Totals {
 public:
  std::uint64_t& operator[](Total total) { return counts_[static_cast<std::size_t>(total)]; }
  std::uint64_t operator[](Total total) const { return counts_[static_cast<std::size_t>(total)]; }
  Totals& operator+=(const Totals& other);
  friend bool operator==(const Totals&, const Totals&) = default;

 private:
  std::array<std::uint64_t, kTotals> counts_{};
};

/// The totals that are zero though these faults should have caused some in clusters that begin with
/// so many members: a simulation that does not do what it says proves nothing.
/// `leases`: some of the clusters read by lease.
std::vector<Total> Missing(const Totals& totals, const FaultKinds& faults, std::uint64_t nodes,
                           bool leases);

}  // namespace ds::raft
