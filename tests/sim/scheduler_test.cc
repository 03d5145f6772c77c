#include "tests/sim/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ds::sim {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using End = Scheduler::End;

TEST(SchedulerTest, EventsRunInTheOrderOfTheirTimesAndThenOfTheirPlanning) {
  Scheduler scheduler(1);
  const TimePoint begin = scheduler.now();
  std::vector<std::string> order;
  const auto note = [&](std::string name) {
    return [&order, name = std::move(name)] { order.push_back(name); };
  };
  scheduler.After(2ms, note("2a"));
  scheduler.After(1ms, [&] {
    order.emplace_back("1");
    scheduler.After(1ms, note("2c"));
    scheduler.At(begin, [&] {  // planned for the past
      order.emplace_back("late: now");
      EXPECT_EQ(scheduler.now(), begin + 1ms) << "the clock went back";
    });
    scheduler.After(0ms, note("0 later"));
  });
  scheduler.After(2ms, note("2b"));
  EXPECT_EQ(scheduler.Run(begin + 1s), End::kIdle);
  EXPECT_THAT(order, ElementsAre("1", "late: now", "0 later", "2a", "2b", "2c"));
  EXPECT_EQ(scheduler.now(), begin + 2ms);
  EXPECT_EQ(scheduler.steps(), 6U);
}

TEST(SchedulerTest, CancelledEventsDoNotRun) {
  Scheduler scheduler(1);
  int runs = 0;
  const auto id = scheduler.After(1ms, [&] { ++runs; });
  const auto kept = scheduler.After(1ms, [&] { ++runs; });
  EXPECT_TRUE(scheduler.Cancel(id));
  EXPECT_FALSE(scheduler.Cancel(id));
  EXPECT_EQ(scheduler.Run(scheduler.now() + 1s), End::kIdle);
  EXPECT_EQ(runs, 1);
  EXPECT_FALSE(scheduler.Cancel(kept)) << "it has run";
}

TEST(SchedulerTest, RunEndsAtItsLimitsAndCanGoOn) {
  Scheduler scheduler(1);
  const TimePoint begin = scheduler.now();
  int runs = 0;
  for (int i = 1; i <= 5; ++i) scheduler.After(i * 1ms, [&] { ++runs; });
  EXPECT_EQ(scheduler.Run(begin + 2500us), End::kTimeLimit);
  EXPECT_EQ(scheduler.now(), begin + 2500us);
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(scheduler.Run(begin + 1s, 3), End::kStepLimit);
  EXPECT_EQ(runs, 3);
  EXPECT_EQ(scheduler.Run(begin + 1s), End::kIdle);
  EXPECT_EQ(runs, 5);
}

TEST(SchedulerTest, InvariantsAreCheckedAfterEachStepAndTheFirstFailureEndsTheRun) {
  Scheduler scheduler(1);
  int value = 0;
  for (int i = 1; i <= 5; ++i) scheduler.After(i * 1ms, [&] { ++value; });
  const auto invariant = [&] {
    if (value == 3) {
      scheduler.Fail("the value is 3");
      scheduler.Fail("and something that follows from it");
    }
  };
  EXPECT_EQ(scheduler.Run(scheduler.now() + 1s, 1000, invariant), End::kFailed);
  EXPECT_EQ(value, 3);
  EXPECT_THAT(scheduler.Result().failure,
              ::testing::Optional(std::string("0.003000 s, step 3: FAILED: the value is 3")));
}

RunResult RandomRun(std::uint64_t seed, bool extra = false) {
  Scheduler scheduler(seed);
  for (int i = 0; i < 100; ++i) {
    scheduler.After(scheduler.rng().Exponential(1ms), [&scheduler, i] {
      scheduler.Trace("event {} draws {}", i, scheduler.rng().Below(1000));
    });
  }
  scheduler.Run(scheduler.now() + 10s);
  if (extra) scheduler.Trace("more");
  return scheduler.Result();
}

TEST(SchedulerTest, SeedDeterminesTheWholeRun) {
  EXPECT_EQ(RandomRun(7), RandomRun(7));
  EXPECT_NE(RandomRun(7).digest, RandomRun(8).digest);
  EXPECT_NE(RandomRun(7).digest, RandomRun(7, true).digest);
}

TEST(SchedulerTest, DigestCoversTimesAndLinesThatAreNoLongerKept) {
  const auto run = [](Duration delay, const char* first) {
    Scheduler scheduler(1);
    scheduler.After(delay, [&scheduler, first] { scheduler.Trace("{}", first); });
    scheduler.After(1s, [&scheduler] {
      for (int i = 0; i < 100; ++i) scheduler.Trace("line {}", i);
    });
    scheduler.Run(scheduler.now() + 10s);
    return scheduler.Result();
  };
  const RunResult result = run(1ms, "a");
  ASSERT_EQ(result.trace_tail.size(), Scheduler::kTraceLines);
  EXPECT_THAT(result.trace_tail.back(), HasSubstr("line 99"));
  EXPECT_THAT(result.trace_tail.front(), HasSubstr("line 40"));
  EXPECT_EQ(run(2ms, "a").trace_tail, result.trace_tail);
  EXPECT_NE(run(2ms, "a").digest, result.digest);
  EXPECT_NE(run(1ms, "b").digest, result.digest);
}

}  // namespace
}  // namespace ds::sim
