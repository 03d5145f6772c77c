#include "tests/sim/link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <utility>
#include <vector>

namespace ds::sim {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::Le;

std::vector<std::byte> Datagram(std::size_t size, int first = 0) {
  std::vector<std::byte> bytes(size);
  if (size > 0) bytes[0] = static_cast<std::byte>(first);
  return bytes;
}

/// A link and what came out of it.
struct World {
  explicit World(const Link::Options& options, std::uint64_t seed = 1)
      : scheduler(seed), link(scheduler, options, [this](std::vector<std::byte> datagram) {
          times.push_back(scheduler.now() - begin);
          arrived.push_back(std::move(datagram));
        }) {}
  void Run() { scheduler.Run(begin + std::chrono::hours(24)); }
  std::vector<int> Firsts() const {
    std::vector<int> firsts;
    for (const auto& datagram : arrived) firsts.push_back(std::to_integer<int>(datagram.at(0)));
    return firsts;
  }

  Scheduler scheduler;
  TimePoint begin = scheduler.now();
  std::vector<Duration> times;
  std::vector<std::vector<std::byte>> arrived;
  Link link;
};

TEST(LinkTest, DatagramsArriveAfterTheirTransmissionAndTheDelay) {
  World world({.rate_bits_per_s = 8e6, .overhead_bytes = 28, .delay = 10ms});  // a byte is 1 µs
  world.link.Send(Datagram(972));
  world.link.Send(Datagram(472));
  EXPECT_EQ(world.link.QueueingDelay(), 1500us);
  world.Run();
  EXPECT_THAT(world.times, ElementsAre(11ms, 11500us));
  EXPECT_THAT(world.arrived, ElementsAre(Datagram(972), Datagram(472)));
  EXPECT_EQ(world.link.counters().passed_bytes, 1500U);
  EXPECT_EQ(world.link.QueueingDelay(), 0s);
}

TEST(LinkTest, DatagramWithoutItsTailCountsWithIt) {
  World world({.rate_bits_per_s = 8e6});
  world.link.Send(Datagram(8), 1000);
  world.Run();
  EXPECT_THAT(world.times, ElementsAre(1ms));
  EXPECT_THAT(world.arrived, ElementsAre(Datagram(8)));
}

TEST(LinkTest, FullQueueDropsWhatComesLast) {
  World world({.rate_bits_per_s = 8e6, .queue_bytes = 250});
  for (const int i : {1, 2, 3, 4}) world.link.Send(Datagram(100, i));  // 1 is being sent
  world.link.Send(Datagram(50, 5));                                    // fits
  EXPECT_EQ(world.link.queued_bytes(), 250U);
  world.scheduler.After(150us, [&] { world.link.Send(Datagram(100, 6)); });  // there is room again
  world.Run();
  EXPECT_THAT(world.Firsts(), ElementsAre(1, 2, 3, 5, 6));
  EXPECT_EQ(world.link.counters().queue_full, 1U);
}

TEST(LinkTest, ChangedRateAndDelayHoldForWhatLeavesLater) {
  World world({.rate_bits_per_s = 8e6, .delay = 1ms});
  for (int i = 0; i < 3; ++i) world.link.Send(Datagram(1000));
  world.scheduler.After(1500us, [&] {  // the second is being sent
    world.link.options().rate_bits_per_s = 4e6;
    world.link.options().delay = 5ms;
  });
  world.Run();
  EXPECT_THAT(world.times, ElementsAre(2ms, 7ms, 9ms));
}

TEST(LinkTest, ShorterDelayDoesNotReorder) {
  World world({.rate_bits_per_s = 8e6, .delay = 50ms});
  for (const int i : {1, 2}) world.link.Send(Datagram(1000, i));
  world.scheduler.After(1500us, [&] { world.link.options().delay = 1ms; });
  world.Run();
  EXPECT_THAT(world.Firsts(), ElementsAre(1, 2));
  EXPECT_THAT(world.times, ElementsAre(51ms, 51ms));
}

TEST(LinkTest, JitterDelaysWithinItsRangeAndDoesNotReorder) {
  World world({.rate_bits_per_s = 8e6, .delay = 10ms, .jitter = 4ms});
  for (int i = 0; i < 200; ++i) world.link.Send(Datagram(100, i));
  world.Run();
  ASSERT_EQ(world.times.size(), 200U);
  std::vector<Duration> late;
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(std::to_integer<int>(world.arrived[static_cast<std::size_t>(i)][0]), i);
    late.push_back(world.times[static_cast<std::size_t>(i)] - (i + 1) * 100us - 10ms);
  }
  EXPECT_THAT(late, Each(AllOf(Ge(0s), Le(4ms))));
  EXPECT_GT(*std::max_element(late.begin(), late.end()), 3ms);
}

