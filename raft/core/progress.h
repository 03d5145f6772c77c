#pragma once

#include <cstdint>
#include <deque>

#include "raft/core/types.h"

namespace ds::raft {

/// What a leader knows of one follower: nextIndex and matchIndex of Figure 2, and what is under way
/// to it. Ticks are the leader's. A value of Node; not thread-safe.
class Progress {
 public:
  enum class State {
    kProbe,      ///< where the logs part is not known: one request at a time
    kReplicate,  ///< it is: requests follow each other without waiting for answers (thesis §10.2.1)
    kSnapshot,   ///< what it needs next is forgotten here
  };
  struct Limits {
    std::uint32_t requests = 0;
    std::uint64_t bytes = 0;
  };

  /// Begins with a probe at `next`, as heard of at `now`.
  Progress(LogIndex next, std::uint64_t now) : next_(next), heard(now) {}

  State state() const { return state_; }
  LogIndex match() const { return match_; }
  LogIndex next() const { return next_; }

  /// A request with entries may go out now. Probes wait for an answer or ResumeProbe().
  bool MaySend(const Limits& limits) const;
  /// One with entries from next() up to `last`, of `bytes` bytes, goes out. REQUIRES: MaySend().
  void Sent(LogIndex last, std::uint64_t bytes);
  /// A heartbeat is due, or there is a new connection: a probe that was not answered is sent again.
  void ResumeProbe() { probe_sent_ = false; }

  /// It has all up to `match`. In kSnapshot, only LeaveSnapshot() ends that state.
  void Accepted(LogIndex match);
  /// It refused a request, and `next` is what should be tried by what it said. An answer to an
  /// older request never leads below match() + 1. A refusal that leads nowhere new (it is stale, or
  /// the follower has lost data) waits for the next heartbeat.
  void Refused(LogIndex next);
  /// A request may have been lost: back to a probe behind what is known to be there, at the next
  /// ResumeProbe(). A probe stays where it is: it took nothing for granted.
  void Lost();

  /// A snapshot on its way. One part at a time.
  struct Snapshot {
    LogPosition last;
    std::uint64_t bytes = 0;
    std::uint64_t offset = 0;      ///< of the part that is under way, or next
    std::uint64_t wait_until = 0;  ///< tick before which no part is sent
    std::uint64_t moved = 0;       ///< tick at which it began, or a part was taken last
  };
  /// REQUIRES: state() == kSnapshot.
  Snapshot& snapshot();
  const Snapshot& snapshot() const;
  /// Begins to send the snapshot, or a newer one from its beginning.
  void EnterSnapshot(LogPosition last, std::uint64_t bytes, std::uint64_t now);
  /// It has the snapshot, or entries enough to go on from match() + 1.
  void LeaveSnapshot();

 private:
  struct Request {
    LogIndex last;
    std::uint64_t bytes = 0;
  };
  void EnterProbe(LogIndex next);

  State state_ = State::kProbe;
  LogIndex match_;
  LogIndex next_;
  bool probe_sent_ = false;
  std::deque<Request> in_flight_;
  std::uint64_t in_flight_bytes_ = 0;
  Snapshot snapshot_;

 public:
  std::uint64_t heard;              ///< tick of the last answer
  std::uint64_t sent_round = 0;     ///< newest round that it was told
  std::uint64_t acked_round = 0;    ///< newest round that it answered
  std::uint64_t honoured_from = 0;  ///< 1 + tick at which the newest round began that it honours as
                                    ///< a lease; 0: none
  LogIndex sent_committed;          ///< newest commit index that it was told
};

}  // namespace ds::raft
