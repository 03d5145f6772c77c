#include "common/base/rng.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>

namespace ds {
namespace {

using namespace std::chrono_literals;

TEST(RngTest, DrawsAreThoseOfXoshiro256StarStarSeededWithSplitMix64) {
  // From another implementation, itself checked with the authors' C code.
  Rng zero(0);
  EXPECT_EQ(zero.Next(), 11091344671253066420U);
  EXPECT_EQ(zero.Next(), 13793997310169335082U);
  EXPECT_EQ(zero.Next(), 1900383378846508768U);
  EXPECT_EQ(zero.Next(), 7684712102626143532U);
  Rng other(42);
  EXPECT_EQ(other.Next(), 1546998764402558742U);
  EXPECT_EQ(other.Next(), 6990951692964543102U);
}

TEST(RngTest, BelowIsUniformAndStaysBelow) {
  Rng rng(1);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70'000; ++i) ++counts.at(rng.Below(counts.size()));
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 500);
  EXPECT_EQ(rng.Below(1), 0U);
  // Without the rejection, three quarters of 2^64 would give the lower third every second time.
  int low = 0;
  for (int i = 0; i < 10'000; ++i) low += rng.Below(3ULL << 62) < 1ULL << 62 ? 1 : 0;
  EXPECT_NEAR(low, 3333, 250);
}

TEST(RngTest, BetweenReachesBothEnds) {
  Rng rng(2);
  bool low = false;
  bool high = false;
  for (int i = 0; i < 1000; ++i) {
    const std::int64_t drawn = rng.Between(-2, 2);
    EXPECT_TRUE(drawn >= -2 && drawn <= 2) << drawn;
    low = low || drawn == -2;
    high = high || drawn == 2;
  }
  EXPECT_TRUE(low && high);
  EXPECT_EQ(rng.Between(5, 5), 5);
  EXPECT_EQ(rng.Between(3ms, 3ms), 3ms);
}

TEST(RngTest, BernoulliKeepsToItsProbability) {
  Rng rng(3);
  int hits = 0;
  for (int i = 0; i < 100'000; ++i) {
    hits += rng.Bernoulli(0.3) ? 1 : 0;
    EXPECT_FALSE(rng.Bernoulli(0));
    EXPECT_TRUE(rng.Bernoulli(1));
  }
  EXPECT_NEAR(hits, 30'000, 700);
}

TEST(RngTest, ExponentialHasItsDistribution) {
  Rng rng(4);
  constexpr int kDraws = 100'000;
  double sum = 0;
  std::array<int, 5> above{};  // how many are larger than i
  for (int i = 0; i < kDraws; ++i) {
    const double drawn = rng.Exponential();
    sum += drawn;
    for (std::size_t j = 0; j < above.size(); ++j) above.at(j) += drawn > static_cast<double>(j);
  }
  EXPECT_NEAR(sum / kDraws, 1, 0.02);
  for (std::size_t i = 1; i < above.size(); ++i) {
    EXPECT_NEAR(above.at(i), kDraws * std::exp(-static_cast<double>(i)), 600) << i;
  }
  Duration total{};
  for (int i = 0; i < kDraws; ++i) total += rng.Exponential(10ms);
  EXPECT_NEAR(static_cast<double>((total / kDraws).count()), 10e6, 0.2e6);
}

}  // namespace
}  // namespace ds
