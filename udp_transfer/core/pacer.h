#pragma once

#include <algorithm>
#include <cstddef>

#include "common/base/time.h"

namespace ds::udp_transfer {

/// Spreads datagrams over time: a token bucket, kept as the moment at which the bucket was empty.
/// Credit that is not used grows for two bursts and no longer, so that a driver whose timer is late
/// by one burst keeps the rate. Owned by the connection. Single threaded.
class Pacer {
 public:
  /// Whether a datagram may leave at `now`.
  bool MaySend(TimePoint now) const { return now >= empty_at_; }

  /// When the driver should come back: when the credit makes a whole burst, so that datagrams leave
  /// in batches. An acknowledgement that arrives earlier may let some of them go earlier.
  TimePoint NextBurst() const { return burst_at_; }

  /// A datagram of `bytes` leaves at `now`, at `rate` bytes per second, in bursts of `burst` bytes.
  /// REQUIRES: rate > 0.
  void OnSent(TimePoint now, std::size_t bytes, double rate, std::size_t burst) {
    const Duration burst_time = FromSeconds(static_cast<double>(burst) / rate);
    empty_at_ =
        std::max(empty_at_, now - 2 * burst_time) + FromSeconds(static_cast<double>(bytes) / rate);
    burst_at_ = empty_at_ + FromSeconds(static_cast<double>(burst - std::min(burst, bytes)) / rate);
  }

 private:
  TimePoint empty_at_ = TimePoint::min();
  TimePoint burst_at_ = TimePoint::min();
};

}  // namespace ds::udp_transfer
