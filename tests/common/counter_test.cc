#include "common/base/counter.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <thread>

namespace ds {
namespace {

TEST(CounterTest, CountsFromZero) {
  Counter counter;
  EXPECT_EQ(counter.Get(), 0U);
  counter.Add();
  counter.Add(41);
  EXPECT_EQ(counter.Get(), 42U);
}

TEST(CounterTest, ReaderOnAnotherThreadNeverSeesItGoBack) {
  Counter counter;
  std::jthread writer([&] {
    for (int i = 0; i < 100'000; ++i) counter.Add();
  });
  for (std::uint64_t seen = 0; seen < 100'000;) {
    const std::uint64_t now = counter.Get();
    ASSERT_GE(now, seen);
    seen = now;
  }
}

TEST(LogHistogramTest, BucketEndsAtItsPowerOfTwo) {
  const struct {
    std::uint64_t value;
    std::size_t bucket;
  } cases[] = {
      {0, 0},
      {1, 0},
      {2, 1},
      {3, 2},
      {4, 2},
      {5, 3},
      {8, 3},
      {1024, 10},
      {1025, 11},
      {std::uint64_t{1} << 38U, 38},
      // The last bucket takes everything that has no bucket of its own.
      {(std::uint64_t{1} << 38U) + 1, 39},
      {std::numeric_limits<std::uint64_t>::max(), 39},
  };
  for (const auto& test_case : cases) {
    LogHistogram histogram;
    histogram.Record(test_case.value);
    for (std::size_t i = 0; i < LogHistogram::kBuckets; ++i) {
      EXPECT_EQ(histogram.count(i), i == test_case.bucket ? 1U : 0U)
          << "value " << test_case.value << ", bucket " << i;
    }
    EXPECT_EQ(histogram.sum(), test_case.value);
  }
}

TEST(LogHistogramTest, SumIsOfAllValues) {
  LogHistogram histogram;
  for (const std::uint64_t value : {5U, 6U, 7U}) histogram.Record(value);
  EXPECT_EQ(histogram.count(3), 3U);
  EXPECT_EQ(histogram.sum(), 18U);
}

}  // namespace
}  // namespace ds
