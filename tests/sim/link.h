#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "common/base/time.h"
#include "tests/sim/scheduler.h"

namespace ds::sim {

/// One direction of a simulated network path for datagrams: a bottleneck (a rate and a drop-tail
/// queue) and behind it a wire (a delay, and all that can befall a datagram on its way). Draws from
/// the scheduler's rng(), one draw for each kind of fault that is on. Owned by the test, has to
/// outlive the events it plans. Single threaded.
class Link {
 public:
  /// May be changed during the run by options(); a datagram meets what holds when it enters the
  /// queue, begins to be sent, or leaves for the wire.
  struct Options {
    // The bottleneck.
    double rate_bits_per_s = std::numeric_limits<double>::infinity();
    std::size_t queue_bytes = std::numeric_limits<std::size_t>::max();  ///< waiting, at most
    std::size_t overhead_bytes =
        0;  ///< added to each datagram where size counts: 28 for UDP on IPv4
    std::size_t mtu = std::numeric_limits<std::size_t>::max();  ///< overhead included
    // The wire.
    Duration delay{0};
    Duration jitter{0};      ///< added to the delay: uniform in [0, jitter]; does not reorder
    double loss = 0;         ///< probability of each
    double corruption = 0;   ///< one bit is flipped
    double duplication = 0;  ///< it arrives twice
    double reordering = 0;   ///< it comes `reordering_delay` later than its place in the order
    Duration reordering_delay{0};
    Duration reordering_jitter{0};  ///< added to it: uniform in [0, reordering_jitter]
    /// Loss in bursts (Gilbert, "Capacity of a burst-noise channel", 1960; Elliott 1963): before
    /// each datagram the state may change; in the bad one the loss is `bad_loss`.
    double good_to_bad = 0;
    double bad_to_good = 1;
    double bad_loss = 1;
  };

  struct Counters {
    std::uint64_t sent =
        0;  ///< Send() was called; equals the sum of these three and what is queued
    std::uint64_t too_big = 0;
    std::uint64_t queue_full = 0;
    std::uint64_t passed = 0;  ///< the bottleneck
    std::uint64_t passed_bytes = 0;
    std::uint64_t lost = 0;  ///< on the wire
    std::uint64_t corrupted = 0;
    std::uint64_t duplicated = 0;
    std::uint64_t reordered = 0;
    std::uint64_t delivered = 0;
  };

  using Receiver = std::function<void(std::vector<std::byte> datagram)>;

  Link(Scheduler& scheduler, const Options& options, Receiver receiver)
      : scheduler_(scheduler), options_(options), receiver_(std::move(receiver)) {}

  /// A datagram enters the queue.
  void Send(std::span<const std::byte> datagram) { Send(datagram, datagram.size()); }
  /// A datagram of which only the begin matters: counts as `size` bytes, which arrive not.
  void Send(std::span<const std::byte> datagram, std::size_t size);

  Options& options() { return options_; }
  const Counters& counters() const { return counters_; }
  /// Waiting, the datagram being sent not included; with overhead.
  std::size_t queued_bytes() const { return queued_bytes_; }
  /// How long a datagram that came now would wait.
  Duration QueueingDelay() const;

 private:
  struct Datagram {
    std::vector<std::byte> bytes;
    std::size_t size;  ///< with overhead
  };

  void SendNext();
  void LeaveForWire(std::vector<std::byte> bytes);
  void Deliver(TimePoint when, std::vector<std::byte> bytes);
  Duration TransmissionTime(std::size_t bytes) const;

  Scheduler& scheduler_;
  Options options_;
  Receiver receiver_;
  Counters counters_;
  std::deque<Datagram> queue_;
  std::size_t queued_bytes_ = 0;
  bool sending_ = false;
  TimePoint sent_at_;     ///< the datagram being sent has left
  TimePoint last_place_;  ///< in the order of arrivals
  bool bad_ = false;
};

}  // namespace ds::sim
