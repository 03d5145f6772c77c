#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/time.h"
#include "udp_transfer/core/classic_message.h"

namespace ds::udp_transfer {

/// The client's side of the classic protocol: sends one file, one message in flight. It holds no
/// more of the content than the payload of that message: whenever Wanted() names one, the shell
/// reads it into place and calls Supplied(). Owned by one thread, deadline-driven, deterministic.
class ClassicClient {
 public:
  /// How often a message is sent, and how long each of these waits for its ack.
  static constexpr int kSends = 5;
  static constexpr Duration kAckTimeout = std::chrono::milliseconds(500);

  struct Options {
    std::string name;  ///< REQUIRES: CheckClassicName() is ok
    std::uint64_t total_bytes = 0;
    std::uint64_t seqno0 = 0;  ///< REQUIRES: at most kSeqno0Max
  };

  enum class Outcome {
    kRunning,
    kDone,             ///< the server has acknowledged the whole file
    kNotAcknowledged,  ///< a message was not, in five sends: the server is malfunctioning
    kRefused,          ///< nothing listens there, says ICMP
    kBufferTooSmall,   ///< the server takes no datagram with even one byte of payload
  };

  struct Payload {
    std::uint64_t offset;  ///< in the file
    std::span<std::byte> room;
  };

  struct Stats {
    std::uint64_t sent_bytes = 0;           ///< of datagrams
    std::uint64_t retransmitted_bytes = 0;  ///< of these
    std::uint64_t acknowledged_bytes = 0;   ///< of content
    std::optional<Duration> rtt_min;        ///< of messages that were sent once
  };

  explicit ClassicClient(Options options);

  /// The payload that has to be supplied next, and where to. It stays the same until Supplied().
  std::optional<Payload> Wanted();
  /// All of Wanted()->room is filled.
  void Supplied();

  /// Anything else than the ack that is waited for, in exactly its form, is ignored.
  void HandleDatagram(std::span<const std::byte> datagram, TimePoint now);
  /// The socket says that nothing listens at the server's address.
  void HandleRefusal();

  /// Writes the datagram to be sent now and returns its size; 0: none. The time to the next send
  /// runs from here. REQUIRES: out has kClassicDatagramBytesMax bytes.
  std::size_t PollTransmit(std::span<std::byte> out, TimePoint now);
  std::optional<TimePoint> NextDeadline() const { return deadline_; }
  void HandleTimeout(TimePoint now);

  Outcome outcome() const { return outcome_; }
  /// Why it is neither kRunning nor kDone, in words for the user: "the server is malfunctioning:
  /// …".
  std::string FailureText() const;

  /// The server has acknowledged the start.
  bool started() const { return seqno_ != options_.seqno0; }
  /// The message is under way with which the server has the whole file.
  bool last_message_sent() const;
  /// Of the message under way.
  int sends() const { return sends_; }
  std::uint64_t total_bytes() const { return options_.total_bytes; }
  const Stats& stats() const { return stats_; }

 private:
  void PrepareNext();
  void Fail(Outcome outcome);

  Options options_;
  Outcome outcome_ = Outcome::kRunning;
  /// Of the message under way: seqno0 is the start.
  std::uint64_t seqno_;
  std::vector<std::byte> datagram_;  ///< that message; made large enough once
  std::size_t datagram_bytes_ = 0;
  std::size_t payload_bytes_ = 0;     ///< the end of the datagram
  std::uint64_t payload_offset_ = 0;  ///< in the file
  bool wanted_ = false;               ///< the payload is still missing
  bool send_due_ = true;
  int sends_ = 0;
  TimePoint sent_time_;
  std::optional<TimePoint> deadline_;
  Stats stats_;
};

}  // namespace ds::udp_transfer
