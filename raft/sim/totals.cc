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
    "forced_snapshots",
};

/// `total` comes of any of these faults.
struct Cause {
  Total total;
  std::vector<FaultKind> faults;
};

const std::vector<Cause>& Causes() {
  static const std::vector<Cause> causes = {
      {Total::kUnknown, {FaultKind::kPartition, FaultKind::kKill, FaultKind::kPowerLoss}},
      {Total::kSplitVotes, {FaultKind::kPartition, FaultKind::kKill, FaultKind::kPowerLoss}},
      {Total::kTruncations, {FaultKind::kPartition}},
      {Total::kSnapshotsInstalled, {FaultKind::kSnapshot}},
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
      {Total::kForcedSnapshots, {FaultKind::kSnapshot}},
  };
  return causes;
}

}  // namespace

std::string_view Name(Total total) { return kNames.at(static_cast<std::size_t>(total)); }

Totals& Totals::operator+=(const Totals& other) {
  for (std::size_t i = 0; i < kTotals; ++i) counts_[i] += other.counts_[i];
  return *this;
}

std::vector<Total> Missing(const Totals& totals, const FaultKinds& faults) {
  std::vector<Total> missing;
  for (const Total total : {Total::kOperations, Total::kSucceeded, Total::kElections, Total::kTerms,
                            Total::kSnapshots, Total::kLeaseReads, Total::kIndexReads}) {
    if (totals[total] == 0) missing.push_back(total);
  }
  for (const Cause& cause : Causes()) {
    const bool on = std::any_of(cause.faults.begin(), cause.faults.end(),
                                [&](FaultKind kind) { return faults.contains(kind); });
    if (on && totals[cause.total] == 0) missing.push_back(cause.total);
  }
  return missing;
}

}  // namespace ds::raft
