#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/status.h"
#include "common/base/time.h"
#include "udp_transfer/core/classic_message.h"
#include "udp_transfer/core/peer_address.h"

namespace ds::udp_transfer {

/// Names a session of a ClassicServer; never used again.
enum class ClassicSession : std::uint64_t {};

/// The server's side of the classic protocol: a table of sessions, one per client address, with all
/// rules of time, names and limits. It holds no content: that goes to storage as it comes, one
/// piece per session at a time.
///
/// Each call gives back what is to be done, in this order. What concerns storage (Create, Append,
/// Complete, Discard) is done in the given order for each session; sessions do not wait for each
/// other. A call that gives a session a Create or Append (a Complete always comes with one of them)
/// leaves the session waiting for one Stored() or StorageFailed() when all of that is done, and
/// only then is the client acknowledged: it is not told that bytes were taken which the disk has
/// refused, and since it sends nothing new before, no queue of storage holds more than one datagram
/// per session. A shell whose Create and Append do not block calls Stored() on the spot, so that
/// answers keep the order of the datagrams.
///
/// What a call gives back, and what that refers to, is valid until the next call or until the
/// datagram is gone. Every call first does what was due before `now`, so nothing hangs on how
/// punctual the shell's timer is. Owned by one thread; deterministic; no allocation but for new
/// sessions.
class ClassicServer {
 public:
  /// An unfinished client that is silent for more than this is given up.
  static constexpr Duration kSilenceMax = std::chrono::seconds(3);
  /// How long a finished session is remembered, to answer a client whose last ack was lost.
  static constexpr Duration kHoldTime = std::chrono::seconds(1);
  /// How long a hello is then still answered by the last ack. More than a client takes that sends
  /// its last message five times and asks for 2 s after that.
  static constexpr Duration kReceiptTime = std::chrono::seconds(5);
  /// So many are kept at most; about 100 bytes each.
  static constexpr std::size_t kReceiptsMax = 65536;
  /// An unfinished session this long without its client gives way to another start.
  static constexpr Duration kReplaceableAfter = std::chrono::seconds(1);

  struct Options {
    /// Of the largest datagram, header included; bytes, 10 to kClassicDatagramBytesMax.
    std::size_t buf_bytes = 1024;
    /// Unfinished sessions; as many finished ones are remembered at most.
    std::size_t sessions_max = 1024;
    /// Unfinished sessions of one PeerAddress::Source(); loopback is exempt.
    std::size_t sessions_per_source_max = 16;
    std::uint64_t session_bytes_max = std::uint64_t{4} << 30U;  ///< of one file
    /// Of the unfinished files of one source together, at their whole size; loopback is exempt.
    std::uint64_t source_bytes_max = std::uint64_t{4} << 30U;
    /// Of the files of all unfinished sessions together, counted at their whole size.
    std::uint64_t total_bytes_max = std::uint64_t{16} << 30U;

    absl::Status Validate() const;
  };

  // ---- What is to be done.

  /// A file of this name and size begins, invisible until it is complete.
  struct Create {
    ClassicSession session;
    PeerAddress from;
    std::string_view name;
    std::uint64_t total_bytes;
  };
  struct Append {
    ClassicSession session;
    std::span<const std::byte> bytes;  ///< of the datagram
  };
  /// All is there: put the file in its place. The last storage effect of a session, unless that
  /// fails.
  struct Complete {
    ClassicSession session;
  };
  enum class DiscardReason {
    kSilent,         ///< the client was silent for more than kSilenceMax
    kReplaced,       ///< by a start of the same address
    kFast,           ///< the client goes on in fast mode
    kStorageFailed,  ///< StorageFailed() was called
    kShutdown,
  };
  /// Remove whatever is left of it; nothing about this session follows.
  struct Discard {
    ClassicSession session;
    DiscardReason reason;
  };
  struct Send {
    PeerAddress to;
    std::array<std::byte, kClassicAckBytesMax> buffer;
    std::size_t size;
    std::span<const std::byte> bytes() const { return std::span(buffer).first(size); }
  };
  enum class RefusalReason {
    kName,
    kSessionBytes,
    kSessions,
    kSessionsOfSource,
    kTotalBytes,
    kBytesOfSource
  };
  static constexpr std::size_t kRefusalReasons = 6;
  /// A start was refused, in silence. For the log (which limits its lines, since anybody can make
  /// these).
  struct Refused {
    PeerAddress from;
    RefusalReason reason;
    std::string_view name;
    std::uint64_t total_bytes;
  };
  using Effect = std::variant<Create, Append, Complete, Discard, Send, Refused>;
  using Effects = std::span<const Effect>;

  /// Totals since the begin.
  struct Counters {
    std::uint64_t malformed = 0;        ///< datagrams that are no start and no data
    std::uint64_t without_session = 0;  ///< data of nobody
    std::uint64_t started = 0;          ///< sessions
    std::uint64_t finished = 0;         ///< sessions, with their files in place
    std::uint64_t duplicates = 0;       ///< starts and data that had been taken before
    std::uint64_t not_taken = 0;        ///< data from the future, or too long
    std::uint64_t starts_ignored = 0;   ///< while another session of the address was running
    std::uint64_t bytes_taken = 0;      ///< of content
    std::array<std::uint64_t, kRefusalReasons> refused{};  ///< starts, by RefusalReason
    std::array<std::uint64_t, 5> discarded{};              ///< sessions, by DiscardReason
  };

