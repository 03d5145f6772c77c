#include "tests/sim/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

namespace ds::sim {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct World {
  Process::Event Note(int number) {
    return [this, number] { done.push_back(number); };
  }
  void RunFor(Duration duration) {
    const TimePoint end = scheduler.now() + duration;
    scheduler.At(end, [] {});  // without events the clock stands still
    scheduler.Run(end);
  }

  Scheduler scheduler{1};
  DriftingClock clock{scheduler, TimePoint(seconds(5)), 100'000};
  Process process{scheduler, clock};
  std::vector<int> done;
};

TEST(ProcessTest, EventsRunAtTheirTimes) {
  World w;
  w.process.Do(w.Note(1));
  w.process.At(w.scheduler.now() + seconds(1), w.Note(2));
  EXPECT_THAT(w.done, ElementsAre(1));
  w.RunFor(seconds(1));
  EXPECT_THAT(w.done, ElementsAre(1, 2));
}

TEST(ProcessTest, LocalTimesAreThoseOfItsClock) {
  World w;
  const TimePoint begin = w.scheduler.now();
  w.process.AtLocal(w.clock.now() + seconds(11), w.Note(1));
  w.scheduler.Step();
  EXPECT_EQ(w.scheduler.now(), begin + seconds(10));
  EXPECT_EQ(w.clock.now(), TimePoint(seconds(16)));
}

TEST(ProcessTest, WhileItIsStoppedEventsWaitInTheirOrderAndTheClockGoesOn) {
  World w;
  w.process.At(w.scheduler.now() + seconds(1), w.Note(1));
  w.process.At(w.scheduler.now() + seconds(2), w.Note(2));
  w.process.Pause();
  EXPECT_TRUE(w.process.paused());
  w.RunFor(seconds(10));
  w.process.Do(w.Note(3));
  EXPECT_THAT(w.done, IsEmpty());
  w.process.Resume();
  w.process.Do(w.Note(4));
  EXPECT_THAT(w.done, IsEmpty()) << "it goes on as an event";
  w.RunFor(seconds(0));
  EXPECT_THAT(w.done, ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(w.clock.now(), TimePoint(seconds(5 + 11)));
  w.process.Do(w.Note(5));
  EXPECT_THAT(w.done, ElementsAre(1, 2, 3, 4, 5));
}

TEST(ProcessTest, AnEventThatStopsItLeavesTheOthersWaiting) {
  World w;
  w.process.Pause();
  w.process.Do([&] {
    w.process.Do(w.Note(9));
    w.process.Pause();
  });
  w.process.Do(w.Note(1));
  w.process.Resume();
  w.RunFor(seconds(1));
  EXPECT_THAT(w.done, IsEmpty());
  w.process.Resume();
  w.process.Pause();
  w.process.Resume();
  w.RunFor(seconds(1));
  EXPECT_THAT(w.done, ElementsAre(1, 9));
}

TEST(ProcessTest, WithItsDeathAllItsEventsAreGone) {
  World w;
  w.process.At(w.scheduler.now() + seconds(1), w.Note(1));
  w.process.Pause();
  w.process.Do(w.Note(2));
  w.process.Kill();
  EXPECT_FALSE(w.process.alive());
  w.process.Do(w.Note(3));
  w.process.Start();
  EXPECT_EQ(w.process.life(), 1U);
  EXPECT_FALSE(w.process.paused());
  w.process.At(w.scheduler.now() + seconds(2), w.Note(4));
  w.RunFor(seconds(10));
  EXPECT_THAT(w.done, ElementsAre(4));
}

TEST(ProcessTest, AnEventThatKillsItIsItsLast) {
  World w;
  w.process.Pause();
  w.process.Do([&] {
    w.process.Kill();
    w.process.Start();
  });
  w.process.Do(w.Note(1));
  w.process.Resume();
  w.RunFor(seconds(1));
  EXPECT_THAT(w.done, IsEmpty());
  w.process.Do(w.Note(2));
  EXPECT_THAT(w.done, ElementsAre(2));
}

TEST(ProcessTest, AStartedOneIsNotResumedByItsFormerLife) {
  World w;
  w.process.Pause();
  w.process.Do(w.Note(1));
  w.process.Resume();  // plans the rest
  w.process.Kill();
  w.process.Start();
  w.process.Pause();
  w.process.Do(w.Note(2));
  w.RunFor(seconds(1));
  EXPECT_THAT(w.done, IsEmpty());
  w.process.Resume();
  w.RunFor(seconds(1));
  EXPECT_THAT(w.done, ElementsAre(2));
}

}  // namespace
}  // namespace ds::sim
