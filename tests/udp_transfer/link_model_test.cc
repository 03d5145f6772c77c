#include "udp_transfer/link/link_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <set>
#include <tuple>
#include <vector>

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using Fate = LinkModel::Passage::Fate;

const TimePoint kBegin{std::chrono::seconds(1000)};

/// 1500 bytes take 1 ms.
constexpr double kTwelveMbit = 12e6;

LinkOptions Rated(std::uint64_t queue_bytes, std::uint64_t queue_packets = 0) {
  return {.rate_bits_per_s = kTwelveMbit,
          .queue_bytes = queue_bytes,
          .queue_packets = queue_packets,
          .delay = 25ms};
}

/// The only arrival, counted from kBegin.
Duration ArrivalOf(const LinkModel::Passage& passage) {
  EXPECT_EQ(passage.fate, Fate::kArrives);
  EXPECT_EQ(passage.arrivals().size(), 1U);
  return passage.copies[0].time - kBegin;
}

TEST(LinkModelTest, WithoutOptionsAPacketArrivesAtOnce) {
  LinkModel link({}, 1);
  EXPECT_EQ(ArrivalOf(link.Send(kBegin, 1500)), 0ms);
  EXPECT_EQ(ArrivalOf(link.Send(kBegin + 1ms, 1)), 1ms);
}

TEST(LinkModelTest, PacketsLeaveAtTheRateAndThenTakeTheDelay) {
  LinkModel link(Rated(1'000'000), 1);
  EXPECT_EQ(ArrivalOf(link.Send(kBegin, 1500)), 26ms);
  EXPECT_EQ(ArrivalOf(link.Send(kBegin, 3000)), 28ms) << "waits for the first";
  EXPECT_EQ(ArrivalOf(link.Send(kBegin + 1ms, 1500)), 29ms);
  EXPECT_EQ(ArrivalOf(link.Send(kBegin + 10ms, 1500)), 36ms) << "the transmitter was idle again";
}

TEST(LinkModelTest, AFullQueueDropsWhatComesLast) {
  for (const LinkOptions& options : {Rated(4500), Rated(0, 3), Rated(4500, 100), Rated(9999, 3)}) {
    LinkModel link(options, 1);
    for (int i = 1; i <= 3; ++i) EXPECT_EQ(ArrivalOf(link.Send(kBegin, 1500)), 25ms + i * 1ms);
    EXPECT_EQ(link.Send(kBegin, 1500).fate, Fate::kQueueFull);
    EXPECT_EQ(link.Send(kBegin + 999us, 1500).fate, Fate::kQueueFull) << "the first is not out yet";
    const auto next = link.Send(kBegin + 1ms, 1500);
    EXPECT_EQ(ArrivalOf(next), 29ms) << "those that were dropped took no time of the transmitter";
    EXPECT_EQ(next.queued_bytes_now, 4500U);
  }
}

TEST(LinkModelTest, ASmallPacketFitsWhereALargeOneDoesNot) {
  LinkModel link(Rated(2000), 1);
  EXPECT_EQ(link.Send(kBegin, 1500).fate, Fate::kArrives);
  EXPECT_EQ(link.Send(kBegin, 501).fate, Fate::kQueueFull);
  EXPECT_EQ(link.Send(kBegin, 500).fate, Fate::kArrives);
}

TEST(LinkModelTest, AnIdleTransmitterTakesAPacketThatIsLargerThanTheQueue) {
  LinkModel link(Rated(100), 1);
  EXPECT_EQ(ArrivalOf(link.Send(kBegin, 1500)), 26ms);
  EXPECT_EQ(link.Send(kBegin, 1).fate, Fate::kQueueFull);
}

TEST(LinkModelTest, ALostPacketHasUsedItsShareOfTheRate) {
  LinkOptions options = Rated(1'000'000);
  options.loss = 1;
  LinkModel link(options, 1);
  EXPECT_EQ(link.Send(kBegin, 1500).fate, Fate::kLost);
  EXPECT_EQ(link.Send(kBegin, 1500).queued_bytes_now, 3000U);
}

TEST(LinkModelTest, WhatIsLostDependsOnTheSeedAndOnNoTimeSizeOrOtherOption) {
  const auto lost = [](LinkOptions options, std::uint64_t seed, Duration interval, bool same_size) {
    options.loss = 0.1;
    LinkModel link(options, seed);
    std::set<int> numbers;
    for (int i = 0; i < 1000; ++i) {
      const std::size_t bytes = same_size ? 1000 : 20 + 7 * static_cast<std::size_t>(i);
      if (link.Send(kBegin + i * interval, bytes).fate == Fate::kLost) numbers.insert(i);
    }
    return numbers;
  };
  const std::set<int> expected = lost({}, 7, 0ms, true);
  // A binomial distribution: 100 of them, with a standard deviation below 10.
  EXPECT_GT(expected.size(), 60U);
  EXPECT_LT(expected.size(), 140U);
  EXPECT_EQ(lost({}, 7, 3ms, false), expected);
  EXPECT_EQ(lost(Rated(1U << 30U), 7, 1us, false), expected);
  EXPECT_EQ(lost({.delay = 1s,
                  .jitter = 1s,
                  .corrupt = 0.5,
                  .duplicate = 0.5,
                  .reorder = 0.5,
                  .reorder_by = 1s},
                 7, 1ms, false),
            expected);
  EXPECT_NE(lost({}, 8, 0ms, true), expected);
}

