#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/time.h"
#include "udp_transfer/core/delivery_rate.h"
#include "udp_transfer/core/packet.h"

namespace ds::udp_transfer {

/// The longest time for which a peer keeps an acknowledgement back.
inline constexpr Duration kAckDelayMax = std::chrono::milliseconds(5);

/// An estimate of the round-trip time (RFC 9002, section 5).
class RttEstimate {
 public:
  /// `initial` serves until there is a sample.
  explicit RttEstimate(Duration initial) : smoothed_(initial), variation_(initial / 2) {}

  /// `ack_delay` is what the peer says that it waited; whatever it says, nothing falls below min()
  /// (the first sample, below `initial`). False, and nothing happens: no time has passed, so the
  /// clock is too coarse to tell.
  bool AddSample(Duration sample, Duration ack_delay);

  bool has_sample() const { return min_ != Duration::max(); }
  Duration latest() const { return has_sample() ? latest_ : smoothed_; }
  Duration smoothed() const { return smoothed_; }
  Duration variation() const { return variation_; }
  /// The least sample ever. REQUIRES: has_sample().
  Duration min() const { return min_; }

 private:
  Duration smoothed_;
  Duration variation_;
  Duration latest_{0};
  Duration min_ = Duration::max();
};

/// What is remembered of a packet that asks for an acknowledgement.
struct SentPacket {
  TimePoint sent_at;
  SentState state{};                ///< of the congestion control; not of MTU probes
  std::uint64_t stream_offset = 0;  ///< of its stream frame, if there is one
  std::uint32_t stream_bytes = 0;
  std::uint32_t bytes = 0;  ///< of the whole datagram
  bool stream_end = false;
  bool limit_update = false;  ///< its ack frame opens the peer's window
  bool mtu_probe = false;
  bool lost = false;  ///< is taken for lost
};

/// Numbers the packets of one direction, remembers those in flight in a ring, and decides from acks
/// and from time which of them are lost (RFC 9002, section 6, with thresholds that adapt to
/// reordering as 6.1.1 and 6.1.2 allow), and when to probe a silent peer. Knows nothing of what
/// packets carry. Memory: at most `packets_max` packets, 80 bytes each; nothing is allocated once
/// the ring has grown to what is in flight. Single threaded.
class LossDetector {
 public:
  static constexpr std::size_t kPacketsMax = std::size_t{1} << 17U;
  static constexpr std::uint64_t kPacketThreshold = 3;  ///< without reordering
  static constexpr std::uint64_t kPacketThresholdMax = 4096;
  static constexpr Duration kGranularity = std::chrono::milliseconds(1);
  /// Packets may be overtaken by so much before they are taken for lost, or by a round trip.
  static constexpr Duration kReorderingMax = std::chrono::milliseconds(100);
  /// Probes of a silent peer come at growing distances up to this (or one time-out, if longer).
  static constexpr Duration kProbeIntervalMax = std::chrono::seconds(3);

  /// What an ack or a time-out came to; valid until the next call.
  struct Events {
    std::vector<SentPacket> acked;       ///< for the first time, newest first
    std::vector<SentPacket> acked_late;  ///< that were reported as lost before
    std::vector<SentPacket> lost;        ///< oldest first
    std::optional<Duration> rtt;         ///< a new sample
    bool persistent_congestion = false;  ///< RFC 9002, 7.6
    bool probe = false;                  ///< send one or two packets now (RFC 9002, 6.2.4)
  };

  /// REQUIRES: packets_max is a power of two from 256 to kPacketsMax.
  explicit LossDetector(Duration initial_rtt, std::size_t packets_max = kPacketsMax)
      : packets_max_(packets_max), rtt_(initial_rtt) {
    Grow();
  }

