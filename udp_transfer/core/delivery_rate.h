#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "common/base/time.h"

namespace ds::udp_transfer {

/// What is remembered with each packet in flight: the state of the connection when it was sent
/// (draft-cheng-iccrg-delivery-rate-estimation, 3.1.2). The connection keeps it and gives it back
/// when the packet is acknowledged or lost.
struct SentState {
  std::uint64_t delivered = 0;  ///< bytes acknowledged so far
  std::uint64_t lost = 0;       ///< bytes declared lost so far
  std::uint64_t in_flight = 0;  ///< bytes, this packet included
  TimePoint delivered_at;       ///< when `delivered` last changed
  TimePoint first_sent_at;      ///< when the packet acknowledged last was sent
  bool app_limited = false;     ///< there was less to send than allowed
  bool slow = false;            ///< sent at less than the estimated rate
};

/// A packet that was acknowledged, or is taken for lost.
struct PacketOutcome {
  SentState state;
  TimePoint sent_at;
  std::size_t bytes = 0;
};

/// What happened between the sending of a packet and its acknowledgement.
struct RateSample {
  std::uint64_t delivered = 0;  ///< bytes
  std::uint64_t lost = 0;       ///< bytes
  Duration interval{0};         ///< > 0
  bool app_limited = false;
  SentState packet;  ///< the packet's
};

/// Counts what is sent, acknowledged and lost, and samples the delivery rate
/// (draft-cheng-iccrg-delivery-rate-estimation-02). Part of the congestion control. Single
/// threaded.
class DeliveryRate {
 public:
  /// A packet of `bytes` leaves.
  SentState OnSent(TimePoint now, std::size_t bytes);
  /// Packets of one acknowledgement, one by one, then TakeSample().
  void OnAcked(TimePoint now, const PacketOutcome& packet);
  void OnLost(std::size_t bytes);
  /// What was declared lost was acknowledged after all.
  void OnSpuriousLoss(std::size_t bytes);
  /// From now until all that is in flight is acknowledged or lost, samples say little of the path.
  void OnAppLimited() { app_limited_until_ = delivered_ + lost_ + in_flight_ + 1; }

  /// The sample of the newest packet acknowledged since the last call. None: there is no such
  /// packet, or all of it happened in less than `interval_min`.
  std::optional<RateSample> TakeSample(Duration interval_min);

  std::uint64_t delivered() const { return delivered_; }
  std::uint64_t lost() const { return lost_; }
  std::uint64_t in_flight() const { return in_flight_; }
  bool app_limited() const { return app_limited_until_ > 0; }

 private:
  void LeaveFlight(std::size_t bytes) { in_flight_ -= bytes < in_flight_ ? bytes : in_flight_; }

  std::uint64_t delivered_ = 0;
  std::uint64_t lost_ = 0;
  std::uint64_t in_flight_ = 0;
  TimePoint delivered_at_;
  TimePoint first_sent_at_;
  std::uint64_t app_limited_until_ = 0;  ///< in delivered + lost bytes; 0: not limited
  std::optional<PacketOutcome> newest_;  ///< acknowledged since the last sample
};

}  // namespace ds::udp_transfer
