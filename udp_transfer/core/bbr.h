#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "common/base/rng.h"
#include "common/base/time.h"
#include "udp_transfer/core/delivery_rate.h"

namespace ds::udp_transfer {

/// How fast to send and how much to have in flight: a model of the path (the bottleneck's rate, the
/// round trip without a queue, the share of packets that the wire loses without any congestion), in
/// the manner of BBRv3 (draft-ietf-ccwg-bbr), with other reactions to loss and queues: see
/// ARCHITECTURE.md, "Congestion control". Owned by one connection, for one direction.
/// Deterministic. Single threaded.
///
/// The connection asks before each datagram whether in_flight() + bytes <= congestion_window(), and
/// its Pacer at pacing_rate(); when it has nothing more to send although both would allow it, it
/// says OnAppLimited(). Packets that are not acknowledged (acks alone) are not reported. Each
/// packet reported as sent is reported once more: as acknowledged or lost. For a received
/// acknowledgement first OnAcked(), then OnLost().
class Bbr {
 public:
  struct Options {
    std::size_t datagram_bytes = 1200;    ///< see SetDatagramBytes()
    std::size_t initial_window = 38'400;  ///< bytes in flight before anything is known: 32 of 1200
    Duration initial_rtt{std::chrono::milliseconds(100)};  ///< measured by the hello, or a guess
    double rate_max = std::numeric_limits<double>::infinity();  ///< bytes per second
  };

  enum class Phase {
    kStartup,   ///< doubles each round trip until a queue appears or the rate grows no more
    kDrain,     ///< empties the queue that this left
    kDown,      ///< slower than the path: kUp's queue drains, the wire's own loss is measured
    kCruise,    ///< as fast as the path, with hardly a queue
    kUp,        ///< faster: asks whether there is more
    kProbeRtt,  ///< half of what the path holds: asks whether the round trip is still the same
  };

  /// `seed` decides when kUp comes, so that flows on one path do not ask at the same time.
  Bbr(const Options& options, std::uint64_t seed);

  /// A packet of `bytes` leaves; the result goes with it.
  SentState OnSent(TimePoint now, std::size_t bytes);
  /// What one ack frame acknowledged for the first time. `latest_rtt`: of the newest packet among
  /// it, ack delay included; zero: not measured.
  void OnAcked(TimePoint now, std::span<const PacketOutcome> acked, Duration latest_rtt);
  /// Packets taken for lost at one moment.
  void OnLost(TimePoint now, std::span<const PacketOutcome> lost);
  /// A packet that had been taken for lost is acknowledged.
  void OnSpuriousLoss(const PacketOutcome& packet);
  /// The window and the pacer would let more leave than there is.
  void OnAppLimited() { rate_.OnAppLimited(); }
  /// Nothing at all came through for a long time (RFC 9002, 7.6): the window begins small again and
  /// doubles each round trip up to what the path held before.
  void OnPersistentCongestion();
  /// It is another path.
  void StartAgain();
  void SetDatagramBytes(std::size_t bytes) { options_.datagram_bytes = bytes; }
  /// Packets come so much later than those that overtake them: not for a queue, which keeps their
  /// order.
  void SetReordering(Duration reordering) { reordering_ = reordering; }

  /// Bytes that may be in flight.
  std::size_t congestion_window() const;
  std::size_t in_flight() const { return rate_.in_flight(); }
  /// Bytes per second; > 0.
  double pacing_rate() const { return pacing_rate_; }
  /// Bytes that leave in one burst: what a millisecond sends, at least two datagrams.
  std::size_t send_quantum() const;

  Phase phase() const { return phase_; }
  /// What the path takes, bytes per second: what arrives and what the wire loses on its own.
  double bandwidth() const { return bandwidth_; }
  /// Duration::max(): not known yet.
  Duration min_rtt() const { return min_rtt_; }
  /// The share of bytes that the wire loses without congestion, in [0, 0.4].
  double wire_loss() const;

