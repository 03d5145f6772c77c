#include "udp_transfer/core/received_packets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ds::udp_transfer {
namespace {

using ::testing::ElementsAre;

TEST(ReceivedPacketsTest, NumbersCountOnce) {
  ReceivedPackets received;
  EXPECT_EQ(received.expected(), 0U);
  EXPECT_FALSE(received.IsDuplicate(0));
  for (const std::uint64_t number : {0U, 1U, 5U, 4U, 9U}) {
    EXPECT_FALSE(received.IsDuplicate(number));
    received.Add(number);
    EXPECT_TRUE(received.IsDuplicate(number));
  }
  EXPECT_THAT(received.ranges(), ElementsAre(Interval{0, 2}, Interval{4, 6}, Interval{9, 10}));
  EXPECT_EQ(received.expected(), 10U);
  EXPECT_FALSE(received.IsDuplicate(3));
  EXPECT_FALSE(received.IsDuplicate(10));
}

TEST(ReceivedPacketsTest, WhatIsOlderThanTheRememberedRangesIsNotTakenAgain) {
  ReceivedPackets received;
  for (std::uint64_t i = 0; i <= ReceivedPackets::kRanges; ++i) received.Add(10 * i);
  ASSERT_EQ(received.ranges().size(), ReceivedPackets::kRanges);
  EXPECT_EQ(received.ranges().front(), (Interval{10, 11}));
  EXPECT_TRUE(received.IsDuplicate(0)) << "an attacker may have kept it";
  EXPECT_FALSE(received.IsDuplicate(1)) << "above what was forgotten";
  EXPECT_TRUE(received.IsDuplicate(10));
  EXPECT_FALSE(received.IsDuplicate(11));
  received.Add(5);  // takes a place below all, and gives it up at once
  EXPECT_TRUE(received.IsDuplicate(5));
  EXPECT_TRUE(received.IsDuplicate(4));
  EXPECT_FALSE(received.IsDuplicate(6));
  EXPECT_EQ(received.ranges().size(), ReceivedPackets::kRanges);
}

TEST(ReceivedPacketsTest, MemoryIsBoundedWhateverNumbersCome) {
  ReceivedPackets received;
  for (std::uint64_t i = 0; i < 100'000; ++i) received.Add(2 * i);
  EXPECT_EQ(received.ranges().size(), ReceivedPackets::kRanges);
  EXPECT_TRUE(received.IsDuplicate(2 * (100'000 - ReceivedPackets::kRanges) - 2));
}

}  // namespace
}  // namespace ds::udp_transfer
