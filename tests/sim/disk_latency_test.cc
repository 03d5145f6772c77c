#include "tests/sim/disk_latency.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace ds::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr DiskLatency::Options kFixed{
    .sync_min = milliseconds(2), .sync_mean = milliseconds(2), .bytes_per_s = 1'000'000};

TEST(DiskLatencyTest, ASyncTakesItsTimeAndThatOfItsBytes) {
  Scheduler scheduler(1);
  DiskLatency disk(scheduler, kFixed);
  EXPECT_EQ(disk.Sync(3000) - scheduler.now(), milliseconds(5));
  disk.Restart();
  disk.options().bytes_per_s = 0;
  EXPECT_EQ(disk.Sync(3000) - scheduler.now(), milliseconds(2));
}

TEST(DiskLatencyTest, OneSyncWaitsForTheOther) {
  Scheduler scheduler(1);
  DiskLatency disk(scheduler, kFixed);
  const TimePoint begin = scheduler.now();
  std::vector<Duration> ends;
  for (int i = 0; i < 3; ++i) disk.Sync(0, [&] { ends.push_back(scheduler.now() - begin); });
  scheduler.At(begin + seconds(1), [] {});
  scheduler.Run(begin + seconds(1));
  EXPECT_EQ(ends, (std::vector<Duration>{milliseconds(2), milliseconds(4), milliseconds(6)}));
  EXPECT_EQ(disk.Sync(0), begin + seconds(1) + milliseconds(2)) << "idle time is not saved up";
}

TEST(DiskLatencyTest, ACrashEndsWhatWasUnderWay) {
  Scheduler scheduler(1);
  DiskLatency disk(scheduler, kFixed);
  disk.Sync(10'000'000);
  disk.Restart();
  EXPECT_EQ(disk.Sync(0) - scheduler.now(), milliseconds(2));
}

TEST(DiskLatencyTest, TimesHaveTheirMeanAndStallsAreRareAndLong) {
  Scheduler scheduler(1);
  DiskLatency disk(scheduler, {.sync_min = milliseconds(1),
                               .sync_mean = milliseconds(4),
                               .stall = 0.02,
                               .stall_min = seconds(1),
                               .stall_max = seconds(2)});
  Duration sum{0};
  int stalls = 0;
  for (int i = 0; i < 5000; ++i) {
    const Duration takes = disk.Sync(0) - scheduler.now();
    disk.Restart();
    EXPECT_GE(takes, milliseconds(1));
    if (takes >= seconds(1)) {
      ++stalls;
      EXPECT_LT(takes, seconds(2) + milliseconds(100));
    } else {
      sum += takes;
    }
  }
  EXPECT_NEAR(stalls, 100, 40);
  EXPECT_EQ(disk.counters(),
            (DiskLatency::Counters{.syncs = 5000, .stalls = static_cast<std::uint64_t>(stalls)}));
  EXPECT_NEAR(ToSeconds(sum) / (5000 - stalls), 0.004, 0.0003);
}

TEST(DiskLatencyTest, OneSeedTwiceGivesTheSameTimes) {
  const auto run = [](std::uint64_t seed) {
    Scheduler scheduler(seed);
    DiskLatency disk(scheduler, {.stall = 0.1});
    std::vector<TimePoint> ends;
    for (int i = 0; i < 100; ++i) ends.push_back(disk.Sync(100));
    return ends;
  };
  EXPECT_EQ(run(3), run(3));
  EXPECT_NE(run(3), run(4));
}

}  // namespace
}  // namespace ds::sim
