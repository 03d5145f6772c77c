#include "raft/sim/fault.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "common/base/check.h"

namespace ds::raft {
namespace {

using std::chrono::milliseconds;

constexpr std::array<std::string_view, kFaultKinds.size()> kNames = {
    "loss",       "duplication", "reordering", "partition", "one-way",     "power-loss",
    "kill",       "pause",       "slow-disk",  "disk-full", "failed-sync", "drift",
    "membership", "transfer",    "refused",    "snapshot",
};

Duration Milliseconds(Rng& rng, std::int64_t low, std::int64_t high) {
  return std::chrono::microseconds(rng.Between(low * 1000, high * 1000));
}

/// Most faults hurt most where the leader is.
Victim DrawVictim(Rng& rng) {
  const std::uint64_t drawn = rng.Below(10);
  if (drawn < 5) return Victim::kLeader;
  return drawn < 8 ? Victim::kFollower : Victim::kAny;
}

/// The details that fit the kind. Ranges are chosen around the election timeout (150-300 ms): some
/// faults are over before anybody notices, some last several elections.
void DrawDetails(Fault* fault, Rng& rng) {
  fault->pick = rng.Next() >> 1U;
  fault->victim = DrawVictim(rng);
  switch (fault->kind) {
    case FaultKind::kLoss:
      fault->duration = Milliseconds(rng, 200, 2000);
      fault->strength = 0.05 + 0.35 * rng.Unit();
      break;
    case FaultKind::kDuplication:
    case FaultKind::kReordering:
      fault->duration = Milliseconds(rng, 300, 3000);
      fault->strength = 0.05 + 0.45 * rng.Unit();
      break;
    case FaultKind::kPartition:
    case FaultKind::kOneWay:
      fault->duration = Milliseconds(rng, 100, 1200);
      break;
    case FaultKind::kRefused:
      fault->duration = Milliseconds(rng, 20, 600);
      fault->strength = rng.Unit();
      if (rng.Bernoulli(0.7)) fault->victim = Victim::kLeader;
      break;
    case FaultKind::kPowerLoss:
    case FaultKind::kKill:
      // A supervisor starts a process again at once, a machine boots.
      fault->duration = rng.Bernoulli(0.5) ? Milliseconds(rng, 1, 60) : Milliseconds(rng, 60, 1500);
      if (rng.Bernoulli(0.2)) {
        fault->victim = Victim::kVoter;
        fault->duration = Milliseconds(rng, 1, 5);
      } else if (rng.Bernoulli(0.4)) {
        fault->victim = Victim::kWriter;
      }
      break;
    case FaultKind::kPause:
      fault->duration = Milliseconds(rng, 50, 1000);
      break;
    case FaultKind::kSlowDisk:
      fault->duration = Milliseconds(rng, 100, 1500);
      fault->strength = rng.Bernoulli(0.2) ? 400 : 3 + 47 * rng.Unit();
      break;
    case FaultKind::kDiskFull:
      fault->duration = Milliseconds(rng, 20, 1000);
      break;
    case FaultKind::kFailedSync:
      fault->duration = Milliseconds(rng, 5, 500);
      break;
    case FaultKind::kDrift:
      fault->duration = Milliseconds(rng, 500, 6000);
      fault->strength = rng.Unit();
      break;
    case FaultKind::kMembership:
    case FaultKind::kTransfer:
      break;
    case FaultKind::kSnapshot:
      fault->strength = rng.Unit();
      break;
  }
}

}  // namespace

std::string_view Name(FaultKind kind) { return kNames.at(static_cast<std::size_t>(kind)); }

absl::StatusOr<FaultKinds> ParseFaultKinds(const std::string& text) {
  if (text == "all") return FaultKinds(kFaultKinds.begin(), kFaultKinds.end());
  if (text == "none") return FaultKinds();
  FaultKinds kinds;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    const std::string name = text.substr(begin, comma - begin);
    const auto* found = std::find(kNames.begin(), kNames.end(), name);
    if (found == kNames.end()) {
      return InvalidArgument(fmt::format("read the faults: \"{}\" is none; there are all, none, {}",
                                         name, fmt::join(kNames, ", ")));
    }
    kinds.insert(kFaultKinds.at(static_cast<std::size_t>(found - kNames.begin())));
    begin = comma + 1;
  }
  return kinds;
}

std::string ToString(const Fault& fault) {
  constexpr std::array<std::string_view, 6> kVictims = {"any",   "leader", "follower",
                                                        "voter", "writer", "new leader"};
  return fmt::format("{:.3f} s: {} (victim {}, pick {}) for {:.3f} s, strength {:.3f}",
                     ToSeconds(fault.at), Name(fault.kind),
                     kVictims.at(static_cast<std::size_t>(fault.victim)), fault.pick % 1000,
                     ToSeconds(fault.duration), fault.strength);
}

std::vector<Fault> DrawFaults(const FaultKinds& kinds, Duration heal_at, Rng& rng) {
  std::vector<Fault> faults;
  if (kinds.empty()) return faults;
  const std::vector<FaultKind> choice(kinds.begin(), kinds.end());
  const Duration begin = milliseconds(500);
  if (heal_at <= begin) return faults;

  // About one a second; some runs are calmer and some wilder.
  const double seconds = ToSeconds(heal_at - begin);
  const auto count =
      static_cast<std::uint64_t>(seconds * (0.5 + 0.9 * rng.Unit())) + std::uint64_t{1};
  while (faults.size() < count) {
    Fault fault;
    fault.kind = choice[rng.Below(choice.size())];
    fault.at = rng.Between(begin, heal_at);
    DrawDetails(&fault, rng);
    faults.push_back(fault);
    // What is dangerous is often a series: leader after leader falls (Figure 8), and a second fault
    // comes before the first one is over.
    if (rng.Bernoulli(0.2)) {
      const std::uint64_t more = 1 + rng.Below(4);
      const FaultKind other = rng.Bernoulli(0.5) ? fault.kind : choice[rng.Below(choice.size())];
      for (std::uint64_t i = 0; i < more; ++i) {
        Fault next;
        next.kind = i % 2 == 0 ? other : fault.kind;
        next.at = faults.back().at + Milliseconds(rng, 1, 500);
        DrawDetails(&next, rng);
        if (next.at < heal_at) faults.push_back(next);
      }
    }
  }
  // Leader after leader falls as soon as it leads, with entries that only some have (Figure 8).
  std::vector<FaultKind> fatal;
  for (const FaultKind kind : choice) {
    if (kind == FaultKind::kPartition || kind == FaultKind::kOneWay || kind == FaultKind::kKill ||
        kind == FaultKind::kPowerLoss) {
      fatal.push_back(kind);
    }
  }
  const std::uint64_t series = fatal.empty() ? 0 : rng.Below(3);
  for (std::uint64_t i = 0; i < series; ++i) {
    const Duration at = rng.Between(begin, heal_at);
    const std::uint64_t falls = 3 + rng.Below(6);
    for (std::uint64_t fall = 0; fall < falls; ++fall) {
      Fault fault;
      fault.kind = fatal[rng.Below(fatal.size())];
      fault.at = at;
      DrawDetails(&fault, rng);
      fault.victim = Victim::kNewLeader;
      fault.duration = Milliseconds(rng, 5, 700);
      fault.strength = rng.Unit();
      faults.push_back(fault);
    }
  }
  std::stable_sort(faults.begin(), faults.end(),
                   [](const Fault& a, const Fault& b) { return a.at < b.at; });
  return faults;
}

}  // namespace ds::raft