  /// REQUIRES: options.Validate().ok().
  explicit ClassicServer(const Options& options) : options_(options) {}

  /// Any datagram whose first byte is below 0x80 and that is no valid hello. Answers are never
  /// larger than it.
  Effects HandleDatagram(const PeerAddress& from, std::span<const std::byte> datagram,
                         TimePoint now);

  struct HelloAnswer {
    bool cookie;  ///< answer with a cookie, besides the effects
    Effects effects;
  };
  /// A valid hello of fast mode. When the file of this address has been received in whole already,
  /// by the classic protocol, the client is told that once more instead of getting a cookie.
  HelloAnswer HandleHello(const PeerAddress& from, TimePoint now);

  /// All storage effects of the session so far are done. Nothing happens for a session that is
  /// gone.
  Effects Stored(ClassicSession session, TimePoint now);
  /// They cannot be done. The client is not answered; it finds a malfunctioning server.
  Effects StorageFailed(ClassicSession session, TimePoint now);

  /// A fast connection of this address has opened: an unfinished session of it is dropped.
  Effects DropSession(const PeerAddress& from, TimePoint now);

  /// From now on starts are ignored, in silence.
  void BeginShutdown() { shutting_down_ = true; }
  /// Drops all unfinished sessions.
  Effects DiscardAll();

  std::optional<TimePoint> NextDeadline() const;
  Effects HandleTimeout(TimePoint now);

  std::size_t unfinished() const { return running_.size() + storing_.size(); }
  /// Of the files of unfinished sessions, at their whole size.
  std::uint64_t reserved_bytes() const { return reserved_bytes_; }
  const Counters& counters() const { return counters_; }

 private:
  enum class State { kRunning, kStoring, kFinished };
  struct Session {
    PeerAddress address;
    ClassicSession id{};
    State state = State::kStoring;
    std::uint64_t seqno0 = 0;
    /// What is acknowledged; seqno0 as long as not even the start is. One behind while storing.
    std::uint64_t next_seqno = 0;
    std::string name;
    std::uint64_t total_bytes = 0;
    std::uint64_t received_bytes = 0;  ///< given to storage
    std::uint64_t buf_bytes = 0;
    /// kRunning: when the client was last heard, or acknowledged what storage had taken so long
    /// for. kFinished: when that began.
    TimePoint since;

    bool started() const { return next_seqno != seqno0; }
    bool complete() const { return received_bytes == total_bytes; }
  };
  using Sessions = std::list<Session>;

  void DoWhatIsDue(TimePoint now);
  /// What one source has of the limits.
  struct Share {
    std::size_t sessions = 0;
    std::uint64_t bytes = 0;
  };

  /// A finished session that only hellos find.
  struct Receipt {
    PeerAddress address;
    TimePoint until;
    ClassicAck last_ack;
  };

  void HandleStart(const PeerAddress& from, const ClassicStart& start, std::size_t datagram_bytes,
                   TimePoint now);
  void HandleData(const PeerAddress& from, const ClassicData& data, std::size_t datagram_bytes,
                  TimePoint now);
  std::optional<RefusalReason> ReasonToRefuse(const ClassicStart& start) const;
  std::optional<RefusalReason> LimitInTheWay(const PeerAddress& from,
                                             std::uint64_t total_bytes) const;
  void Begin(const PeerAddress& from, const ClassicStart& start, std::size_t datagram_bytes,
             TimePoint now);
  void Move(Sessions::iterator session, State state, TimePoint now);
  void Touch(Sessions::iterator session, TimePoint now);
  void Replace(Sessions::iterator session);
  void DropUnfinished(Sessions::iterator session, DiscardReason reason);
  void ReleaseLimits(const Session& session);
  void Remove(Sessions::iterator session);
  void KeepReceipt(const Session& session);
  void DropReceipt(const PeerAddress& address);
  Sessions& list(State state);
  void Acknowledge(const PeerAddress& address, const ClassicAck& ack);
  ClassicAck StartAck(const Session& session) const;
  ClassicAck LastAck(const Session& session) const;

  Options options_;
  bool shutting_down_ = false;
  std::uint64_t last_id_ = 0;
  std::uint64_t reserved_bytes_ = 0;
  // Each in the order of `since`, so that the first of each is the first to be due.
  Sessions running_;                                      ///< the client's turn
  Sessions storing_;                                      ///< storage's turn (in no order)
  Sessions finished_;                                     ///< remembered
  std::map<PeerAddress, Sessions::iterator> by_address_;  ///< all of them
  std::map<ClassicSession, Sessions::iterator> by_id_;    ///< all of them
  std::list<Receipt> receipts_;  ///< the oldest first; kReceiptsMax at most
  std::map<PeerAddress, std::list<Receipt>::iterator> receipt_of_;
  std::map<PeerAddress, Share> shares_;  ///< by source, of the unfinished ones
  std::vector<Effect> effects_;          ///< of the call under way or the last one
  Counters counters_;
};

}  // namespace ds::udp_transfer
