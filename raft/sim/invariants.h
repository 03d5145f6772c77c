#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "raft/core/node.h"

namespace ds::raft {

/// What Raft promises (paper, Figure 3), and what its members must keep, checked while a simulated
/// cluster runs. It is told of every step of every member, and keeps a picture of its own: of each
/// member's log and disk, and of what is committed. Costs a few hundred nanoseconds for each entry
/// and member, and nothing for heartbeats. Entries are compared by digests of the whole log up to
/// them, so that two logs are equal up to a position if their digests there are. The first
/// violation is kept. Deterministic. Single threaded.
class Invariants {
 public:
  /// What can be seen of a member after a step.
  struct View {
    NodeId id = {};
    Node::Role role = Node::Role::kFollower;
    Term term = {};
    std::optional<NodeId> vote = {};
    LogIndex committed = {};
    LogPosition last = {};
    const Configuration* configuration = nullptr;
  };
  static View Of(const Node& node);

  /// Empty while all is well: "<invariant>: <what happened>".
  const std::optional<std::string>& violation() const { return violation_; }

  /// A member begins or begins again: `restored` is what its store gave it.
  void Started(const View& view, const Restored& restored);
  /// A member's output has been taken, after each input that gave one.
  void Took(const View& view, const Output& output);
  /// Its batches up to `batch` are durable.
  void Wrote(NodeId id, std::uint64_t batch);
  /// It has saved a snapshot of its own.
  void Saved(NodeId id, const SnapshotMeta& meta, std::uint64_t state_digest);
  /// A message leaves.
  void Sending(NodeId from, NodeId to, const Message& message);
  /// Its state machine has executed the entry; `state_digest` of the state after it.
  void Applied(NodeId id, const Entry& entry, std::uint64_t state_digest);
  /// Its state machine's state was replaced by a snapshot's, or by the one found at the start.
  void Loaded(NodeId id, const SnapshotMeta& meta, std::uint64_t state_digest);
  /// A client was told that the command at this position is done.
  void Acknowledged(LogPosition position);

  /// The committed log, as far as anybody knows.
  LogIndex committed() const { return LogIndex(committed_.size()); }
  /// The configuration that holds at the end of it.
  const Configuration& committed_configuration() const;
  /// The highest that was acknowledged.
  LogIndex acknowledged() const { return acknowledged_; }

  /// Configurations that were committed, without the first.
  std::uint64_t configurations() const {
    return committed_configurations_.empty() ? 0 : committed_configurations_.size() - 1;
  }
  /// How often entries were replaced in a log.
  std::uint64_t truncations() const { return truncations_; }

 private:
  /// An entry of a log, and the digest of all entries up to it.
  struct Mark {
    Term term;
    std::uint64_t digest = 0;
    friend bool operator==(const Mark&, const Mark&) = default;
  };
  struct Log {
    LogIndex base;  ///< nothing is known of what is before it
    Mark base_mark;
    std::vector<Mark> marks;  ///< of base + 1, …

    LogIndex last() const { return base + marks.size(); }
    const Mark* At(LogIndex index) const;
    Mark* At(LogIndex index);
  };
  /// What a batch makes durable.
  struct Batch {
    std::uint64_t number = 0;
    std::optional<HardState> hard_state;
    std::optional<SnapshotMeta> install;
    LogIndex first;  ///< of `marks`
    std::vector<Mark> marks;
  };
  struct ConfigurationAt {
    LogIndex index;
    std::shared_ptr<const Configuration> configuration;
  };
  struct Member {
    Log log;
    std::vector<ConfigurationAt> configurations;  ///< in the log, the newest last; never empty
    Node::Role role = Node::Role::kFollower;
    Term term;
    LogIndex committed;
    LogIndex applied;
    std::uint64_t life = 0;

    bool known = false;    ///< has been started before
    HardState hard_state;  ///< durable
    Log disk;              ///< durable
    LogIndex snapshot;     ///< durable
    std::deque<Batch> batches;
  };
  struct Committed {
    LogPosition position;
    std::uint64_t digest = 0;
    Term in_term;  ///< a leader of this term, or of a later one, was the first to count it
    std::optional<std::uint64_t> state_digest;
    std::optional<std::uint64_t> entry_digest;
  };
  struct Leader {
    NodeId id;
    std::uint64_t life = 0;
  };

  static std::uint64_t Key(LogPosition position);
  static void Put(Log* log, LogIndex first, const std::vector<Mark>& marks);
  static void Reset(Log* log, LogIndex base, Mark mark);

  template <typename... Args>
  void Violate(std::string_view invariant, fmt::format_string<Args...> format, Args&&... args);

  /// The digest of the log up to the position, as whoever came first saw it.
  std::optional<std::uint64_t> DigestAt(LogPosition position) const;
  /// Puts entries into the member's log, in place of those from the first one's index on. `led`: it
  /// has led this term since its last step.
  std::vector<Mark> Append(const View& view, Member* member, const std::vector<EntryPtr>& entries,
                           bool led);
  void CheckConfigurationStep(const View& view, const Member& member, const Entry& entry);
  void CheckConfiguration(const View& view, const Member& member);
  void CheckLeader(const View& view, Member* member);
  void CheckCommitted(const View& view, Member* member);
  void CheckDurable(const View& view, LogIndex index);
  void CheckState(NodeId id, LogIndex index, std::uint64_t state_digest);
  std::shared_ptr<const Configuration> ConfigurationOf(LogIndex committed) const;

  std::map<NodeId, Member> members_;
  std::unordered_map<std::uint64_t, std::uint64_t>
      digests_;                                        ///< of logs, by position; never walked
  std::unordered_map<std::uint64_t, Leader> leaders_;  ///< by term; never walked
  std::vector<Committed> committed_;                   ///< of index 1, …
  std::vector<ConfigurationAt> committed_configurations_;
  LogIndex acknowledged_;
  std::uint64_t truncations_ = 0;
  std::optional<std::string> violation_;
};

}  // namespace ds::raft
