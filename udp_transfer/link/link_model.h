#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>

#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/time.h"

namespace ds::udp_transfer {

/// One direction of a link: a drop-tail queue in front of a transmitter with a rate, and behind it
/// a wire with a delay, on which packets are lost. Probabilities are those of one packet.
struct LinkOptions {
  double rate_bits_per_s = 0;       ///< of whole packets, IP header included; 0: no limit, no queue
  std::uint64_t queue_bytes = 0;    ///< waiting, and in transmission; 0: that limit does not exist
  std::uint64_t queue_packets = 0;  ///< likewise; REQUIRES with a rate: one of the two limits
  Duration delay{};                 ///< of the wire
  Duration jitter{};      ///< added to the delay, uniform in [0, jitter]; keeps packets in order
  double loss = 0;        ///< on the wire: a lost packet has used its share of the rate
  double corrupt = 0;     ///< one bit of the packet flips
  double duplicate = 0;   ///< arrives twice, the copy right behind it
  double reorder = 0;     ///< arrives late by a time uniform in (0, reorder_by]; others overtake it
  Duration reorder_by{};  ///< REQUIRES with `reorder`: above 0

  absl::Status Validate() const;
};

/// Says of every packet when it comes out of the link, if it does. A function of the options, the
/// seed and the calls; what is drawn for the n-th packet that the queue takes does not depend on
/// the times. It keeps no packets, only the times at which those in the queue leave. Owned by the
/// shell (or simulation) that carries the packets. Single threaded.
class LinkModel {
 public:
  struct Arrival {
    TimePoint time;
    std::optional<std::uint32_t> flipped_bit;  ///< counted from the first byte's lowest
  };
  struct Passage {
    enum class Fate { kArrives, kQueueFull, kLost };
    Fate fate = Fate::kArrives;
    bool reordered = false;
    std::size_t count = 0;               ///< of arrivals
    std::array<Arrival, 2> copies{};     ///< the first `count`
    std::uint64_t queued_bytes_now = 0;  ///< with this packet, if it was taken

    std::span<const Arrival> arrivals() const { return {copies.data(), count}; }
  };

  /// REQUIRES: options.Validate().ok().
  LinkModel(const LinkOptions& options, std::uint64_t seed);

  /// A packet of `bytes` (at least 1) reaches the queue. REQUIRES: `now` never goes back.
  Passage Send(TimePoint now, std::size_t bytes);

 private:
  struct Queued {
    TimePoint departs;
    std::uint64_t bytes = 0;
  };

  /// When the packet has left the transmitter; nothing: the queue is full.
  std::optional<TimePoint> Transmit(TimePoint now, std::uint64_t bytes);

  const LinkOptions options_;
  Rng rng_;
  std::deque<Queued> queue_;
  std::uint64_t queued_bytes_ = 0;
  TimePoint last_arrival_ = TimePoint::min();  ///< of packets in order
};

}  // namespace ds::udp_transfer
