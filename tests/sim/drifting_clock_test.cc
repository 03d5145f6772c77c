#include "tests/sim/drifting_clock.h"

#include <gtest/gtest.h>

#include <chrono>

namespace ds::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

const TimePoint kBegin(seconds(77));

TEST(DriftingClockTest, RunsAtItsRate) {
  for (const std::int64_t ppm : {-999'999, -100'000, -1, 0, 1, 100'000, 1'000'000}) {
    Scheduler scheduler(1);
    const DriftingClock clock(scheduler, kBegin, ppm);
    EXPECT_EQ(clock.now(), kBegin);
    scheduler.After(seconds(10), [] {});
    scheduler.Step();
    EXPECT_EQ(clock.now(), kBegin + seconds(10) + nanoseconds(10'000 * ppm));
    EXPECT_EQ(clock.drift_ppm(), ppm);
  }
}

TEST(DriftingClockTest, AChangeOfRateDoesNotMakeItJump) {
  Scheduler scheduler(1);
  DriftingClock clock(scheduler, kBegin, 100'000);
  scheduler.Run(scheduler.now() + seconds(1));
  scheduler.After(seconds(1), [&] {
    const TimePoint before = clock.now();
    clock.SetDrift(-100'000);
    EXPECT_EQ(clock.now(), before);
  });
  scheduler.Step();
  scheduler.After(seconds(1), [] {});
  scheduler.Step();
  EXPECT_EQ(clock.now() - kBegin, milliseconds(1100 + 900));
}

TEST(DriftingClockTest, TheTimeForATimerIsTheFirstAtWhichItHasCome) {
  Rng rng(1);
  for (int run = 0; run < 5000; ++run) {
    Scheduler scheduler(1);
    DriftingClock clock(scheduler, kBegin, rng.Between(-999'999, 1'000'000));
    scheduler.After(rng.Between(nanoseconds(0), seconds(5)), [] {});
    scheduler.Step();
    if (rng.Bernoulli(0.5)) clock.SetDrift(rng.Between(-500'000, 500'000));
    scheduler.After(rng.Between(nanoseconds(0), seconds(5)), [] {});
    scheduler.Step();
    const TimePoint local = clock.now() + rng.Between(nanoseconds(1), nanoseconds(seconds(100)));
    const TimePoint when = clock.WhenItShows(local);
    ASSERT_GE(clock.LocalAt(when), local);
    ASSERT_LT(clock.LocalAt(when - nanoseconds(1)), local);
  }
}

TEST(DriftingClockTest, WhatHasPassedIsNow) {
  Scheduler scheduler(1);
  const DriftingClock clock(scheduler, kBegin, 5);
  scheduler.After(seconds(10), [] {});
  scheduler.Step();
  EXPECT_EQ(clock.WhenItShows(kBegin), scheduler.now());
  EXPECT_EQ(clock.WhenItShows(clock.now()), scheduler.now());
}

TEST(DriftingClockTest, ReadsWellAfterAYear) {
  Scheduler scheduler(1);
  const DriftingClock clock(scheduler, kBegin, 100'000);
  scheduler.After(std::chrono::hours(24 * 365), [] {});
  scheduler.Step();
  EXPECT_EQ(clock.now() - kBegin, std::chrono::hours(24 * 365) / 10 * 11);
  const TimePoint later = clock.now() + std::chrono::hours(24 * 365);
  EXPECT_GE(clock.LocalAt(clock.WhenItShows(later)), later);
}

}  // namespace
}  // namespace ds::sim