 private:
  /// Maximum over the last kRounds rounds, the running one included.
  class RoundMax {
   public:
    void NextRound();
    void Add(double value) { values_[at_] = std::max(values_[at_], value); }
    double Max() const { return *std::max_element(values_.begin(), values_.end()); }

   private:
    static constexpr std::size_t kRounds = 10;
    std::array<double, kRounds> values_{};
    std::size_t at_ = 0;
  };

  void AddRtt(TimePoint now, Duration rtt);
  void AddBandwidth(const RateSample& sample);
  void AddAckAggregation(TimePoint now, double acked);
  void AddToWireLoss(const PacketOutcome& packet, bool lost);
  void OnRoundEnd(TimePoint now);
  void OnExcessLoss(TimePoint now);
  void Advance(TimePoint now);
  void Enter(Phase phase, TimePoint now);
  void SetPacingRate();

  bool rtt_known() const { return min_rtt_ != Duration::max(); }
  /// How long packets are on their way without a queue. REQUIRES: rtt_known().
  Duration PathTime() const { return min_rtt_ + reordering_; }
  /// Bytes that the path holds without a queue.
  double PathBytes() const;
  /// The share of what was sent in the running round that is lost by now.
  double RoundLoss() const;
  /// All packets of the last whole round met a queue that is worth the name.
  bool QueueStands() const { return IsQueue(round_rtt_); }
  /// So did those of the last few acknowledgements: known sooner, and less surely.
  bool QueueGrows() const {
    return IsQueue(*std::min_element(recent_rtt_.begin(), recent_rtt_.end()));
  }
  bool IsQueue(Duration rtt) const;
  /// Somebody else on the path heeds no loss: ours comes back however much we leave.
  bool HeedlessNeighbour() const;

  Options options_;
  Rng rng_;
  DeliveryRate rate_;
  Phase phase_ = Phase::kStartup;
  TimePoint phase_began_;
  std::uint64_t phase_round_ = 0;  ///< in which it began

  // A round ends when a packet is acknowledged that was sent after its begin.
  std::uint64_t round_ = 0;
  std::uint64_t round_end_ = 0;              ///< in bytes delivered
  std::uint64_t round_begin_delivered_ = 0;  ///< bytes
  std::uint64_t round_begin_lost_ = 0;       ///< bytes
  TimePoint round_began_;
  bool round_app_limited_ = false;
  std::uint64_t lost_in_flight_ = 0;  ///< the least in flight when a packet lost in this round left

  Duration reordering_{0};
  Duration min_rtt_ = Duration::max();
  TimePoint min_rtt_seen_;
  Duration probed_rtt_ = Duration::max();  ///< the least in this kProbeRtt
  bool after_idle_ = false;
  Duration round_rtt_{0};  ///< the least in the last whole round
  Duration this_round_rtt_ = Duration::max();
  std::array<Duration, 8> recent_rtt_{};
  std::size_t next_recent_rtt_ = 0;

  RoundMax bandwidth_max_;
  double bandwidth_ = 0;
  double full_bandwidth_ = 0;  ///< kStartup and kUp: what growth is measured against
  std::uint64_t rounds_without_growth_ = 0;

  // Bytes sent slowly on a path without a queue, and how many of them were lost; fading.
  double calm_bytes_ = 0;
  double calm_lost_ = 0;

  // How many more bytes are acknowledged in a lump than the rate explains.
  RoundMax aggregation_max_;
  TimePoint aggregation_began_;
  double aggregation_acked_ = 0;

  // Congestion: more loss than the wire's, while a queue stands.
  std::uint64_t excess_round_ = 0;     ///< the last with it
  std::uint64_t frequent_excess_ = 0;  ///< how often it came back after a few rounds
  std::uint64_t next_cut_round_ = 0;
  double ceiling_ = std::numeric_limits<double>::infinity();  ///< bytes in flight

  std::uint64_t cruise_rounds_ = 0;
  double cruise_gain_ = 1;
  double window_ = 0;  ///< grows with what is acknowledged up to what the model allows
  double pacing_rate_ = 0;
};

}  // namespace ds::udp_transfer
