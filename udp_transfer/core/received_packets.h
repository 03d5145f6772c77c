#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/check.h"
#include "udp_transfer/core/interval_set.h"

namespace ds::udp_transfer {

/// Which packet numbers have been received: for acks (RFC 9000, 13.2) and against packets that come
/// twice, by the network's doing or an attacker's. The newest kRanges ranges are remembered; all
/// older numbers count as received. Single threaded.
class ReceivedPackets {
 public:
  static constexpr std::size_t kRanges = 1024;

  /// The number after the largest received: what ReconstructPacketNumber() takes.
  std::uint64_t expected() const { return ranges_.empty() ? 0 : ranges_.back().end; }

  /// True when a packet with this number must not be taken (again).
  bool IsDuplicate(std::uint64_t number) const {
    if (number >= expected()) return false;
    return number < floor_ || ranges_.Contains(number);
  }

  /// REQUIRES: !IsDuplicate(number).
  void Add(std::uint64_t number) {
    CHECK(ranges_.Add(number, number + 1));
    if (ranges_.intervals().size() <= kRanges) return;
    floor_ = ranges_.front().end;
    ranges_.RemoveBelow(floor_);
  }

  /// Ascending, at least one after the first Add().
  std::span<const Interval> ranges() const { return ranges_.intervals(); }

 private:
  IntervalSet ranges_;
  std::uint64_t floor_ = 0;  ///< all below count as received
};

}  // namespace ds::udp_transfer
