#include "raft/sim/totals.h"

#include <algorithm>

namespace ds::raft {
namespace {

constexpr std::array<std::string_view, kTotals> kNames = {
    "operations",
    "succeeded",
    "unknown",
    "not_executed",
    "not_judged",
    "elections",
    "terms",
    "split_votes",
    "truncations",
    "snapshots",
    "snapshots_installed",
    "configurations",
    "lease_reads",
    "index_reads",
    "restarts",
    "torn_tails",
    "lost",
    "duplicated",
    "reordered",
    "partitions",
    "one_way_cuts",
    "power_losses",
    "kills",
    "pauses",
    "slow_disks",
    "disk_full",
    "failed_syncs",
    "drift_changes",
    "membership_changes",
    "transfers",
    "refused_connections",
    "broken_streams",
    "refused_by_limits",
    "stalled_leaders",
    "forced_snapshots",
};

/// `total` comes of any of these faults, in a cluster of so many members.
struct Cause {
  Total total;
  std::vector<FaultKind> faults;
  std::uint64_t members = 1;
};

const std::vector<Cause>& Causes() {
  static const std::vector<Cause> causes = {
      {Total::kUnknown, {FaultKind::kPartition, FaultKind::kKill, FaultKind::kPowerLoss}},
      {Total::kSplitVotes, {FaultKind::kPartition, FaultKind::kKill, FaultKind::kPowerLoss}, 2},
      // Of two, one whose log is longer is the only one that can lead.
      {Total::kTruncations, {FaultKind::kPartition}, 3},
      {Total::kSnapshotsInstalled, {FaultKind::kMembership}, 2},
      {Total::kConfigurations, {FaultKind::kMembership}},
      {Total::kRestarts, {FaultKind::kKill, FaultKind::kPowerLoss}},
      {Total::kTornTails, {FaultKind::kPowerLoss}},
      {Total::kLost, {FaultKind::kLoss}},
      {Total::kDuplicated, {FaultKind::kDuplication}},
      {Total::kReordered, {FaultKind::kReordering}},
      {Total::kPartitions, {FaultKind::kPartition}},
      {Total::kOneWayCuts, {FaultKind::kOneWay}},
      {Total::kPowerLosses, {FaultKind::kPowerLoss}},
      {Total::kKills, {FaultKind::kKill}},
      {Total::kPauses, {FaultKind::kPause}},
      {Total::kSlowDisks, {FaultKind::kSlowDisk}},
      {Total::kDiskFull, {FaultKind::kDiskFull}},
      {Total::kFailedSyncs, {FaultKind::kFailedSync}},
      {Total::kDriftChanges, {FaultKind::kDrift}},
      {Total::kMembershipChanges, {FaultKind::kMembership}},
      {Total::kTransfers, {FaultKind::kTransfer}},
      {Total::kRefusedConnections, {FaultKind::kRefused}},
      {Total::kBrokenStreams, {FaultKind::kPartition, FaultKind::kOneWay, FaultKind::kKill}, 2},
      // The others commit meanwhile, and one of them must be able to lead.
      {Total::kStalledLeaders, {FaultKind::kSlowDisk}, 3},
      {Total::kForcedSnapshots, {FaultKind::kSnapshot}},
  };
  return causes;
}

/// Nobody is there whom it could befall, or who could notice.
bool NeedsTwo(FaultKind kind) {
  switch (kind) {
    case FaultKind::kLoss:
    case FaultKind::kDuplication:
    case FaultKind::kReordering:
    case FaultKind::kPartition:
    case FaultKind::kOneWay:
    case FaultKind::kTransfer:
    case FaultKind::kRefused:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::string_view Name(Total total) { return kNames.at(static_cast<std::size_t>(total)); }

Totals& Totals::operator+=(const Totals& other) {
  for (std::size_t i = 0; i < kTotals; ++i) counts_[i] += other.counts_[i];
  return *this;
}

std::vector<Total> Missing(const Totals& totals, const FaultKinds& faults, std::uint64_t nodes,
                           bool leases) {
  // A change of the membership lets a cluster grow by one.
  const std::uint64_t members = nodes + (faults.contains(FaultKind::kMembership) ? 1 : 0);
  std::vector<Total> missing;
  for (const Total total : {Total::kOperations, Total::kSucceeded, Total::kElections, Total::kTerms,
                            Total::kSnapshots, Total::kIndexReads}) {
    if (totals[total] == 0) missing.push_back(total);
  }
  if (leases && totals[Total::kLeaseReads] == 0) missing.push_back(Total::kLeaseReads);
  for (const Cause& cause : Causes()) {
    const bool on = std::any_of(cause.faults.begin(), cause.faults.end(), [&](FaultKind kind) {
      return faults.contains(kind) && (members >= 2 || !NeedsTwo(kind));
    });
    if (on && members >= cause.members && totals[cause.total] == 0) missing.push_back(cause.total);
  }
  return missing;
}

}  // namespace ds::raft
