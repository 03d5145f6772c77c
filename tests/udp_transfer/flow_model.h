#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "common/base/time.h"
#include "tests/sim/link.h"
#include "tests/sim/scheduler.h"
#include "udp_transfer/core/bbr.h"
#include "udp_transfer/core/delivery_rate.h"
#include "udp_transfer/core/pacer.h"

namespace ds::udp_transfer {

/// A congestion control, as a flow needs it: ours, and those of the neighbours that it meets.
class Control {
 public:
  virtual ~Control() = default;
  virtual SentState OnSent(TimePoint now, std::size_t bytes) = 0;
  virtual void OnAcked(TimePoint now, std::span<const PacketOutcome> acked, Duration rtt) = 0;
  virtual void OnLost(TimePoint now, std::span<const PacketOutcome> lost) = 0;
  virtual void OnAppLimited() = 0;
  virtual void OnPersistentCongestion() = 0;
  virtual double congestion_window() const = 0;
  virtual double in_flight() const = 0;
  /// Bytes per second; infinite: not paced.
  virtual double pacing_rate() const = 0;
  virtual std::size_t send_quantum() const = 0;
};

/// Ours. `bbr` stays readable for the test.
class BbrControl : public Control {
 public:
  BbrControl(const Bbr::Options& options, std::uint64_t seed) : bbr(options, seed) {}
  SentState OnSent(TimePoint now, std::size_t bytes) override { return bbr.OnSent(now, bytes); }
  void OnAcked(TimePoint now, std::span<const PacketOutcome> acked, Duration rtt) override {
    bbr.OnAcked(now, acked, rtt);
  }
  void OnLost(TimePoint now, std::span<const PacketOutcome> lost) override {
    bbr.OnLost(now, lost);
  }
  void OnAppLimited() override { bbr.OnAppLimited(); }
  void OnPersistentCongestion() override { bbr.OnPersistentCongestion(); }
  double congestion_window() const override { return static_cast<double>(bbr.congestion_window()); }
  double in_flight() const override { return static_cast<double>(bbr.in_flight()); }
  double pacing_rate() const override { return bbr.pacing_rate(); }
  std::size_t send_quantum() const override { return bbr.send_quantum(); }

  Bbr bbr;
};

/// A window as TCP keeps it by default: slow start, and after loss RFC 9438 with its Reno-friendly
/// part. Not paced.
std::unique_ptr<Control> MakeCubic(std::size_t datagram_bytes);

/// The competitor of BBR's first version: Cardwell et al., "BBR: Congestion-Based Congestion
/// Control", 2016. Paced, heedless of loss.
std::unique_ptr<Control> MakeBbrV1(std::size_t datagram_bytes);

/// A path with a bottleneck, shared by flows, and a way back for acknowledgements that only delays.
struct Path {
  Path(sim::Scheduler& scheduler, const sim::Link::Options& options);
  /// Round trip without a queue.
  void SetRtt(Duration rtt) { forward.options().delay = back.options().delay = rtt / 2; }

  sim::Scheduler& scheduler;
  sim::Link forward;
  sim::Link back;
  std::vector<class Flow*> flows;
};

/// A sender and a receiver on a path, packet by packet: packets carry numbers, acknowledgements
/// name all that was received, loss is detected as in RFC 9002 (threshold of 3 packets or 9/8 of
/// the round trip, probes). Its sender sleeps in steps of the timer's granularity, but an
/// acknowledgement wakes it. Has as much to send as it is given.
class Flow {
 public:
  struct Options {
    std::size_t datagram_bytes = 1472;
    std::size_t payload_bytes = 1444;  ///< file data in each datagram
    Duration timer_granularity = std::chrono::milliseconds(1);
    Duration ack_delay = std::chrono::milliseconds(5);
    std::size_t packets_per_ack = 2;
  };

  Flow(Path& path, std::unique_ptr<Control> control, const Options& options);
  Flow(const Flow&) = delete;
  Flow& operator=(const Flow&) = delete;

  /// So many bytes of file data more are to be sent.
  void Send(std::uint64_t bytes);
  void SendForEver() { Send(std::uint64_t{1} << 50); }

  Control& control() { return *control_; }
  /// File data that has arrived, each byte counted once.
  std::uint64_t delivered_bytes() const { return units_delivered_ * options_.payload_bytes; }
  bool done() const { return units_delivered_ == units_; }
  std::uint64_t packets_sent() const { return packets_.size() + first_packet_; }
  std::uint64_t packets_lost() const { return lost_count_; }
  Duration smoothed_rtt() const { return smoothed_rtt_; }

  // Of the path.
  void OnDatagram(std::uint64_t number);
  void OnAck(std::uint64_t log_size);

 private:
  enum class Fate : std::uint8_t { kInFlight, kAcked, kLost };
  struct Packet {
    PacketOutcome info;
    std::uint64_t unit = 0;
    Fate fate = Fate::kInFlight;
  };

  void TrySend();
  void SendPacket();
  void DetectLosses();
  void SetTimer();
  void OnTimer();
  void SendAck();
  Packet& At(std::uint64_t number) { return packets_[number - first_packet_]; }
  Duration ProbeTimeout() const;

  Path& path_;
  sim::Scheduler& scheduler_;
  std::unique_ptr<Control> control_;
  Options options_;
  std::uint64_t index_;  ///< on the path
  Pacer pacer_;

  // Sender. A unit is what one datagram carries.
  std::uint64_t units_ = 0;
  std::uint64_t next_unit_ = 0;
  std::deque<std::uint64_t> again_;  ///< units lost
  std::deque<Packet> packets_;
  std::uint64_t first_packet_ = 0;
  std::uint64_t next_number_ = 0;
  std::uint64_t largest_acked_ = 0;
  std::uint64_t judged_ = 0;  ///< packets below are acked or lost
  std::uint64_t log_seen_ = 0;
  std::uint64_t lost_count_ = 0;
  Duration smoothed_rtt_{0};
  Duration rtt_variation_{0};
  unsigned probes_ = 0;
  TimePoint last_sent_;
  std::optional<sim::Scheduler::EventId> timer_;
  std::vector<PacketOutcome> outcomes_;

  // Receiver.
  std::vector<std::uint32_t> log_;  ///< numbers in the order of their arrival
  std::vector<bool> have_unit_;
  std::uint64_t units_delivered_ = 0;
  std::uint64_t acked_log_ = 0;
  std::optional<sim::Scheduler::EventId> ack_timer_;
};

}  // namespace ds::udp_transfer
