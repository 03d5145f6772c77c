#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/base/rng.h"
#include "common/base/status.h"
#include "raft/core/configuration.h"
#include "raft/core/message.h"
#include "raft/core/planted_bug.h"
#include "raft/core/types.h"

namespace ds::raft {

/// A tick is whatever the embedder makes it; raft-server and raft-sim take 1 ms.
struct NodeOptions {
  std::uint32_t election_timeout_min_ticks = 150;
  std::uint32_t election_timeout_max_ticks = 300;
  std::uint32_t heartbeat_ticks = 50;
  bool pre_vote = true;
  bool check_quorum = true;

  /// Reads answered by the leader alone while a majority has promised not to vote (thesis §6.4.1).
  /// Safe only while clocks of members differ in speed by at most `clock_drift` and no clock stands
  /// still while its node works on. Needs check_quorum.
  bool lease_reads = false;
  double clock_drift = 0.1;  ///< each clock's speed is within 1 ± this of true time

  /// A leader whose disk has finished nothing for so long, while others have committed what it has
  /// not, gives leadership up: it could answer nobody. Longer than one write of a disk that works
  /// ever takes: where all are as slow as that, nobody would lead for long. 0: never.
  std::uint32_t disk_stall_max_ticks = 3000;

  /// Data in one AppendRequest, of at most 65536 entries. One entry may be larger alone: a command
  /// of proposal_bytes_max, or a configuration (some 270 KB). The largest other message is a
  /// SnapshotPart: snapshot_part_bytes and a configuration. What an embedder's transport and
  /// decoder must let pass is the largest of these and its own bytes around them.
  std::uint64_t append_bytes_max = 1 << 20;
  std::uint32_t append_in_flight_max = 64;  ///< requests to one follower not yet answered
  std::uint64_t append_in_flight_bytes_max = 8 << 20;
  /// Of entries that are not committed, or not on the leader's disk; beyond, proposals are refused.
  std::uint64_t uncommitted_bytes_max = 64 << 20;
  std::uint64_t proposal_bytes_max = 8 << 20;
  std::uint32_t reads_max = 16384;  ///< reads that wait; beyond, they are refused
  std::uint64_t snapshot_part_bytes = 256 << 10;
  std::uint64_t snapshot_bytes_per_tick =
      0;  ///< to all followers together; 0: as fast as they answer
  std::uint32_t snapshot_retry_ticks = 500;  ///< an unanswered part is sent again

  PlantedBug planted_bug = PlantedBug::kNone;  ///< only for raft-sim and tests

  absl::Status Validate() const;
};

/// What a member finds in its store when it starts. A new cluster's members start with the same
/// `snapshot` at index 0 whose configuration names them all; a member that was added later starts
/// with an empty configuration there and waits to be sent one.
struct Restored {
  HardState hard_state;
  SnapshotMeta snapshot;
  /// What `entries` follow, at or before the snapshot's last; none: that. Entries up to the
  /// snapshot are for followers that are a little behind, who need not be sent the snapshot.
  std::optional<LogPosition> base;
  std::vector<EntryPtr> entries;  ///< without a gap, up to the snapshot's last at least
};

using ReadId = std::uint64_t;  ///< the embedder's

struct Envelope {
  /// One of Node::Peers() when it was made, the leader, or who asked what this answers: a candidate
  /// or a leader may be in no configuration here yet. Answers go back on the asker's stream. What
  /// has no address any more may be dropped.
  NodeId to;
  Message message;
  /// To be sent only when this batch, and all before it, are durable; 0: at once, also while
  /// writes are under way (thesis §10.2.1).
  std::uint64_t after_batch = 0;
};

/// What happened, for logs and for the lines of raft-server.
struct Event {
  enum class Kind {
    kFollower,        ///< became one in `term`
    kLeaderDead,      ///< the election timer ran out, or the leader's connection is refused
    kCandidate,       ///< of the real election of `term`
    kVoted,           ///< for `node`, in `term`
    kVotesReceived,   ///< a majority
    kLeader,          ///< of `term`
    kConfiguration,   ///< the one in use changed
    kTransferFailed,  ///< the one to `node`: this member leads on, and takes proposals again
    kDiskStalled,     ///< the leader's: it gives leadership up (disk_stall_max_ticks)
  };
  Kind kind = Kind::kFollower;
  Term term;
  std::optional<NodeId> node;
  friend bool operator==(const Event&, const Event&) = default;
};

/// Effects, to be executed in the order of the fields.
struct Output {
  std::vector<Event> events = {};

