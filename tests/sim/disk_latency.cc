#include "tests/sim/disk_latency.h"

#include <algorithm>
#include <chrono>

namespace ds::sim {

TimePoint DiskLatency::Sync(std::uint64_t bytes) {
  ++counters_.syncs;
  Rng& rng = scheduler_.rng();
  Duration takes = options_.sync_min;
  if (options_.sync_mean > options_.sync_min) {
    takes += rng.Exponential(options_.sync_mean - options_.sync_min);
  }
  if (options_.bytes_per_s > 0) {
    takes += FromSeconds(static_cast<double>(bytes) / static_cast<double>(options_.bytes_per_s));
  }
  if (options_.stall > 0 && rng.Bernoulli(options_.stall)) {
    ++counters_.stalls;
    takes += rng.Between(options_.stall_min, options_.stall_max);
  }
  busy_until_ = std::max(busy_until_, scheduler_.now()) + takes;
  return busy_until_;
}

}  // namespace ds::sim
