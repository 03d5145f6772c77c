#include "raft/core/planted_bug.h"

#include "common/base/check.h"

namespace ds::raft {

std::string_view Name(PlantedBug bug) {
  switch (bug) {
    case PlantedBug::kNone:
      return "none";
    case PlantedBug::kVoteTwice:
      return "vote-twice";
    case PlantedBug::kCommitOldTerm:
      return "commit-old-term";
    case PlantedBug::kForgetVote:
      return "forget-vote";
    case PlantedBug::kLeaseAfterPause:
      return "lease-after-pause";
    case PlantedBug::kRefusedIsDead:
      return "refused-is-dead";
    case PlantedBug::kChangeWithoutNoop:
      return "change-without-noop";
    case PlantedBug::kTruncateCommitted:
      return "truncate-committed";
    case PlantedBug::kSnapshotForgetsConfiguration:
      return "snapshot-forgets-configuration";
    case PlantedBug::kReadWithoutRound:
      return "read-without-round";
    case PlantedBug::kAckBeforeDurable:
      return "ack-before-durable";
  }
  CHECK(false, "a bug without a name");
  return "";
}

std::optional<PlantedBug> ParsePlantedBug(std::string_view name) {
  if (name == Name(PlantedBug::kNone)) return PlantedBug::kNone;
  for (const PlantedBug bug : kPlantedBugs) {
    if (name == Name(bug)) return bug;
  }
  return std::nullopt;
}

}  // namespace ds::raft
