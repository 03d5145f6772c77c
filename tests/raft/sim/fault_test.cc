#include "raft/sim/fault.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <tuple>
#include <vector>

#include "raft/sim/exploration.h"
#include "raft/sim/totals.h"

namespace ds::raft {
namespace {

using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

TEST(FaultKindsTest, NamesAreRead) {
  EXPECT_EQ(ParseFaultKinds("all")->size(), kFaultKinds.size());
  EXPECT_THAT(*ParseFaultKinds("none"), IsEmpty());
  EXPECT_THAT(*ParseFaultKinds("loss,one-way"),
              UnorderedElementsAre(FaultKind::kLoss, FaultKind::kOneWay));
  for (const FaultKind kind : kFaultKinds) {
    EXPECT_THAT(*ParseFaultKinds(std::string(Name(kind))), UnorderedElementsAre(kind));
  }
}

TEST(FaultKindsTest, WhatIsNoFaultIsNamed) {
  for (const char* text : {"", "loss,", ",loss", "los", "loss,all", "Loss"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseFaultKinds(text).status())) << text;
  }
  EXPECT_THAT(std::string(ParseFaultKinds("loss,quake").status().message()), HasSubstr("quake"));
}

TEST(DrawFaultsTest, OneSeedGivesTheSameFaultsInTheOrderOfTime) {
  const FaultKinds all = *ParseFaultKinds("all");
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Rng a(seed);
    Rng b(seed);
    const std::vector<Fault> faults = DrawFaults(all, seconds(25), a);
    EXPECT_EQ(faults, DrawFaults(all, seconds(25), b));
    EXPECT_FALSE(faults.empty());
    for (std::size_t i = 0; i < faults.size(); ++i) {
      EXPECT_LE(faults[i].at, seconds(25));
      if (i > 0) {
        EXPECT_GE(faults[i].at, faults[i - 1].at);
      }
    }
  }
}

TEST(DrawFaultsTest, OnlyWhatIsOnIsDrawnAndAllOfIt) {
  FaultKinds seen;
  const FaultKinds some = *ParseFaultKinds("pause,loss,transfer");
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Rng rng(seed);
    for (const Fault& fault : DrawFaults(some, seconds(25), rng)) seen.insert(fault.kind);
  }
  EXPECT_EQ(seen, some);
  Rng rng(1);
  EXPECT_THAT(DrawFaults({}, seconds(25), rng), IsEmpty());
}

TEST(TotalsTest, ATotalThatIsZeroThoughItsFaultIsOnIsMissing) {
  Totals totals;
  for (std::size_t i = 0; i < kTotals; ++i) totals[static_cast<Total>(i)] = 1;
  EXPECT_THAT(Missing(totals, *ParseFaultKinds("all"), 5, true), IsEmpty());
  totals[Total::kTornTails] = 0;
  EXPECT_THAT(Missing(totals, *ParseFaultKinds("all"), 5, true),
              UnorderedElementsAre(Total::kTornTails));
  EXPECT_THAT(Missing(totals, *ParseFaultKinds("loss"), 5, true), IsEmpty());
  EXPECT_THAT(Missing(Totals(), {}, 5, true), Contains(Total::kElections));
  EXPECT_THAT(Missing(Totals(), {FaultKind::kSnapshot}, 5, true),
              AllOf(Contains(Total::kForcedSnapshots), Not(Contains(Total::kSnapshotsInstalled))))
      << "nobody is left behind";
  EXPECT_THAT(Missing(Totals(), {FaultKind::kMembership}, 5, true),
              Contains(Total::kSnapshotsInstalled));
}

TEST(TotalsTest, WhatTooFewMembersCannotHaveIsNotMissing) {
  const FaultKinds all = *ParseFaultKinds("all");
  FaultKinds static_members = all;
  static_members.erase(FaultKind::kMembership);
  const auto missing = [](const FaultKinds& faults, std::uint64_t nodes) {
    return Missing(Totals(), faults, nodes, true);
  };
  EXPECT_THAT(missing(static_members, 1),
              AllOf(Contains(Total::kKills), Contains(Total::kUnknown), Contains(Total::kTornTails),
                    Not(Contains(Total::kTruncations)), Not(Contains(Total::kSplitVotes)),
                    Not(Contains(Total::kSnapshotsInstalled)), Not(Contains(Total::kTransfers)),
                    Not(Contains(Total::kLost)), Not(Contains(Total::kPartitions)),
                    Not(Contains(Total::kRefusedConnections))));
  EXPECT_THAT(missing({FaultKind::kPartition}, 1), Not(Contains(Total::kUnknown)));
  EXPECT_THAT(missing(static_members, 2),
              AllOf(Contains(Total::kSplitVotes), Contains(Total::kLost),
                    Not(Contains(Total::kTruncations))));
  EXPECT_THAT(missing(static_members, 3), Contains(Total::kTruncations));
  // Where members come in, one becomes two, and two become three.
  EXPECT_THAT(missing(all, 1), AllOf(Contains(Total::kTransfers), Contains(Total::kLost),
                                     Not(Contains(Total::kTruncations))));
  EXPECT_THAT(missing(all, 2), Contains(Total::kTruncations));
}

/// As if seeds without faults had run.
ExplorationResult Tens(std::uint64_t runs, ExplorationOptions* options) {
  ExplorationResult result;
  result.runs = runs;
  for (std::size_t i = 0; i < kTotals; ++i) result.totals[static_cast<Total>(i)] = 10;
  result.totals[Total::kNotJudged] = 0;
  options->simulation.faults = {};
  return result;
}

TEST(TotalsTest, FewerThanHalfOfTheOperationsIsAShortcoming) {
  ExplorationOptions options;
  ExplorationResult result = Tens(1, &options);
  result.totals[Total::kSucceeded] = 5;
  EXPECT_THAT(Shortcomings(result, options), IsEmpty());
  result.totals[Total::kSucceeded] = 4;
  EXPECT_THAT(Shortcomings(result, options), Contains(HasSubstr("fewer than half")));
}

TEST(TotalsTest, AHistoryThatIsNotJudgedIsAShortcoming) {
  ExplorationOptions options;
  ExplorationResult result = Tens(7, &options);
  EXPECT_THAT(Shortcomings(result, options), IsEmpty());
  result.totals[Total::kNotJudged] = 3;
  EXPECT_THAT(Shortcomings(result, options),
              ElementsAre("histories that were too long to be judged: 3 of 7"));
}

TEST(TotalsTest, LeaseReadsAreMissedOnlyWhereAllMembersOfAClusterHaveThem) {
  ASSERT_EQ(LeasesOf(2), Leases::kNone);
  ASSERT_EQ(LeasesOf(3), Leases::kAll);
  ASSERT_EQ(LeasesOf(5), Leases::kSome);
  ExplorationOptions options;
  const std::vector<std::tuple<std::uint64_t, std::uint64_t, bool>> explorations = {
      {2, 1, false}, {2, 2, true}, {3, 1, true}, {4, 3, false}, {4, 4, true}};
  for (const auto& [first, runs, missed] : explorations) {
    options.first_seed = first;
    ExplorationResult result = Tens(runs, &options);
    EXPECT_THAT(Shortcomings(result, options), IsEmpty());
    result.totals[Total::kLeaseReads] = 0;
    EXPECT_EQ(Shortcomings(result, options).empty(), !missed) << first << ", " << runs;
  }
}

}  // namespace
}  // namespace ds::raft
