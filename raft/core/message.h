#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "raft/core/types.h"

namespace ds::raft {

/// RequestVote (Figure 2), and its trial (thesis §9.6).
struct VoteRequest {
  bool pre = false;       ///< a trial: term is the one the sender would campaign in; binds nobody
  bool transfer = false;  ///< the leader told the sender to (thesis §3.10): a living leader is no
                          ///< reason to refuse
  LogPosition last = {};  ///< of the candidate's log
  friend bool operator==(const VoteRequest&, const VoteRequest&) = default;
};
struct VoteResponse {
  bool pre = false;  ///< granted: term is the request's; refused: the sender's
  bool granted = false;
  friend bool operator==(const VoteResponse&, const VoteResponse&) = default;
};

/// AppendEntries (Figure 2). Without entries: a heartbeat.
struct AppendRequest {
  LogPosition previous = {};
  std::vector<EntryPtr> entries = {};
  LogIndex committed = {};
  /// Of this leader in this term; grows. Who answers it still took the sender for the leader when
  /// it was sent (thesis §6.4).
  std::uint64_t round = 0;
};
struct AppendResponse {
  std::uint64_t round = 0;
  bool accepted = false;
  /// Accepted: the sender's log is durable and equal to the leader's up to here. (The term is that
  /// of the entry, 0 if it is not known any more.)
  /// Refused: the sender's last position at or before the request's `previous` whose term is not
  /// above that of `previous`: nothing beyond it can match.
  LogPosition match = {};
  /// The sender refuses votes until an election timeout after this request (lease reads).
  bool honours_lease = false;
  friend bool operator==(const AppendResponse&, const AppendResponse&) = default;
};

/// InstallSnapshot (Figure 13), in parts.
struct SnapshotPart {
  SnapshotMeta meta = {};
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::string data = {};  ///< left empty by the leader's core: the embedder fills in `length` bytes
  std::uint64_t round = 0;
};
struct SnapshotPartResponse {
  LogPosition last = {};  ///< of the snapshot
  std::uint64_t next_offset = 0;
  bool installed = false;  ///< or no longer needed: the log is durable up to `last`
  std::uint64_t round = 0;
  bool honours_lease = false;
  friend bool operator==(const SnapshotPartResponse&, const SnapshotPartResponse&) = default;
};

/// Campaign at once (thesis §3.10).
struct TimeoutNow {
  friend bool operator==(const TimeoutNow&, const TimeoutNow&) = default;
};

/// A follower asks for the index that a read must wait for (thesis §6.4). `batch` is the asker's.
struct ReadRequest {
  std::uint64_t batch = 0;
  friend bool operator==(const ReadRequest&, const ReadRequest&) = default;
};
struct ReadResponse {
  std::uint64_t batch = 0;
  std::optional<LogIndex> index = {};  ///< none: the sender is no leader, or cannot say
  friend bool operator==(const ReadResponse&, const ReadResponse&) = default;
};

/// What one member says to another. Values; the shell translates them to the wire and back.
struct Message {
  Term term = {};  ///< of the sender; see VoteRequest::pre
  std::variant<VoteRequest, VoteResponse, AppendRequest, AppendResponse, SnapshotPart,
               SnapshotPartResponse, TimeoutNow, ReadRequest, ReadResponse>
      body;
};

/// One line for traces: kind, term and numbers.
std::string ToString(const Message& message);

}  // namespace ds::raft
