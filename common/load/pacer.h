#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "common/base/check.h"
#include "common/base/time.h"

namespace ds::load {

/// The schedule of an open loop: slot i is due at start + i / rate, whatever became of the slots
/// before it. A slot that is taken late keeps the time at which it was due, and latency is counted
/// from there; so a server that stalls is charged for every request that should have come meanwhile
/// (no coordinated omission). Slots are not queued: those that wait are the ones between the next
/// one and now. The times are exact to the nanosecond and do not drift. Several pacers share one
/// schedule by taking every `stride`-th slot each. A value, single threaded.
class Pacer {
 public:
  static constexpr std::uint64_t kRateMax = 1'000'000'000;

  /// `rate`: slots per second. This pacer has the slots first, first + stride, first + 2 stride, …
  /// REQUIRES: 1 <= rate <= kRateMax, stride >= 1.
  Pacer(TimePoint start, std::uint64_t rate, std::uint64_t first = 0, std::uint64_t stride = 1)
      : start_(start), rate_(rate), stride_(stride), first_(first), next_(first) {
    CHECK(rate >= 1 && rate <= kRateMax && stride >= 1);
  }

  /// When the next slot is due, or was.
  TimePoint next_time() const { return TimeOf(next_); }

  /// Takes the next slot if it is due: the time at which it was due.
  std::optional<TimePoint> NextDue(TimePoint now) {
    const TimePoint due = next_time();
    if (due > now) return std::nullopt;
    next_ += stride_;
    return due;
  }

  /// How many of this pacer's slots are due before `time` and were not taken.
  std::uint64_t WaitingBefore(TimePoint time) const {
    if (time <= start_) return 0;
    const std::uint64_t ns = Nanoseconds(time - start_);
    // Of all pacers together: the number of i with i / rate < ns.
    const std::uint64_t all = ns / kSecond * rate_ + (ns % kSecond * rate_ + kSecond - 1) / kSecond;
    const std::uint64_t mine = all > first_ ? (all - first_ - 1) / stride_ + 1 : 0;
    const std::uint64_t taken = (next_ - first_) / stride_;
    return mine > taken ? mine - taken : 0;
  }

 private:
  static constexpr std::uint64_t kSecond = 1'000'000'000;

  static std::uint64_t Nanoseconds(Duration duration) {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
  }
  /// Whole seconds and the rest apart, so that nothing overflows: the product is below 10^18.
  TimePoint TimeOf(std::uint64_t index) const {
    return start_ + std::chrono::seconds(index / rate_) +
           std::chrono::nanoseconds(index % rate_ * kSecond / rate_);
  }

  TimePoint start_;
  std::uint64_t rate_;
  std::uint64_t stride_;
  std::uint64_t first_;
  std::uint64_t next_;
};

}  // namespace ds::load
