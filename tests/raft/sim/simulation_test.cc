#include "raft/sim/simulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "raft/sim/exploration.h"

namespace ds::raft {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

ExplorationOptions Seeds(std::uint64_t first, std::uint64_t seeds) {
  ExplorationOptions options;
  options.first_seed = first;
  options.seeds = seeds;
  options.jobs = 2;
  options.reduction_runs = 30;
  return options;
}

TEST(SimulationTest, ASliceOfSeedsWithAllFaultsIsClean) {
  const ExplorationOptions options = Seeds(1, 60);
  const ExplorationResult result = ExploreSeeds(options);
  ASSERT_FALSE(result.finding) << "seed " << result.finding->seed << ": "
                               << result.finding->violation;
  EXPECT_EQ(result.runs, 60U);
  EXPECT_THAT(Shortcomings(result, options), IsEmpty());
  EXPECT_GT(result.totals[Total::kRefusedByLimits], 0U);
  EXPECT_GE(result.totals[Total::kOperations], 60 * options.simulation.operations);
}

TEST(SimulationTest, WithoutFaultsEverythingSucceedsUnderTheFirstLeader) {
  ExplorationOptions options = Seeds(1, 6);
  options.simulation.faults = {};
  const ExplorationResult result = ExploreSeeds(options);
  ASSERT_FALSE(result.finding) << result.finding->violation;
  EXPECT_EQ(result.totals[Total::kSucceeded], result.totals[Total::kOperations]);
  EXPECT_EQ(result.totals[Total::kElections], 6U);
  EXPECT_EQ(result.totals[Total::kRestarts], 0U);
}

TEST(SimulationTest, EachNumberOfMembersIsClean) {
  for (const std::uint64_t nodes : {1U, 2U, 3U, 4U, 7U}) {
    ExplorationOptions options = Seeds(1, 6);
    options.simulation.nodes = nodes;
    const ExplorationResult result = ExploreSeeds(options);
    EXPECT_FALSE(result.finding) << nodes << " members, seed " << result.finding->seed << ": "
                                 << result.finding->violation;
  }
}

TEST(SimulationTest, ClientsBeginAsManyOperationsAsMayBeAskedFor) {
  for (const std::uint64_t seconds : {1U, 30U}) {
    ExplorationOptions options = Seeds(1, seconds == 1 ? 20 : 2);
    options.simulation.length = std::chrono::seconds(seconds);
    options.simulation.operations = options.simulation.OperationsMax();
    ASSERT_TRUE(options.simulation.Validate().ok());
    EXPECT_GE(options.simulation.operations, 500U) << "the default";
    const ExplorationResult result = ExploreSeeds(options);
    EXPECT_FALSE(result.finding) << result.finding->violation;
    ++options.simulation.operations;
    EXPECT_TRUE(absl::IsInvalidArgument(options.simulation.Validate()));
  }
}

TEST(SimulationTest, LossesOfPowerTearWritesThatAreUnderWay) {
  ExplorationOptions options = Seeds(1, 20);
  options.simulation.faults = {FaultKind::kPowerLoss};
  const ExplorationResult result = ExploreSeeds(options);
  ASSERT_FALSE(result.finding) << result.finding->violation;
  EXPECT_EQ(result.totals[Total::kFailedSyncs], 0U);
  EXPECT_GT(result.totals[Total::kTornTails] * 100, result.totals[Total::kPowerLosses]);
}

TEST(SimulationTest, ASeedTwiceGivesEqualRuns) {
  const SimulationOptions options;
  for (const std::uint64_t seed : {3U, 4U}) {
    const std::vector<Fault> faults = FaultsOf(options, seed);
    const SimulationResult first = Simulate(options, seed, faults);
    EXPECT_EQ(first, Simulate(options, seed, faults));
    EXPECT_NE(first.digest, Simulate(options, seed + 10, FaultsOf(options, seed + 10)).digest);
  }
}

TEST(SimulationTest, ThePrintedTraceDoesNotChangeTheRun) {
  const SimulationOptions options;
  const std::vector<Fault> faults = FaultsOf(options, 5);
  std::uint64_t lines = 0;
  const SimulationResult printed =
      Simulate(options, 5, faults, [&lines](const std::string&) { ++lines; });
  EXPECT_EQ(printed, Simulate(options, 5, faults));
  EXPECT_GT(lines, 1000U);
}

TEST(SimulationTest, TheNumberOfThreadsDoesNotChangeTheResult) {
  ExplorationOptions options = Seeds(1, 8);
  options.jobs = 1;
  const ExplorationResult one = ExploreSeeds(options);
  options.jobs = 3;
  const ExplorationResult three = ExploreSeeds(options);
  EXPECT_EQ(one.totals, three.totals);
  EXPECT_EQ(one.digest, three.digest);
}

TEST(ReductionTest, DoesNotRunTheHourThatFollowsAViolation) {
  ExplorationOptions options = Seeds(1, 1);
  options.simulation.length = std::chrono::hours(1);
  options.simulation.planted_bug = PlantedBug::kForgetVote;
  options.reduction_runs = 100;
  const ExplorationResult result = ExploreSeeds(options);
  ASSERT_TRUE(result.finding);
  EXPECT_THAT(result.finding->violation, HasSubstr("FAILED: durability"));
  EXPECT_GT(result.finding->faults_before, 1000U);
  EXPECT_LT(result.finding->faults.size(), 10U);
  EXPECT_GT(result.finding->reduction_runs, 5U);
  EXPECT_FALSE(result.finding->reduction_broken_off);
  EXPECT_LT(result.finding->reduction_steps, 1'000'000U) << "an hour has two million";
}

TEST(ReductionTest, EndsWhenItsStepsAreSpentAndSaysSo) {
  ExplorationOptions options = Seeds(1, 1);
  options.simulation.planted_bug = PlantedBug::kForgetVote;
  options.reduction_steps = 1;
  const ExplorationResult result = ExploreSeeds(options);
  ASSERT_TRUE(result.finding);
  const Finding& finding = *result.finding;
  EXPECT_TRUE(finding.reduction_broken_off);
  EXPECT_EQ(finding.reduction_runs, 2U) << "the first one, and the one that is shown";
  EXPECT_THAT(finding.violation, HasSubstr("FAILED: durability"));
  EXPECT_LT(finding.faults.size(), finding.faults_before) << "without what came after it";
}

TEST(ReductionTest, AHistoryIsRefutedAtTheSamePlaceWhenTheRunEndsThere) {
  ExplorationOptions options = Seeds(158, 3);
  options.simulation.planted_bug = PlantedBug::kLeaseAfterPause;
  const ExplorationResult result = ExploreSeeds(options);
  ASSERT_TRUE(result.finding);
  ASSERT_TRUE(result.finding->until);
  SimulationOptions until = options.simulation;
  until.until = result.finding->until;
  const SimulationResult replay = Simulate(until, result.finding->seed, result.finding->faults);
  EXPECT_EQ(replay.violation, result.finding->violation);
  EXPECT_LT(replay.violated_at, *until.until);
  EXPECT_THAT(*replay.violation, HasSubstr("linearizability"));
}

TEST(SimulationTest, ARunThatEndsEarlyGoesAsTheWholeOne) {
  SimulationOptions options;
  const std::vector<Fault> faults = FaultsOf(options, 4);
  const auto traced = [&] {
    std::vector<std::string> lines;
    Simulate(options, 4, faults, [&lines](const std::string& line) { lines.push_back(line); });
    return lines;
  };
  std::vector<std::string> whole = traced();
  options.until = std::chrono::seconds(10);
  const std::vector<std::string> half = traced();
  ASSERT_GT(half.size(), 1000U);
  ASSERT_GT(whole.size(), half.size());
  whole.resize(half.size());
  EXPECT_EQ(half, whole);
}

/// A bug and seeds of which one finds it, from a search over the first 2000.
struct Planted {
  PlantedBug bug;
  std::uint64_t first_seed;
  std::uint64_t seeds;
};
void PrintTo(const Planted& planted, std::ostream* out) { *out << Name(planted.bug); }

class PlantedBugTest : public ::testing::TestWithParam<Planted> {};

TEST_P(PlantedBugTest, IsFoundAndTheSameSeedsAreCleanWithoutIt) {
  ExplorationOptions options = Seeds(GetParam().first_seed, GetParam().seeds);
  const ExplorationResult clean = ExploreSeeds(options);
  EXPECT_FALSE(clean.finding) << clean.finding->violation;
  options.simulation.planted_bug = GetParam().bug;
  const ExplorationResult result = ExploreSeeds(options);
  ASSERT_TRUE(result.finding);
  EXPECT_THAT(result.finding->violation, HasSubstr("FAILED: "));
  EXPECT_LE(result.finding->faults.size(), result.finding->faults_before);
}

INSTANTIATE_TEST_SUITE_P(All, PlantedBugTest,
                         ::testing::Values(Planted{PlantedBug::kVoteTwice, 2, 3},
                                           Planted{PlantedBug::kCommitOldTerm, 1, 2},
                                           Planted{PlantedBug::kForgetVote, 1, 2},
                                           Planted{PlantedBug::kLeaseAfterPause, 158, 3},
                                           Planted{PlantedBug::kRefusedIsDead, 214, 3},
                                           Planted{PlantedBug::kChangeWithoutNoop, 1, 2},
                                           Planted{PlantedBug::kTruncateCommitted, 4, 3},
                                           Planted{PlantedBug::kSnapshotForgetsConfiguration, 1, 2},
                                           Planted{PlantedBug::kReadWithoutRound, 43, 3},
                                           Planted{PlantedBug::kAckBeforeDurable, 1, 2}));

}  // namespace
}  // namespace ds::raft
