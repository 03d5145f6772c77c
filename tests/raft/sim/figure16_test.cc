#include "raft/sim/figure16.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace ds::raft {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

const std::vector<Figure16Row>& Rows() {
  static const std::vector<Figure16Row> rows = Figure16({.trials = 60, .seed = 1});
  return rows;
}

const Figure16Row& Row(std::uint32_t min, std::uint32_t max) {
  return *std::find_if(Rows().begin(), Rows().end(), [&](const Figure16Row& row) {
    return row.range.min_ms == min && row.range.max_ms == max;
  });
}

Duration Median(const Figure16Row& row) { return row.times[row.times.size() / 2]; }

TEST(Figure16Test, WiderTimerRangesElectSooner) {
  EXPECT_LT(Median(Row(150, 200)), Median(Row(150, 155)));
  EXPECT_LT(Median(Row(150, 155)), Median(Row(150, 151)));
}

TEST(Figure16Test, ShorterTimersElectSooner) {
  EXPECT_LT(Median(Row(50, 100)), Median(Row(150, 300)));
}

TEST(Figure16Test, NobodyLeadsBeforeATimerHasRunOut) {
  // The crash comes at most half of the shortest timeout after the last heartbeat.
  for (const Figure16Row& row : Rows()) {
    EXPECT_GE(row.times.front(), milliseconds(row.range.min_ms) / 2);
  }
}

TEST(Figure16Test, OneSeedGivesTheSameTimes) {
  const auto again = Figure16({.trials = 60, .seed = 1});
  for (std::size_t i = 0; i < again.size(); ++i) EXPECT_EQ(again[i].times, Rows()[i].times);
}

TEST(Figure16Test, TableAndGraphNameEachRange) {
  for (const Figure16Row& row : Rows()) {
    const std::string name =
        std::to_string(row.range.min_ms) + "-" + std::to_string(row.range.max_ms) + " ms";
    EXPECT_THAT(Figure16Table(Rows()), HasSubstr(name));
    EXPECT_THAT(Figure16Text(Rows()), HasSubstr(name));
    EXPECT_THAT(Figure16Svg(Rows()), HasSubstr(name));
  }
}

}  // namespace
}  // namespace ds::raft
