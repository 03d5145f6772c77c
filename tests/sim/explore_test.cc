#include "tests/sim/explore.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "common/base/check.h"

namespace ds::sim {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<int> UpTo(int n) {
  std::vector<int> numbers(static_cast<std::size_t>(n));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}
bool Has(const std::vector<int>& numbers, int n) {
  return std::find(numbers.begin(), numbers.end(), n) != numbers.end();
}

TEST(MinimizeTest, EveryPairIsFound) {
  for (const int n : {2, 3, 7, 16, 33}) {
    for (int a = 0; a < n; ++a) {
      for (int b = a + 1; b < n; ++b) {
        EXPECT_THAT(Minimize<int>(UpTo(n), 100'000,
                                  [&](const auto& some) { return Has(some, a) && Has(some, b); }),
                    ElementsAre(a, b))
            << "of " << n;
      }
    }
  }
}

TEST(MinimizeTest, SingleOnesAndNoneAreFound) {
  EXPECT_THAT(Minimize<int>(UpTo(20), 1000, [](const auto& some) { return Has(some, 13); }),
              ElementsAre(13));
  EXPECT_THAT(Minimize<int>(UpTo(20), 1000, [](const auto&) { return true; }), IsEmpty());
  EXPECT_THAT(Minimize<int>({}, 1000, [](const auto&) { return true; }), IsEmpty());
}

TEST(MinimizeTest, ResultFailsAndNothingCanBeLeftOutOfIt) {
  // Not monotone: an odd number of multiples of three and at least two numbers.
  const auto fails = [](const std::vector<int>& some) {
    return some.size() >= 2 &&
           std::count_if(some.begin(), some.end(), [](int n) { return n % 3 == 0; }) % 2 == 1;
  };
  for (int n = 2; n < 40; ++n) {
    if (!fails(UpTo(n))) continue;
    const std::vector<int> result = Minimize<int>(UpTo(n), 100'000, fails);
    EXPECT_TRUE(fails(result));
    for (std::size_t i = 0; i < result.size(); ++i) {
      std::vector<int> fewer = result;
      fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
      EXPECT_FALSE(fails(fewer)) << "of " << n << " without item " << i;
    }
  }
}

TEST(MinimizeTest, AttemptsAreBounded) {
  std::size_t calls = 0;
  const auto result = Minimize<int>(UpTo(100), 5, [&](const auto& some) {
    ++calls;
    return Has(some, 0) && Has(some, 99);
  });
  EXPECT_EQ(calls, 5U);
  EXPECT_TRUE(Has(result, 0) && Has(result, 99));
}

struct Fault {
  TimePoint time;
  int kind = 0;
};

/// A machine that fails when a fault of kind 3 is followed by one of kind 5 within 20 ms, and that
/// does random work besides.
RunResult RunPlantedBug(std::uint64_t seed, const std::vector<Fault>& faults) {
  Scheduler scheduler(seed);
  TimePoint weak_until{};
  for (const Fault& fault : faults) {
    scheduler.At(fault.time, [&scheduler, &weak_until, fault] {
      scheduler.Trace("fault {}", fault.kind);
      if (fault.kind == 3) weak_until = scheduler.now() + 20ms;
      if (fault.kind == 5 && scheduler.now() < weak_until) scheduler.Fail("planted");
    });
  }
  for (int i = 0; i < 50; ++i) {
    scheduler.After(scheduler.rng().Between(0ms, 1s),
                    [&scheduler] { scheduler.Trace("work {}", scheduler.rng().Next()); });
  }
  scheduler.Run(scheduler.now() + 2s);
  return scheduler.Result();
}

Experiment<Fault> PlantedBug() {
  return {.draw_faults =
              [](Rng& rng) {
                std::vector<Fault> faults(30);
                for (Fault& fault : faults) {
                  fault.time = TimePoint(1000s + rng.Between(0ms, 1s));
                  fault.kind = static_cast<int>(rng.Below(10));
                }
                return faults;
              },
          .run = RunPlantedBug,
          .describe = [](const Fault& fault) { return fmt::format("kind {}", fault.kind); }};
}

TEST(ExploreTest, PlantedBugIsReducedToItsPair) {
  const auto found = Explore(PlantedBug(), {1, 1000});
  ASSERT_FALSE(found.ok);
  ASSERT_EQ(found.faults.size(), 2U) << found.report;
  std::vector<Fault> pair = found.faults;
  if (pair[1].time < pair[0].time) std::swap(pair[0], pair[1]);
  EXPECT_EQ(pair[0].kind, 3);
  EXPECT_EQ(pair[1].kind, 5);
  EXPECT_LT(pair[1].time, pair[0].time + 20ms);
  EXPECT_TRUE(RunPlantedBug(found.seed, found.faults).failure.has_value());
  EXPECT_THAT(found.report,
              AllOf(HasSubstr(fmt::format("seed {} fails", found.seed)), HasSubstr("planted"),
                    HasSubstr("2 left of 30"), HasSubstr("  kind 3\n"), HasSubstr("  kind 5\n"),
                    HasSubstr(fmt::format("DS_SIM_SEED={} ", found.seed)),
                    HasSubstr("--gtest_filter=ExploreTest.PlantedBugIsReducedToItsPair")));
  // The seed alone leads to the same place.
  const auto again = Explore(PlantedBug(), {found.seed, 1});
  EXPECT_EQ(again.report, found.report);
}

TEST(ExploreTest, SeedsWithoutAFailureAreCounted) {
  Experiment<Fault> experiment = PlantedBug();
  experiment.draw_faults = [](Rng&) { return std::vector<Fault>(); };
  const auto found = Explore(experiment, {5, 40});
  EXPECT_TRUE(found.ok) << found.report;
  EXPECT_EQ(found.runs, 40U);
  EXPECT_EQ(found.steps, 40U * 50);
}

TEST(ExploreTest, RunThatDiffersFromItsRepetitionIsAFailure) {
  Experiment<Fault> experiment = PlantedBug();
  experiment.draw_faults = [](Rng&) { return std::vector<Fault>(); };
  experiment.run = [calls = 0](std::uint64_t seed, const std::vector<Fault>&) mutable {
    Scheduler scheduler(seed);
    scheduler.Trace("call {}", ++calls);
    return scheduler.Result();
  };
  const auto found = Explore(experiment, {1, 1});
  EXPECT_FALSE(found.ok);
  EXPECT_THAT(found.report, HasSubstr("went another way"));
}

TEST(ExploreDeathTest, AbortNamesTheSeed) {
  Experiment<Fault> experiment = PlantedBug();
  experiment.run = [](std::uint64_t seed, const std::vector<Fault>& faults) {
    CHECK(seed != 1203, "planted");
    return RunPlantedBug(seed, faults);
  };
  experiment.draw_faults = [](Rng&) { return std::vector<Fault>(); };
  EXPECT_DEATH(Explore(experiment, {1200, 10}), "while simulating DS_SIM_SEED=1203\n");
}

TEST(SeedsTest, EnvironmentReplacesTheSeeds) {
  const auto seeds = [](const char* seed, const char* runs) {
    // NOLINTBEGIN(concurrency-mt-unsafe): this program has one thread
    seed == nullptr ? unsetenv("DS_SIM_SEED") : setenv("DS_SIM_SEED", seed, 1);
    runs == nullptr ? unsetenv("DS_SIM_RUNS") : setenv("DS_SIM_RUNS", runs, 1);
    const Seeds result = SeedsFromEnvironment(500);
    unsetenv("DS_SIM_SEED");
    unsetenv("DS_SIM_RUNS");
    // NOLINTEND(concurrency-mt-unsafe)
    return std::pair(result.first, result.runs);
  };
  EXPECT_EQ(seeds(nullptr, nullptr), std::pair(1UL, 500UL));
  EXPECT_EQ(seeds(nullptr, "3"), std::pair(1UL, 3UL));
  EXPECT_EQ(seeds("42", nullptr), std::pair(42UL, 1UL));
  EXPECT_EQ(seeds("42", "7"), std::pair(42UL, 7UL));
  EXPECT_DEATH(seeds("x", nullptr), "decimal");
}

}  // namespace
}  // namespace ds::sim
