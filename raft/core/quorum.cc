#include "raft/core/quorum.h"

#include <algorithm>
#include <cstddef>
#include <set>
#include <vector>

namespace ds::raft {
namespace {

std::size_t Majority(const std::set<NodeId>& voters) { return voters.size() / 2 + 1; }

LogIndex MajorityMatch(const std::set<NodeId>& voters,
                       const std::function<LogIndex(NodeId)>& match) {
  if (voters.empty()) return LogIndex(0);
  std::vector<LogIndex> matches;
  matches.reserve(voters.size());
  for (const NodeId id : voters) matches.push_back(match(id));
  // A majority has the index at this place or a higher one.
  const auto place =
      matches.begin() + static_cast<std::ptrdiff_t>(voters.size() - Majority(voters));
  std::nth_element(matches.begin(), place, matches.end());
  return *place;
}

bool IsMajority(const std::set<NodeId>& voters, const std::function<bool(NodeId)>& counts) {
  const auto found = std::count_if(voters.begin(), voters.end(), counts);
  return static_cast<std::size_t>(found) >= Majority(voters);
}

}  // namespace

LogIndex CommittedIndex(const Configuration& configuration,
                        const std::function<LogIndex(NodeId)>& match) {
  const LogIndex committed = MajorityMatch(configuration.voters, match);
  if (!configuration.joint()) return committed;
  return std::min(committed, MajorityMatch(configuration.outgoing, match));
}

VoteOutcome CountVotes(const Configuration& configuration, const std::map<NodeId, bool>& votes) {
  const auto granted = [&](NodeId id) {
    const auto vote = votes.find(id);
    return vote != votes.end() && vote->second;
  };
  const auto not_refused = [&](NodeId id) {
    const auto vote = votes.find(id);
    return vote == votes.end() || vote->second;
  };
  if (HasQuorum(configuration, granted)) return VoteOutcome::kWon;
  return HasQuorum(configuration, not_refused) ? VoteOutcome::kPending : VoteOutcome::kLost;
}

bool HasQuorum(const Configuration& configuration, const std::function<bool(NodeId)>& counts) {
  return IsMajority(configuration.voters, counts) &&
         (!configuration.joint() || IsMajority(configuration.outgoing, counts));
}

}  // namespace ds::raft
