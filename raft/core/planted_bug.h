#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace ds::raft {

/// Rules that a node can be told to break, to show that raft-sim finds what breaks. Each breaks one
/// line of the algorithm.
enum class PlantedBug : std::uint8_t {
  kNone,
  kVoteTwice,          ///< votes for each candidate of a term
  kCommitOldTerm,      ///< commits entries of earlier terms by counting replicas (§5.4.2)
  kForgetVote,         ///< a restarted member has forgotten its vote
  kLeaseAfterPause,    ///< time that passed in a pause does not count against the lease
  kRefusedIsDead,      ///< a refused connection ends the leader's lease in the eyes of followers
  kChangeWithoutNoop,  ///< changes the membership before an entry of its term is committed
  kTruncateCommitted,  ///< a follower takes any previous entry for a match, cuts what differs
  kSnapshotForgetsConfiguration,  ///< a restored snapshot has the first configuration
  kReadWithoutRound,              ///< answers reads without asking whether it is still the leader
  kAckBeforeDurable,              ///< answers before its disk has written
};

std::string_view Name(PlantedBug bug);
std::optional<PlantedBug> ParsePlantedBug(std::string_view name);

inline constexpr std::array kPlantedBugs = {
    PlantedBug::kVoteTwice,         PlantedBug::kCommitOldTerm,
    PlantedBug::kForgetVote,        PlantedBug::kLeaseAfterPause,
    PlantedBug::kRefusedIsDead,     PlantedBug::kChangeWithoutNoop,
    PlantedBug::kTruncateCommitted, PlantedBug::kSnapshotForgetsConfiguration,
    PlantedBug::kReadWithoutRound,  PlantedBug::kAckBeforeDurable,
};

}  // namespace ds::raft