TEST(LinkTest, TooBigDatagramsAreNotSent) {
  World world({.overhead_bytes = 28, .mtu = 1500});
  world.link.Send(Datagram(1472, 1));
  world.link.Send(Datagram(1473, 2));
  world.Run();
  EXPECT_THAT(world.Firsts(), ElementsAre(1));
  EXPECT_EQ(world.link.counters().too_big, 1U);
}

TEST(LinkTest, LossHasItsProbability) {
  World world({.loss = 0.1});
  for (int i = 0; i < 20'000; ++i) world.link.Send(Datagram(10));
  world.Run();
  EXPECT_NEAR(static_cast<double>(world.link.counters().lost), 2000, 200);  // 5 sigma
  EXPECT_EQ(world.arrived.size(), 20'000 - world.link.counters().lost);
}

TEST(LinkTest, CorruptionFlipsOneBitAnywhere) {
  World world({.corruption = 1});
  for (int i = 0; i < 2000; ++i) world.link.Send(Datagram(4));
  world.link.Send({});  // has no bit
  world.Run();
  std::vector<int> flips(32);
  for (const auto& datagram : world.arrived) {
    int flipped = 0;
    for (std::size_t i = 0; i < datagram.size(); ++i) {
      const auto byte = std::to_integer<unsigned>(datagram[i]);
      flipped += std::popcount(byte);
      if (byte != 0) ++flips[8 * i + static_cast<std::size_t>(std::countr_zero(byte))];
    }
    EXPECT_EQ(flipped, datagram.empty() ? 0 : 1);
  }
  EXPECT_THAT(flips, Each(Ge(20)));
  EXPECT_EQ(world.link.counters().corrupted, 2000U);
}

TEST(LinkTest, DuplicatesArriveTwice) {
  World world({.duplication = 1});
  for (const int i : {1, 2}) world.link.Send(Datagram(10, i));
  world.Run();
  EXPECT_THAT(world.Firsts(), ElementsAre(1, 1, 2, 2));
  EXPECT_EQ(world.link.counters().duplicated, 2U);
}

TEST(LinkTest, ReorderedDatagramsAreOvertaken) {
  World world({.rate_bits_per_s = 8e6, .reordering = 1, .reordering_delay = 2500us});
  world.link.Send(Datagram(1000, 1));
  world.scheduler.After(1ms, [&] { world.link.options().reordering = 0; });
  for (const int i : {2, 3, 4}) {
    world.scheduler.After(1ms, [&world, i] { world.link.Send(Datagram(1000, i)); });
  }
  world.Run();
  EXPECT_THAT(world.Firsts(), ElementsAre(2, 3, 1, 4));
  EXPECT_EQ(world.link.counters().reordered, 1U);
}

TEST(LinkTest, BurstsOfLossHaveTheirMeanLengthAndShare) {
  World world({.good_to_bad = 0.01, .bad_to_good = 0.1});
  for (int i = 0; i < 100'000; ++i) world.link.Send(Datagram(4, i));
  world.Run();
  const auto lost = static_cast<double>(world.link.counters().lost);
  EXPECT_NEAR(lost / 100'000, 0.01 / 0.11, 0.015);
  int bursts = 0;
  const std::vector<int> firsts = world.Firsts();
  for (std::size_t i = 1; i < firsts.size(); ++i)
    bursts += (firsts[i] - firsts[i - 1] + 256) % 256 != 1;
  EXPECT_NEAR(lost / bursts, 10, 1.5);
}

TEST(LinkTest, CountersAddUpAndOneSeedGivesOneRun) {
  const auto run = [](std::uint64_t seed) {
    World world({.rate_bits_per_s = 8e6,
                 .queue_bytes = 5000,
                 .mtu = 900,
                 .delay = 3ms,
                 .jitter = 1ms,
                 .loss = 0.1,
                 .corruption = 0.1,
                 .duplication = 0.1,
                 .reordering = 0.1,
                 .reordering_delay = 2ms,
                 .good_to_bad = 0.02,
                 .bad_to_good = 0.3},
                seed);
    for (int i = 0; i < 500; ++i) {
      world.scheduler.After(world.scheduler.rng().Between(0s, 200ms), [&world] {
        world.link.Send(Datagram(world.scheduler.rng().Below(1000) + 1, 7));
      });
    }
    world.Run();
    const Link::Counters& counters = world.link.counters();
    EXPECT_EQ(counters.sent, 500U);
    EXPECT_EQ(counters.sent, counters.too_big + counters.queue_full + counters.passed);
    EXPECT_EQ(counters.delivered, counters.passed - counters.lost + counters.duplicated);
    EXPECT_EQ(counters.delivered, world.arrived.size());
    for (const std::uint64_t count :
         {counters.too_big, counters.queue_full, counters.lost, counters.corrupted,
          counters.duplicated, counters.reordered}) {
      EXPECT_GT(count, 0U);
    }
    return std::pair(world.times, world.arrived);
  };
  EXPECT_EQ(run(3), run(3));
  EXPECT_NE(run(3), run(4));
}

}  // namespace
}  // namespace ds::sim