TEST(LinkModelTest, PacketsThatTheQueueDropsDoNotChangeWhatIsLostOfTheOthers) {
  LinkOptions options = Rated(0, 1);
  options.loss = 0.3;
  LinkModel crowded(options, 7);
  LinkModel free(options, 7);
  for (int i = 0; i < 1000; ++i) {
    const auto passage = crowded.Send(kBegin + i * 1ms, 1500);
    EXPECT_EQ(crowded.Send(kBegin + i * 1ms, 1500).fate, Fate::kQueueFull);
    EXPECT_EQ(free.Send(kBegin + i * 1ms, 1500).fate, passage.fate) << i;
  }
}

TEST(LinkModelTest, JitterDelaysAndKeepsTheOrder) {
  LinkModel link({.delay = 10ms, .jitter = 5ms}, 1);
  Duration last{};
  std::set<Duration> delays;
  for (int i = 0; i < 1000; ++i) {
    const Duration sent = i * 100us;
    const Duration arrived = ArrivalOf(link.Send(kBegin + sent, 100));
    EXPECT_GE(arrived, last) << i;
    EXPECT_GE(arrived - sent, 10ms) << i;
    EXPECT_LE(arrived - sent, 15ms) << i;
    delays.insert(arrived - sent);
    last = arrived;
  }
  EXPECT_GT(delays.size(), 100U);
}

TEST(LinkModelTest, AReorderedPacketIsLateAndHoldsUpNoOther) {
  LinkModel link({.delay = 10ms, .reorder = 0.2, .reorder_by = 5ms}, 1);
  int reordered = 0;
  for (int i = 0; i < 1000; ++i) {
    const Duration sent = i * 1ms;
    const auto passage = link.Send(kBegin + sent, 100);
    const Duration delay = ArrivalOf(passage) - sent;
    if (passage.reordered) {
      ++reordered;
      EXPECT_GT(delay, 10ms) << i;
      EXPECT_LE(delay, 15ms) << i;
    } else {
      EXPECT_EQ(delay, 10ms) << i;
    }
  }
  EXPECT_GT(reordered, 140);
  EXPECT_LT(reordered, 260);
}

TEST(LinkModelTest, ADuplicateArrivesTwiceAndACorruptedPacketWithOneFlippedBitInsideOfIt) {
  LinkModel link({.corrupt = 1, .duplicate = 0.5}, 1);
  int twice = 0;
  std::set<std::uint32_t> bits;
  for (int i = 0; i < 1000; ++i) {
    const auto passage = link.Send(kBegin, 2);
    ASSERT_EQ(passage.fate, Fate::kArrives);
    int flipped = 0;
    for (const auto& arrival : passage.arrivals()) {
      EXPECT_EQ(arrival.time, kBegin);
      if (!arrival.flipped_bit) continue;
      ++flipped;
      bits.insert(*arrival.flipped_bit);
    }
    EXPECT_EQ(flipped, 1) << "of the copies, one";
    if (passage.count == 2) ++twice;
  }
  EXPECT_GT(twice, 400);
  EXPECT_LT(twice, 600);
  EXPECT_THAT(bits, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

TEST(LinkModelTest, OneSeedGivesTheSameRunTwice) {
  const auto run = [](std::uint64_t seed) {
    LinkOptions options = Rated(9000);
    options.jitter = 3ms;
    options.loss = options.corrupt = options.duplicate = options.reorder = 0.1;
    options.reorder_by = 7ms;
    LinkModel link(options, seed);
    std::vector<std::tuple<Fate, TimePoint, std::uint32_t>> trace;
    for (int i = 0; i < 2000; ++i) {
      const auto passage = link.Send(kBegin + i * 700us, 40 + static_cast<std::size_t>(i) % 1460);
      trace.emplace_back(passage.fate, TimePoint::min(), 0);
      for (const auto& arrival : passage.arrivals()) {
        trace.emplace_back(passage.fate, arrival.time, arrival.flipped_bit.value_or(UINT32_MAX));
      }
    }
    return trace;
  };
  EXPECT_EQ(run(3), run(3));
  EXPECT_NE(run(3), run(4));
}

TEST(LinkModelTest, OptionsThatMeanNothingAreRefused) {
  EXPECT_TRUE(LinkOptions{}.Validate().ok());
  EXPECT_TRUE(Rated(1).Validate().ok());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const LinkOptions& options : std::vector<LinkOptions>{
           {.rate_bits_per_s = -1, .queue_bytes = 1},
           {.rate_bits_per_s = nan, .queue_bytes = 1},
           {.rate_bits_per_s = std::numeric_limits<double>::infinity(), .queue_bytes = 1},
           {.rate_bits_per_s = 1},
           {.delay = -1ms},
           {.jitter = -1ms},
           {.loss = 1.01},
           {.loss = -0.01},
           {.corrupt = nan},
           {.duplicate = 2},
           {.reorder = -1, .reorder_by = 1ms},
           {.reorder = 0.1},
           {.reorder_by = -1ms},
       }) {
    EXPECT_FALSE(options.Validate().ok());
  }
}

}  // namespace
}  // namespace ds::udp_transfer
