#include "udp_transfer/core/interval_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bitset>
#include <vector>

#include "common/base/rng.h"

namespace ds::udp_transfer {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(IntervalSetTest, IntervalsThatTouchOrOverlapBecomeOne) {
  IntervalSet set;
  EXPECT_TRUE(set.Add(10, 20));
  EXPECT_TRUE(set.Add(30, 40));
  EXPECT_TRUE(set.Add(50, 60));
  EXPECT_THAT(set.intervals(), ElementsAre(Interval{10, 20}, Interval{30, 40}, Interval{50, 60}));
  EXPECT_TRUE(set.Add(20, 30));
  EXPECT_THAT(set.intervals(), ElementsAre(Interval{10, 40}, Interval{50, 60}));
  EXPECT_TRUE(set.Add(5, 100));
  EXPECT_THAT(set.intervals(), ElementsAre(Interval{5, 100}));
}

TEST(IntervalSetTest, MoreIntervalsThanAllowedAreRefusedButGrowthIsNot) {
  IntervalSet set(2);
  EXPECT_TRUE(set.Add(10, 20));
  EXPECT_TRUE(set.Add(30, 40));
  EXPECT_FALSE(set.Add(50, 60));
  EXPECT_FALSE(set.Add(0, 5));
  EXPECT_FALSE(set.Add(22, 28));
  EXPECT_TRUE(set.Add(40, 45));
  EXPECT_TRUE(set.Add(5, 10));
  EXPECT_THAT(set.intervals(), ElementsAre(Interval{5, 20}, Interval{30, 45}));
  EXPECT_TRUE(set.Add(20, 30));
  EXPECT_TRUE(set.Add(50, 60)) << "there is room again";
}

TEST(IntervalSetTest, RemovingCutsAndSplits) {
  IntervalSet set;
  EXPECT_TRUE(set.Add(10, 40));
  set.Remove(20, 30);
  EXPECT_THAT(set.intervals(), ElementsAre(Interval{10, 20}, Interval{30, 40}));
  set.RemoveBelow(15);
  EXPECT_THAT(set.intervals(), ElementsAre(Interval{15, 20}, Interval{30, 40}));
  set.Remove(18, 35);
  EXPECT_THAT(set.intervals(), ElementsAre(Interval{15, 18}, Interval{35, 40}));
  set.Remove(0, 100);
  EXPECT_THAT(set.intervals(), IsEmpty());
}

TEST(IntervalSetTest, BehavesLikeASetOfNumbers) {
  constexpr std::size_t kEnd = 256;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Rng rng(seed);
    IntervalSet set;
    std::bitset<kEnd> model;
    for (int step = 0; step < 200; ++step) {
      const std::uint64_t begin = rng.Below(kEnd - 1);
      const std::uint64_t end =
          std::min<std::uint64_t>(kEnd, begin + 1 + rng.Below(rng.Bernoulli(0.2) ? 100 : 8));
      const std::uint64_t choice = rng.Below(10);
      if (choice < 6) {
        EXPECT_TRUE(set.Add(begin, end));
        for (std::uint64_t i = begin; i < end; ++i) model.set(i);
      } else if (choice < 9) {
        set.Remove(begin, end);
        for (std::uint64_t i = begin; i < end; ++i) model.reset(i);
      } else {
        set.RemoveBelow(begin);
        for (std::uint64_t i = 0; i < begin; ++i) model.reset(i);
      }
      std::bitset<kEnd> seen;
      std::uint64_t last = 0;
      for (const Interval& interval : set.intervals()) {
        ASSERT_LT(interval.begin, interval.end);
        ASSERT_TRUE(seen.none() || interval.begin > last) << "they touch, seed " << seed;
        last = interval.end;
        for (std::uint64_t i = interval.begin; i < interval.end; ++i) seen.set(i);
      }
      ASSERT_EQ(seen, model) << "seed " << seed << ", step " << step;
      ASSERT_EQ(set.empty(), model.none());
      ASSERT_EQ(set.Contains(begin), model.test(begin));
      std::bitset<kEnd> overlapping;
      for (const Interval& interval : set.Overlapping(begin, end)) {
        for (std::uint64_t i = std::max(begin, interval.begin); i < std::min(end, interval.end);
             ++i) {
          overlapping.set(i);
        }
        ASSERT_TRUE(interval.begin < end && interval.end > begin);
      }
      for (std::uint64_t i = begin; i < end; ++i) ASSERT_EQ(overlapping.test(i), model.test(i));
    }
  }
}

}  // namespace
}  // namespace ds::udp_transfer
