#include "tests/sim/drifting_clock.h"

#include <algorithm>

#include "common/base/check.h"

namespace ds::sim {
namespace {

// The quotient and the remainder apart: products of whole nanoseconds stay within 64 bits for
// hundreds of years.

/// floor(ns * rate / 10^6).
std::int64_t Scaled(std::int64_t ns, std::int64_t rate) {
  return ns / DriftingClock::kMillion * rate +
         ns % DriftingClock::kMillion * rate / DriftingClock::kMillion;
}

/// ceil(ns * 10^6 / rate), the least that Scaled() takes to `ns` or more.
std::int64_t Unscaled(std::int64_t ns, std::int64_t rate) {
  return ns / rate * DriftingClock::kMillion +
         (ns % rate * DriftingClock::kMillion + rate - 1) / rate;
}

}  // namespace

DriftingClock::DriftingClock(const Scheduler& scheduler, TimePoint begin, std::int64_t drift_ppm)
    : scheduler_(scheduler), rate_(kMillion), virtual_base_(scheduler.now()), local_base_(begin) {
  SetDrift(drift_ppm);
}

void DriftingClock::SetDrift(std::int64_t drift_ppm) {
  CHECK(drift_ppm > -kMillion && drift_ppm <= kMillion);
  local_base_ = now();
  virtual_base_ = scheduler_.now();
  rate_ = kMillion + drift_ppm;
}

TimePoint DriftingClock::LocalAt(TimePoint virtual_time) const {
  CHECK(virtual_time >= virtual_base_);
  return local_base_ + Duration(Scaled((virtual_time - virtual_base_).count(), rate_));
}

TimePoint DriftingClock::WhenItShows(TimePoint local) const {
  if (local <= now()) return scheduler_.now();
  return virtual_base_ + Duration(Unscaled((local - local_base_).count(), rate_));
}

}  // namespace ds::sim
