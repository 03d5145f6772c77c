#include "ipc_proxy_cache/core/log_limit.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>

namespace ds::ipc_proxy_cache {
namespace {

using std::chrono::milliseconds;

constexpr TimePoint At(int ms) { return TimePoint(milliseconds(ms)); }

TEST(LogLimitTest, TheFirstIsLoggedAtOnceWhateverTheTime) {
  EXPECT_EQ(LogLimit().Admit(At(0)), 0U);
  EXPECT_EQ(LogLimit().Admit(At(5'000'000)), 0U);
}

TEST(LogLimitTest, OneInEachSecondSaysHowManyWereLeftOut) {
  LogLimit limit;
  EXPECT_EQ(limit.Admit(At(500)), 0U);
  EXPECT_EQ(limit.Admit(At(500)), std::nullopt);
  EXPECT_EQ(limit.Admit(At(1000)), std::nullopt) << "a second counts from the last line";
  EXPECT_EQ(limit.Admit(At(1499)), std::nullopt);
  EXPECT_EQ(limit.Admit(At(1500)), 3U);
  EXPECT_EQ(limit.Admit(At(2499)), std::nullopt);
  EXPECT_EQ(limit.Admit(At(9000)), 1U) << "of the time since the last line only";
}

TEST(LogLimitTest, WhatIsRareIsAllLogged) {
  LogLimit limit;
  for (int ms = 0; ms < 10'000; ms += 1000) EXPECT_EQ(limit.Admit(At(ms)), 0U);
}

TEST(LogLimitTest, AllAreEitherLoggedOrCountedAsLeftOut) {
  LogLimit limit;
  std::uint64_t logged = 0;
  std::uint64_t left_out = 0;
  for (int ms = 0; ms <= 10'000; ++ms) {
    if (const auto before = limit.Admit(At(ms))) {
      ++logged;
      left_out += *before;
    }
  }
  EXPECT_EQ(logged, 11U);
  EXPECT_EQ(logged + left_out, 10'001U);
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