  std::uint64_t next_packet_number() const { return next_; }
  /// The packet with next_packet_number() leaves. It asks for an acknowledgement. REQUIRES:
  /// !full().
  void OnSent(const SentPacket& packet);
  /// The same of a packet that asks for none: nothing is remembered but its number.
  /// REQUIRES: !full().
  void OnSentWithoutAck(TimePoint now);
  /// There is no room for another packet, since one in flight is so old.
  bool full() const { return next_ - base_ >= packets_max_; }
  /// There is room, but none for data.
  bool crowded() const { return next_ - base_ >= packets_max_ / 2; }
  /// Makes room: what is so old in flight is taken for lost. REQUIRES: full().
  const Events& GiveUpOldest(TimePoint now);
  /// So many packets were sent after the last acknowledged one that the peer acknowledges none.
  bool ignored() const { return next_ - (largest_acked_ ? *largest_acked_ + 1 : 0) >= kPacketsMax; }

  /// Nothing when it acknowledges what was never sent.
  const Events* HandleAck(const AckFrame& ack, TimePoint now);
  /// When HandleTimeout() is due; none while nothing is in flight.
  std::optional<TimePoint> Deadline() const;
  /// REQUIRES: Deadline() has come.
  const Events& HandleTimeout(TimePoint now);

  const RttEstimate& rtt() const { return rtt_; }
  /// How much later than a round trip packets come that others have overtaken.
  Duration reordering() const { return reordering_; }
  /// Packets that ask for an acknowledgement and are neither acknowledged nor lost.
  std::size_t in_flight() const { return in_flight_; }
  /// Time-outs since the last acknowledgement.
  unsigned probe_count() const { return probe_count_; }
  /// Begins again with short time-outs: the path is another one.
  void ResetProbeCount() { probe_count_ = 0; }
  /// It is another path: round trips of packets sent so far say nothing of it.
  void ForgetPath(Duration initial_rtt);
  /// Nothing is in flight any more, without a verdict.
  void ForgetAll();
  /// How long the peer may be silent (RFC 9002, 6.2.1), without backing off.
  Duration ProbeTimeout() const;
  /// Between two probes of a silent peer.
  Duration ProbeIntervalMax() const { return std::max(ProbeTimeout(), kProbeIntervalMax); }

 private:
  SentPacket& At(std::uint64_t number) { return packets_[number & (packets_.size() - 1)]; }
  std::uint64_t& Word(std::uint64_t number) {
    return remembered_[(number & (packets_.size() - 1)) / 64];
  }
  static std::uint64_t Bit(std::uint64_t number) { return std::uint64_t{1} << (number % 64); }
  /// The first remembered packet in [begin, end); `end` if there is none.
  std::uint64_t NextRemembered(std::uint64_t begin, std::uint64_t end);

  void TakeNumber(TimePoint now);
  void Grow();
  void OnAcked(std::uint64_t number, TimePoint now);
  void AdaptToReordering(std::uint64_t number, TimePoint now);
  void TakeForLost(std::uint64_t number);
  void DetectLost(TimePoint now);
  void DetectPersistentCongestion(std::uint64_t silence_begin, std::uint64_t silence_end);
  void Forget(TimePoint now);
  Duration LossDelay() const;
  void ClearEvents();

  std::size_t packets_max_;
  RttEstimate rtt_;
  std::uint64_t rtt_begin_ = 0;  ///< packets from it on are on this path
  // A ring by packet number, a power of two large: [base_, next_) may be in it, a bit says whether;
  // of the others only the time is kept.
  std::vector<SentPacket> packets_;
  std::vector<std::uint64_t> remembered_;
  std::uint64_t base_ = 0;
  std::uint64_t next_ = 0;
  std::uint64_t undecided_ = 0;  ///< the packets below it are acknowledged or lost
  std::optional<std::uint64_t> largest_acked_;
  std::size_t in_flight_ = 0;
  std::optional<TimePoint> loss_time_;  ///< the oldest packet in flight will be lost then
  TimePoint last_sent_;                 ///< the newest packet that asks for an ack
  unsigned probe_count_ = 0;

  std::uint64_t packet_threshold_ = kPacketThreshold;
  Duration reordering_{0};
  TimePoint reordered_at_;  ///< when about as much was last seen, or both were halved

  Events events_;
};

}  // namespace ds::udp_transfer
