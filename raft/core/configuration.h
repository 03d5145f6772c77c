#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/base/strong_number.h"

namespace ds::raft {

/// A member. Never used again for another one: a member that lost its memory comes back under a new
/// one.
using NodeId = StrongNumber<struct NodeIdTag>;

/// Who is asked. While `outgoing` is not empty the configuration is joint (paper §6, thesis §4.3):
/// elections and commits need a majority of `voters` and one of `outgoing`. A value.
struct Configuration {
  std::set<NodeId> voters = {};
  std::set<NodeId> outgoing = {};       ///< voters of the configuration that is being left
  std::set<NodeId> learners = {};       ///< are sent the log and have no vote (thesis §4.2.1)
  std::set<NodeId> learners_next = {};  ///< voters of `outgoing` that will be learners after it
  /// Of each member: what the embedder wants to know of it (its address). Opaque here.
  std::map<NodeId, std::string> contexts = {};

  bool joint() const { return !outgoing.empty(); }
  bool IsVoter(NodeId id) const { return voters.contains(id) || outgoing.contains(id); }
  bool Contains(NodeId id) const;
  /// Voters and learners, each once.
  std::set<NodeId> Members() const;
  /// Without `outgoing`: what a joint configuration becomes.
  Configuration Left() const;

  /// An error names what is wrong: no voter; somebody who is voter and learner; a member without
  /// context, or a context of nobody; learners_next outside of outgoing; more than kMembersMax
  /// members; a context of more than kContextBytesMax.
  absl::Status Validate() const;
  static constexpr std::size_t kMembersMax = 64;
  static constexpr std::size_t kContextBytesMax = 4096;

  friend bool operator==(const Configuration&, const Configuration&) = default;
};

/// The bytes of a configuration entry; format in raft/ARCHITECTURE.md.
std::string EncodeConfiguration(const Configuration& configuration);
/// Also validates. An error for bytes left over.
absl::StatusOr<Configuration> DecodeConfiguration(std::string_view bytes);

/// One change of the membership. All of its parts take effect together.
struct ConfigurationChange {
  std::map<NodeId, std::string> add_voters = {};    ///< also makes voters of learners
  std::map<NodeId, std::string> add_learners = {};  ///< also makes learners of voters
  std::set<NodeId> remove = {};
};

/// What `change` makes of `current`: joint if the set of voters changes, else the final one. An
/// error says what does not fit: current is joint, removal of a stranger, a member named twice, a
/// change that changes nothing, Validate().
absl::StatusOr<Configuration> Apply(const Configuration& current,
                                    const ConfigurationChange& change);

}  // namespace ds::raft
