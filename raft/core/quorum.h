#pragma once

#include <functional>
#include <map>

#include "raft/core/configuration.h"
#include "raft/core/types.h"

namespace ds::raft {

// What a configuration decides. While it is joint both of its majorities are needed (paper §6);
// nobody else's voice counts. Without voters there is never a quorum.

/// The highest index that is on a quorum of logs, `match` saying up to where a voter's log is known
/// to be durable and equal to the leader's (Figure 2, last rule of leaders, without its look at the
/// term). 0 without voters. `match` is asked of voters only.
LogIndex CommittedIndex(const Configuration& configuration,
                        const std::function<LogIndex(NodeId)>& match);

enum class VoteOutcome {
  kPending,
  kWon,
  kLost,  ///< whoever has not answered yet cannot change it
};
/// Of an election (§5.2) in which `votes` have come: granted or refused.
VoteOutcome CountVotes(const Configuration& configuration, const std::map<NodeId, bool>& votes);

/// Whether those of whom `counts` is true are a quorum. `counts` is asked of voters only.
bool HasQuorum(const Configuration& configuration, const std::function<bool(NodeId)>& counts);

}  // namespace ds::raft
