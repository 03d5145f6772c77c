#include "raft/sim/fault.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>

#include "raft/sim/exploration.h"
#include "raft/sim/totals.h"

namespace ds::raft {
namespace {

using std::chrono::seconds;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
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
  EXPECT_THAT(Missing(totals, *ParseFaultKinds("all")), IsEmpty());
  totals[Total::kTornTails] = 0;
  EXPECT_THAT(Missing(totals, *ParseFaultKinds("all")), UnorderedElementsAre(Total::kTornTails));
  EXPECT_THAT(Missing(totals, *ParseFaultKinds("loss")), IsEmpty());
  EXPECT_THAT(Missing(Totals(), {}), Contains(Total::kElections));
}

TEST(TotalsTest, FewerThanHalfOfTheOperationsIsAShortcoming) {
  ExplorationResult result;
  for (std::size_t i = 0; i < kTotals; ++i) result.totals[static_cast<Total>(i)] = 10;
  result.totals[Total::kSucceeded] = 5;
  EXPECT_THAT(Shortcomings(result, {}), IsEmpty());
  result.totals[Total::kSucceeded] = 4;
  EXPECT_THAT(Shortcomings(result, {}), Contains(HasSubstr("fewer than half")));
}

}  // namespace
}  // namespace ds::raft