  /// 1. Envelopes with after_batch 0 are sent first: nothing they say depends on this member's
  /// disk. The others of this output wait in the embedder's hands until their batch is durable.
  std::vector<Envelope> messages = {};

  /// 2. What becomes durable, as batch `batch` (0: nothing to write). Batches become durable in
  /// their order; Node::Persisted(batch) is called after. More output may be taken meanwhile.
  std::uint64_t batch = 0;
  std::optional<HardState> hard_state = {};  ///< before the entries
  /// A part of a snapshot that is being received: to be written at `offset`; offset 0 begins anew.
  struct ReceivedPart {
    SnapshotMeta meta = {};
    std::uint64_t offset = 0;
    std::string data = {};
  };
  std::optional<ReceivedPart> snapshot_part = {};
  /// The received parts are whole: this snapshot replaces the state machine's state and all of the
  /// log; `entries` of the same output come behind it. Comes with the last part.
  std::optional<SnapshotMeta> install = {};
  /// Replace all entries from the first one's index on (after `install`).
  std::vector<EntryPtr> entries = {};

  /// 3. Committed, and durable here: to be applied in this order. Each is given once.
  std::vector<EntryPtr> committed = {};

  /// 4. After `committed` has been applied. The state machine may be read now; none: the read has
  /// failed (it was never executed) and may be tried again, at `Node::leader()` or here.
  struct Read {
    ReadId id = 0;
    std::optional<LogIndex> index = {};  ///< what has been applied includes it
  };
  std::vector<Read> reads = {};

  bool empty() const;
};

/// Outcome of a proposal that has been taken in: it stands in this leader's log, and is committed
/// when an entry of this position is applied. Never, if another term's entry is applied at its
/// index.
struct Accepted {
  LogPosition position;
};
struct Refused {
  enum class Why {
    kNotLeader,
    kTransferring,  ///< the leader is about to hand over
    kTooMuchUncommitted,
    kTooLarge,
    kChangeUnderWay,  ///< another configuration is not committed yet, or no entry of this term is
    kInvalidChange,   ///< `detail` says what does not fit
    kInvalidTarget,   ///< of a transfer: no voter, or itself
    kTooManyReads,
  };
  Why why = Why::kNotLeader;
  std::optional<NodeId> leader;  ///< to ask instead, if known
  std::string detail;
};
using ProposeResult = std::variant<Accepted, Refused>;

/// One member of a Raft cluster (Ongaro and Ousterhout, "In search of an understandable consensus
/// algorithm", 2014; Ongaro's thesis, 2014). Pure: time comes in by Tick(), messages by Step(), and
/// all effects leave by TakeOutput(); equal inputs give equal outputs. One driver owns it. Not
/// thread-safe. Memory is bounded by the entries since the last Compact(), uncommitted_bytes_max,
/// and what one member may have under way.
class Node {
 public:
  enum class Role { kFollower, kPreCandidate, kCandidate, kLeader };

  /// REQUIRES: options.Validate().ok(), `restored` is as it says. `rng` outlives the node.
  Node(NodeId id, const NodeOptions& options, Restored restored, Rng& rng);
  ~Node();
  Node(Node&&) noexcept;

  // --- Inputs. After any of them TakeOutput() may have something. ---

  /// `ticks` have passed since the last call. The driver brings time up to date before each other
  /// input, so that a node that was paused knows it before it believes in its lease.
  void Tick(std::uint64_t ticks);
  /// Ticks after which Tick() would next do something of its own; nothing happens before. The
  /// largest number if nothing ever will.
  std::uint64_t TicksToNext() const;

  /// A message of another member. Bytes have been decoded, nothing else has been checked: whatever
  /// a message says, no CHECK fails.
  void Step(NodeId from, Message message);

  /// The batch of this number and all before it are durable.
  void Persisted(std::uint64_t batch);

