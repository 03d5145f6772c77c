#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/time.h"

namespace ds::raft {

/// What befalls a cluster.
enum class FaultKind : std::uint8_t {
  kLoss,         ///< messages are lost
  kDuplication,  ///< messages arrive twice
  kReordering,   ///< messages arrive late, behind younger ones
  kPartition,    ///< two groups do not hear each other
  kOneWay,       ///< one member is not heard, or does not hear
  kPowerLoss,    ///< a machine loses what it had not synced; often within a write
  kKill,         ///< a process dies (kill -9); what it wrote stays in the page cache
  kPause,        ///< a process stands still (SIGSTOP) while its clock goes on
  kSlowDisk,     ///< writes take many times as long
  kDiskFull,     ///< writes fail; the member dies, and comes back when there is room
  kFailedSync,   ///< a sync fails; the member dies and comes back
  kDrift,        ///< a clock changes its speed
  kMembership,   ///< members are added, promoted, demoted, removed, replaced
  kTransfer,     ///< leadership is handed over
  kRefused,      ///< connections to a living member are refused
  kSnapshot,     ///< a member compacts its log as far as it can
};

inline constexpr std::array kFaultKinds = {
    FaultKind::kLoss,       FaultKind::kDuplication, FaultKind::kReordering, FaultKind::kPartition,
    FaultKind::kOneWay,     FaultKind::kPowerLoss,   FaultKind::kKill,       FaultKind::kPause,
    FaultKind::kSlowDisk,   FaultKind::kDiskFull,    FaultKind::kFailedSync, FaultKind::kDrift,
    FaultKind::kMembership, FaultKind::kTransfer,    FaultKind::kRefused,    FaultKind::kSnapshot,
};

std::string_view Name(FaultKind kind);

using FaultKinds = std::set<FaultKind>;
/// "all", "none", or names with commas between them. An error names what is no fault.
absl::StatusOr<FaultKinds> ParseFaultKinds(const std::string& text);

/// Whom a fault meets. Decided when it happens, since nobody knows before who will lead.
enum class Victim : std::uint8_t {
  kAny,        ///< of the living members, the one that `pick` names
  kLeader,     ///< the leader of the highest term; without one, as kAny
  kFollower,   ///< any but that one
  kVoter,      ///< whoever votes next: it is hit just after its vote has left
  kWriter,     ///< whoever writes next, or somewhat later: it is hit before the write has ended
  kNewLeader,  ///< whoever leads next: it is hit within a few milliseconds after its election
};

/// One fault, as a value: a run can be repeated with fewer of them.
struct Fault {
  Duration at{0};  ///< from the begin of the run
  FaultKind kind = FaultKind::kLoss;
  Victim victim = Victim::kAny;
  std::uint64_t pick = 0;  ///< chooses among victims, groups, variants
  Duration duration{0};    ///< until it is over: healed, restarted, resumed
  double strength = 0;     ///< probability, factor or speed, as the kind needs
  friend bool operator==(const Fault&, const Fault&) = default;
};

/// One line: time, kind, victim, duration.
std::string ToString(const Fault& fault);

/// The faults of a run of `length` that is left in peace from `heal_at` on. In the order of time.
std::vector<Fault> DrawFaults(const FaultKinds& kinds, Duration heal_at, Rng& rng);

}  // namespace ds::raft
