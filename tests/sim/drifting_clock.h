#pragma once

#include <cstdint>

#include "common/base/time.h"
#include "tests/sim/scheduler.h"

namespace ds::sim {

/// The monotonic clock of one simulated machine: it runs faster or slower than virtual time, and
/// may change its rate during the run. A process that is stopped finds, when it goes on, that its
/// clock went on without it (see Process). Integer arithmetic: it reads the same everywhere. Single
/// threaded.
class DriftingClock {
 public:
  static constexpr std::int64_t kMillion = 1'000'000;

  /// Reads `begin` now. `drift_ppm`: it gains this many microseconds in each second of virtual
  /// time.
  DriftingClock(const Scheduler& scheduler, TimePoint begin, std::int64_t drift_ppm = 0);

  /// From now on. REQUIRES: -1'000'000 < drift_ppm <= 1'000'000.
  void SetDrift(std::int64_t drift_ppm);
  std::int64_t drift_ppm() const { return rate_ - kMillion; }

  TimePoint now() const { return LocalAt(scheduler_.now()); }
  /// What it shows at this virtual time, if its rate stays. REQUIRES: not before the last change of
  /// the rate.
  TimePoint LocalAt(TimePoint virtual_time) const;
  /// The first virtual time, not before now, at which it shows `local` or more, if its rate stays:
  /// a timer's owner looks at the clock again when that time has come.
  TimePoint WhenItShows(TimePoint local) const;

 private:
  const Scheduler& scheduler_;
  std::int64_t rate_;  ///< local nanoseconds in 1 ms of virtual time
  TimePoint virtual_base_;
  TimePoint local_base_;
};

}  // namespace ds::sim