  /// The peer's machine refused a connection, so its process is dead or does not listen. A follower
  /// of it need not wait for its timer. One with lease_reads does: its leader may count on it. (Of
  /// one without, no leader counts the answers as promises, whatever its own lease_reads are.)
  void ConnectionRefused(NodeId peer);
  /// A message to the peer may have been lost (a broken stream). A leader's pipelining to it starts
  /// anew, with Connected() or the next heartbeat. If the peer is this follower's leader, reads
  /// that it has not answered fail, and may be tried again.
  void Unreachable(NodeId peer);
  /// There is a stream to the peer again: what it lacks is sent with the next output.
  void Connected(NodeId peer);

  ProposeResult Propose(std::string command);
  /// Done when a configuration that is not joint (DecodeConfiguration() of a kConfiguration entry's
  /// data) is applied at the position of the result or behind it; the leader of then proposes it by
  /// itself. Never, if another term's entry is applied at the position.
  ProposeResult ProposeChange(const ConfigurationChange& change);
  /// Hands leadership to `target` (thesis §3.10): proposals are refused meanwhile, at most an
  /// election timeout, after which kTransferFailed is given. The result's position says nothing.
  ProposeResult TransferTo(NodeId target);

  /// A linearizable read, on any member (thesis §6.4): answered in Output::reads, once each. Reads
  /// that come before the next TakeOutput(), or while two rounds are under way, share a round.
  /// None: taken in. Refused at once if no leader is known (kNotLeader) or too many reads wait
  /// here. One that was taken in fails when its leader is lost, could not confirm within an
  /// election timeout (its maximum) that it leads, or has not applied what the read must see by
  /// then.
  std::optional<Refused> Read(ReadId id);

  /// The embedder has a durable snapshot of the state after `meta.last`, which has been applied:
  /// entries up to `keep_after` are forgotten. Followers that need them are sent the snapshot. Does
  /// nothing if `meta` is older than snapshot(), or has no voters. The embedder puts it off
  /// while SnapshotInTransfer(). REQUIRES: keep_after <= meta.last.index <= applied().
  void Compact(const SnapshotMeta& meta, LogIndex keep_after);
  /// Position and configuration of the snapshot of the state after `index`: of what the embedder's
  /// state machine has really applied. That may be less than applied(), which is what was given out
  /// and jumps when a snapshot is to be installed. None: `index` is above applied() or before
  /// snapshot() (that install is under way), or no configuration has been told of yet.
  std::optional<SnapshotMeta> SnapshotAt(LogIndex index) const;
  /// A follower is being sent the snapshot, and goes on to take parts of it. A newer one would make
  /// it begin anew, so that one who needs longer than the time between two compactions would never
  /// have any: until this ends, or the log has grown to a limit of the embedder's own (a follower
  /// could make it last), no newer snapshot should be saved. False unless leader.
  bool SnapshotInTransfer() const;
  /// The embedder does not have the snapshot's bytes for a part that it was to send to `peer`.
  void SnapshotUnavailable(NodeId peer);

  // --- Output ---

  bool HasOutput() const;
  Output TakeOutput();

  // --- For the embedder's eyes ---

  NodeId id() const;
  Role role() const;
  Term term() const;
  std::optional<NodeId> vote() const;
  std::optional<NodeId> leader() const;
  LogIndex committed() const;
  LogIndex applied() const;  ///< given out in Output::committed, or part of an installed snapshot
  LogPosition last() const;
  std::uint64_t log_bytes() const;  ///< of data in all entries that are in memory
  LogPosition snapshot() const;
  const Configuration& configuration() const;  ///< in use: the newest in the log, committed or not
  /// Whom messages may go to unasked, and their contexts: the members of the configuration in use
  /// without this one, and at a leader, and at one that was until it hears of the next, those who
  /// are leaving it and are still told so.
  std::map<NodeId, std::string> Peers() const;
  /// The entry, while it is in memory.
  EntryPtr entry(LogIndex index) const;
  /// The leader holds a lease (with lease_reads) now.
  bool HasLease() const;
  struct Follower {
    NodeId id;
    LogIndex match;
    LogIndex next;
    bool active = false;  ///< heard of within an election timeout
    bool receives_snapshot = false;
  };
  /// Empty unless leader. In the order of ids, without itself.
  std::vector<Follower> followers() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ds::raft
