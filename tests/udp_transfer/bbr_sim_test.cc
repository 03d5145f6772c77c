#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <ostream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/sim/explore.h"
#include "tests/udp_transfer/flow_model.h"

// Flows on simulated links. All times are virtual, so the figures are exact for a seed; the bounds
// hold for each of the seeds. ARCHITECTURE.md, "Congestion control", lists what comes out.

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;
using Phase = Bbr::Phase;

/// A bottleneck with datagrams as on Ethernet; a queue in round trips at full rate.
struct Bottleneck {
  double mbit = 100;
  Duration rtt = 50ms;
  double queue = 1;
  double loss = 0;
  Flow::Options flow{};

  double path_bytes() const { return mbit * 1e6 / 8 * ToSeconds(rtt); }
  sim::Link::Options link() const {
    sim::Link::Options options;
    options.rate_bits_per_s = mbit * 1e6;
    options.queue_bytes = static_cast<std::size_t>(queue * path_bytes());
    options.overhead_bytes = 28;
    options.delay = rtt / 2;
    options.loss = loss;
    return options;
  }
  /// Of file data, when the bottleneck is never idle and nothing is sent that need not be.
  double ideal_mbit() const {
    return mbit * (1 - loss) * static_cast<double>(flow.payload_bytes) /
           static_cast<double>(flow.datagram_bytes + 28);
  }
};

class World {
 public:
  explicit World(const Bottleneck& bottleneck, std::uint64_t seed = 1)
      : World(bottleneck, bottleneck.link(), seed) {}
  World(const Bottleneck& bottleneck, const sim::Link::Options& link, std::uint64_t seed = 1)
      : scheduler(seed), path(scheduler, link), bottleneck_(bottleneck), seed_(seed) {
    Sample();
  }

  Flow& AddOurs(double rate_max = std::numeric_limits<double>::infinity()) {
    const std::size_t bytes = bottleneck_.flow.datagram_bytes;
    auto control = std::make_unique<BbrControl>(Bbr::Options{.datagram_bytes = bytes,
                                                             .initial_window = 32 * bytes,
                                                             .initial_rtt = bottleneck_.rtt,
                                                             .rate_max = rate_max},
                                                seed_ + flows.size());
    ours.push_back(&control->bbr);
    return Add(std::move(control));
  }
  Flow& Add(std::unique_ptr<Control> control) {
    flows.push_back(std::make_unique<Flow>(path, std::move(control), bottleneck_.flow));
    return *flows.back();
  }

  void RunFor(Duration duration) { scheduler.Run(scheduler.now() + duration); }
  /// Until it has sent all: after how long. Fails when it does not get there.
  Duration RunUntilDone(const Flow& flow, Duration limit) {
    const TimePoint begin = scheduler.now();
    while (!flow.done() && scheduler.now() - begin < limit) RunFor(1ms);
    EXPECT_TRUE(flow.done());
    return scheduler.now() - begin;
  }
  /// Of file data, in the next `duration`.
  double Mbit(const Flow& flow, Duration duration) {
    const std::uint64_t before = flow.delivered_bytes();
    RunFor(duration);
    return static_cast<double>(flow.delivered_bytes() - before) * 8e-6 / ToSeconds(duration);
  }
  /// Of the queueing delay, sampled each millisecond since the last call; shares in [0, 1].
  std::vector<Duration> QueueQuantiles(const std::vector<double>& shares) {
    std::vector<Duration> sorted = std::exchange(queueing_delays_, {});
    std::sort(sorted.begin(), sorted.end());
    std::vector<Duration> quantiles;
    for (const double share : shares) {
      quantiles.push_back(
          sorted.at(static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))));
    }
    return quantiles;
  }
  Duration QueueQuantile(double share) { return QueueQuantiles({share})[0]; }
  void ForgetQueue() { queueing_delays_.clear(); }
  /// Share of the link's time in `duration` in which it sends.
  double Utilisation(Duration duration) {
    const std::uint64_t before = path.forward.counters().passed_bytes;
    RunFor(duration);
    return static_cast<double>(path.forward.counters().passed_bytes - before) * 8 /
           path.forward.options().rate_bits_per_s / ToSeconds(duration);
  }

  sim::Scheduler scheduler;
  Path path;
  std::vector<std::unique_ptr<Flow>> flows;
  std::vector<Bbr*> ours;

 private:
  void Sample() {
    queueing_delays_.push_back(path.forward.QueueingDelay());
    scheduler.After(1ms, [this] { Sample(); });
  }

  Bottleneck bottleneck_;
  std::uint64_t seed_;
  std::vector<Duration> queueing_delays_;
};

constexpr std::uint64_t kMiB = 1 << 20;

template <typename Body>
void ForSeeds(std::uint64_t runs, Body body) {
  const sim::Seeds seeds = sim::SeedsFromEnvironment(runs);
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.runs; ++seed) {
    SCOPED_TRACE(fmt::format("DS_SIM_SEED={}", seed));
    body(seed);
  }
}

// What the specification demands of whole transfers.

TEST(BbrGoodputTest, FileOf128MiBWithOnePercentLossComesAt92Mbit) {
  ForSeeds(3, [](std::uint64_t seed) {
    World world({.loss = 0.01}, seed);
    Flow& flow = world.AddOurs();
    flow.Send(128 * kMiB);
    // Two round trips more for the hello and for the outcome.
    const Duration took = world.RunUntilDone(flow, 20s) + 100ms;
    EXPECT_GE(128.0 * kMiB * 8e-6 / ToSeconds(took), 92);
  });
}

TEST(BbrGoodputTest, FileOf128MiBWithFivePercentLossAnd100MsComesAt83Mbit) {
  ForSeeds(3, [](std::uint64_t seed) {
    World world({.rtt = 100ms, .loss = 0.05}, seed);
    Flow& flow = world.AddOurs();
    flow.Send(128 * kMiB);
    const Duration took = world.RunUntilDone(flow, 20s) + 200ms;
    EXPECT_GE(128.0 * kMiB * 8e-6 / ToSeconds(took), 83);
  });
}

struct Profile {
  Duration rtt;
  double loss;
};
std::string ProfileName(const ::testing::TestParamInfo<Profile>& info) {
  return fmt::format("{}Ms{}Percent", info.param.rtt / 1ms, std::lround(info.param.loss * 100));
}
class BbrProfileTest : public ::testing::TestWithParam<Profile> {};
INSTANTIATE_TEST_SUITE_P(All, BbrProfileTest,
                         ::testing::Values(Profile{50ms, 0}, Profile{50ms, 0.01},
                                           Profile{50ms, 0.05}, Profile{100ms, 0.05},
                                           Profile{200ms, 0.1}),
                         ProfileName);

TEST_P(BbrProfileTest, TenRoundTripsAfterTheBeginItIsWithin3PercentOfTheIdeal) {
  ForSeeds(3, [](std::uint64_t seed) {
    const Bottleneck bottleneck{.rtt = GetParam().rtt, .loss = GetParam().loss};
    World world(bottleneck, seed);
    Flow& flow = world.AddOurs();
    flow.SendForEver();
    world.RunFor(10 * bottleneck.rtt);
    EXPECT_GE(world.Mbit(flow, 20s), 0.97 * bottleneck.ideal_mbit());
  });
}

TEST_P(BbrProfileTest, StandingQueueIsShort) {
  ForSeeds(3, [](std::uint64_t seed) {
    const Bottleneck bottleneck{.rtt = GetParam().rtt, .queue = 4, .loss = GetParam().loss};
    World world(bottleneck, seed);
    world.AddOurs().SendForEver();
    world.RunFor(20 * bottleneck.rtt);
    world.ForgetQueue();
    world.RunFor(20s);
    const std::vector<Duration> delays = world.QueueQuantiles({0.5, 0.95});
    EXPECT_LE(delays[0], bottleneck.rtt / 10);
    EXPECT_LE(delays[1], bottleneck.rtt * 6 / 10) << "when it asks for more";
  });
}

TEST_P(BbrProfileTest, HardlyMoreIsSentThanTheWireLoses) {
  ForSeeds(3, [](std::uint64_t seed) {
    const Bottleneck bottleneck{.rtt = GetParam().rtt, .loss = GetParam().loss};
    World world(bottleneck, seed);
    Flow& flow = world.AddOurs();
    flow.SendForEver();
    world.RunFor(20s);
    EXPECT_LE(static_cast<double>(flow.packets_lost()),
              (GetParam().loss + 0.01) * static_cast<double>(flow.packets_sent()));
  });
}

TEST_P(BbrProfileTest, LossOfTheWireIsMeasured) {
  ForSeeds(3, [](std::uint64_t seed) {
    World world({.rtt = GetParam().rtt, .loss = GetParam().loss}, seed);
    world.AddOurs().SendForEver();
    world.RunFor(20s);
    EXPECT_NEAR(world.ours[0]->wire_loss(), GetParam().loss, 0.02);
  });
}

TEST_P(BbrProfileTest, RateIsReachedWithinTheFirstRoundTrips) {
  ForSeeds(3, [](std::uint64_t seed) {
    const Bottleneck bottleneck{.rtt = GetParam().rtt, .loss = GetParam().loss};
    World world(bottleneck, seed);
    world.AddOurs().SendForEver();
    // From 32 datagrams to what the path holds, doubling, after the first round trip.
    const double doublings = std::log2(bottleneck.path_bytes() / (32 * 1500));
    world.RunFor(FromSeconds((2 + doublings) * ToSeconds(bottleneck.rtt)));
    EXPECT_GE(world.Utilisation(bottleneck.rtt / 2), 0.95);
    // And the queue that this leaves is gone two round trips later.
    world.RunFor(2 * bottleneck.rtt);
    EXPECT_NE(world.ours[0]->phase(), Phase::kStartup);
    EXPECT_LE(world.path.forward.QueueingDelay(), bottleneck.rtt / 2);
  });
}

// Queues of all sizes.

TEST(BbrQueueTest, QueueOf8PacketsDoesNotKeepItFromTheRate) {
  for (const double loss : {0.0, 0.01, 0.05}) {
    const Bottleneck bottleneck{.loss = loss};
    sim::Link::Options link = bottleneck.link();
    link.queue_bytes = 8 * 1500;
    World world(bottleneck, link);
    Flow& flow = world.AddOurs();
    flow.SendForEver();
    world.RunFor(1s);
    EXPECT_GE(world.Mbit(flow, 20s), 0.97 * bottleneck.ideal_mbit()) << loss;
    EXPECT_LE(static_cast<double>(flow.packets_lost()),
              (loss + 0.1) * static_cast<double>(flow.packets_sent()));
    EXPECT_NEAR(world.ours[0]->wire_loss(), loss, 0.02) << "what the queue drops is not the wire's";
  }
}

TEST(BbrQueueTest, EndlessQueueIsNotFilled) {
  const Bottleneck bottleneck{.queue = 1000};
  World world(bottleneck);
  Flow& flow = world.AddOurs();
  flow.SendForEver();
  world.RunFor(20s);
  EXPECT_LE(world.QueueQuantile(1), 2 * bottleneck.rtt) << "of the start too";
  EXPECT_EQ(flow.packets_lost(), 0U);
}

// Paths that change.

TEST(BbrChangeTest, HalvedRateIsFoundAndTheQueueGoes) {
  ForSeeds(3, [](std::uint64_t seed) {
    World world({.queue = 8}, seed);
    Flow& flow = world.AddOurs();
    flow.SendForEver();
    world.RunFor(5s);
    world.path.forward.options().rate_bits_per_s = 50e6;
    world.ForgetQueue();
    world.RunFor(5s);
    EXPECT_LE(world.QueueQuantile(1), 4 * 50ms);
    EXPECT_GE(world.Mbit(flow, 5s), 0.97 * 48);
    EXPECT_LE(world.QueueQuantile(0.5), 5ms);
    EXPECT_EQ(flow.packets_lost(), 0U);
  });
}

TEST(BbrChangeTest, DoubledRateIsFoundWithin35RoundTrips) {
  ForSeeds(3, [](std::uint64_t seed) {
    World world({.mbit = 50}, seed);
    world.AddOurs().SendForEver();
    world.RunFor(5s);
    world.path.forward.options().rate_bits_per_s = 100e6;
    world.RunFor(35 * 50ms);
    EXPECT_GE(world.Utilisation(5s), 0.98);
  });
}

TEST(BbrChangeTest, LongerRoundTripIsFoundWithin12Seconds) {
  ForSeeds(3, [](std::uint64_t seed) {
    World world({.queue = 2}, seed);
    world.AddOurs().SendForEver();
    world.RunFor(5s);
    world.path.SetRtt(100ms);
    EXPECT_GE(world.Utilisation(12s), 0.75) << "until then";
    EXPECT_NEAR(ToSeconds(world.ours[0]->min_rtt()), 0.1, 0.005);
    world.ForgetQueue();
    EXPECT_GE(world.Utilisation(10s), 0.98);
    EXPECT_LE(world.QueueQuantile(0.5), 10ms);
  });
}

TEST(BbrChangeTest, ShorterRoundTripIsFoundAtOnce) {
  World world({.rtt = 100ms});
  world.AddOurs().SendForEver();
  world.RunFor(5s);
  world.path.SetRtt(30ms);
  world.RunFor(1s);
  world.ForgetQueue();
  EXPECT_GE(world.Utilisation(10s), 0.98);
  EXPECT_LE(world.QueueQuantile(0.5), 3ms);
}

TEST(BbrChangeTest, LossThatComesAndGoesIsFollowed) {
  ForSeeds(3, [](std::uint64_t seed) {
    World world({}, seed);
    Flow& flow = world.AddOurs();
    flow.SendForEver();
    world.RunFor(5s);
    world.path.forward.options().loss = 0.1;
    world.RunFor(3s);
    EXPECT_GE(world.Mbit(flow, 5s), 0.95 * 96 * 0.9);
    world.path.forward.options().loss = 0;
    world.RunFor(3s);
    const std::uint64_t lost = flow.packets_lost();
    EXPECT_GE(world.Mbit(flow, 5s), 0.97 * 96);
    EXPECT_EQ(flow.packets_lost(), lost) << "it is not sent faster than the link for long";
    EXPECT_LE(world.ours[0]->wire_loss(), 0.01);
  });
}

TEST(BbrChangeTest, FlowOutlivesAnOutage) {
  World world({});
  Flow& flow = world.AddOurs();
  flow.SendForEver();
  world.RunFor(5s);
  world.path.forward.options().loss = 1;
  world.RunFor(3s);
  world.path.forward.options().loss = 0;
  world.RunFor(4s);  // the next probe may be as late as the outage was long
  EXPECT_GE(world.Mbit(flow, 5s), 0.95 * 96);
}

// Wires with a bad character.

TEST(BbrWireTest, BurstsOfLossDoNotMakeItCollapse) {
  struct Bursts {
    double begin, end;
  };
  for (const Bursts bursts : {Bursts{0.001, 0.05}, {0.0005, 0.02}, {0.002, 0.02}}) {
    ForSeeds(3, [&](std::uint64_t seed) {
      const Bottleneck bottleneck{.loss = bursts.begin / (bursts.begin + bursts.end)};
      sim::Link::Options link = bottleneck.link();
      link.loss = 0;
      link.good_to_bad = bursts.begin;
      link.bad_to_good = bursts.end;
      World world(bottleneck, link, seed);
      Flow& flow = world.AddOurs();
      flow.SendForEver();
      world.RunFor(2s);
      EXPECT_GE(world.Mbit(flow, 20s), 0.93 * bottleneck.ideal_mbit()) << bursts.begin;
    });
  }
}

TEST(BbrWireTest, JitterOfAFifthOfTheRoundTripCostsLittle) {
  const Bottleneck bottleneck{.queue = 4};
  sim::Link::Options link = bottleneck.link();
  link.jitter = 10ms;
  World world(bottleneck, link);
  Flow& flow = world.AddOurs();
  flow.SendForEver();
  world.RunFor(2s);
  EXPECT_GE(world.Mbit(flow, 20s), 0.95 * bottleneck.ideal_mbit());
  EXPECT_EQ(flow.packets_lost(), 0U);
}

TEST(BbrWireTest, LumpsOfAcknowledgementsDoNotSlowItDown) {
  Bottleneck bottleneck{};
  bottleneck.flow.packets_per_ack = 64;  // 8 ms
  bottleneck.flow.ack_delay = 20ms;
  World world(bottleneck);
  Flow& flow = world.AddOurs();
  flow.SendForEver();
  world.RunFor(2s);
  EXPECT_GE(world.Mbit(flow, 20s), 0.97 * bottleneck.ideal_mbit());
}

TEST(BbrWireTest, LoopbackOf10GbitIsFilledByDatagramsOf64KiB) {
  for (const Duration rtt : {50us, 100us, 200us}) {
    for (const Duration grain : {Duration(0), Duration(1ms)}) {
      Bottleneck bottleneck{.mbit = 10'000, .rtt = rtt};
      bottleneck.flow = {
          .datagram_bytes = 65'480, .payload_bytes = 65'440, .timer_granularity = grain};
      sim::Link::Options link = bottleneck.link();
      link.queue_bytes = 2'000'000;
      World world(bottleneck, link);
      Flow& flow = world.AddOurs();
      flow.SendForEver();
      world.RunFor(20ms);
      EXPECT_GE(world.Mbit(flow, 1s), 0.97 * bottleneck.ideal_mbit());
      EXPECT_LE(static_cast<double>(flow.packets_lost()),
                0.01 * static_cast<double>(flow.packets_sent()));
    }
  }
}

TEST(BbrWireTest, SlowLinkIsFilledToo) {
  const Bottleneck bottleneck{.mbit = 1, .queue = 4};
  World world(bottleneck);
  Flow& flow = world.AddOurs();
  flow.SendForEver();
  world.RunFor(5s);
  EXPECT_GE(world.Mbit(flow, 20s), 0.97 * bottleneck.ideal_mbit());
  EXPECT_LE(world.QueueQuantile(0.95), 200ms) << "the window is four datagrams, each takes 12 ms";
}

// Applications with less to send.

TEST(BbrAppLimitTest, PausesAndTricklesLeaveTheEstimateAlone) {
  World world({});
  Flow& flow = world.AddOurs();
  flow.Send(30 * kMiB);
  world.RunUntilDone(flow, 5s);
  const double bandwidth = world.ours[0]->bandwidth();
  EXPECT_NEAR(bandwidth * 8e-6, 98, 2);
  for (int i = 0; i < 1000; ++i) {  // 1 Mbit/s for 8 s
    flow.Send(1000);
    world.RunFor(8ms);
  }
  EXPECT_NEAR(world.ours[0]->bandwidth(), bandwidth, 0.03 * bandwidth);
  world.RunFor(30s);  // and then nothing at all
  flow.SendForEver();
  world.RunFor(100ms);
  EXPECT_GE(world.Mbit(flow, 1s), 0.93 * 96) << "goes on where it was";
  EXPECT_NE(world.ours[0]->phase(), Phase::kProbeRtt);
}

TEST(BbrAppLimitTest, RateLimitIsKeptWithoutAQueue) {
  World world({});
  Flow& flow = world.AddOurs(20e6 / 8);
  flow.SendForEver();
  world.RunFor(1s);
  world.ForgetQueue();
  EXPECT_NEAR(world.Mbit(flow, 10s), 20 * 1444.0 / 1472, 0.3);
  EXPECT_LE(world.QueueQuantile(0.95), 2ms);
}

// Neighbours.

struct Pair {
  char first;  ///< o: ours, c: like CUBIC, b: like BBR's first version
  char second;
  double queue;
  double mbit = 100;
  Duration rtt = 50ms;
  double at_least = 0.33;  ///< of the link, for each of the two
};
void PrintTo(const Pair& pair, std::ostream* out) { *out << pair.first << pair.second; }
std::string PairName(const ::testing::TestParamInfo<Pair>& info) {
  const auto name = [](char kind) {
    return kind == 'o' ? "Ours" : kind == 'c' ? "Cubic" : "BbrV1";
  };
  return fmt::format("{}Then{}Queue{}Percent{}Mbit{}Ms", name(info.param.first),
                     name(info.param.second), static_cast<int>(info.param.queue * 100),
                     info.param.mbit, info.param.rtt / 1ms);
}
class BbrFairnessTest : public ::testing::TestWithParam<Pair> {};
INSTANTIATE_TEST_SUITE_P(
    All, BbrFairnessTest,
    ::testing::Values(Pair{'o', 'c', 0.5}, Pair{'c', 'o', 0.5}, Pair{'o', 'c', 1},
                      Pair{'c', 'o', 1}, Pair{'o', 'c', 2}, Pair{'c', 'o', 2}, Pair{'o', 'b', 0.5},
                      Pair{'b', 'o', 0.5}, Pair{'o', 'b', 1}, Pair{'b', 'o', 1}, Pair{'o', 'b', 2},
                      Pair{'b', 'o', 2}, Pair{'o', 'o', 0.5}, Pair{'o', 'o', 1}, Pair{'o', 'o', 2},
                      // Smaller links, the harder of the two orders.
                      Pair{'o', 'c', 0.5, 20, 20ms}, Pair{'b', 'o', 1, 20, 20ms},
                      Pair{'o', 'o', 0.5, 20, 20ms}, Pair{'o', 'c', 0.5, 10, 60ms, 0.3}),
    PairName);

TEST_P(BbrFairnessTest, BothKeepAThird) {
  ForSeeds(3, [](std::uint64_t seed) {
    const Pair& pair = GetParam();
    const Bottleneck bottleneck{.mbit = pair.mbit, .rtt = pair.rtt, .queue = pair.queue};
    World world(bottleneck, seed);
    const auto add = [&](char kind) -> Flow& {
      if (kind == 'o') return world.AddOurs();
      return world.Add(kind == 'c' ? MakeCubic(bottleneck.flow.datagram_bytes)
                                   : MakeBbrV1(bottleneck.flow.datagram_bytes));
    };
    Flow& first = add(pair.first);
    first.SendForEver();
    world.RunFor(1s);
    Flow& second = add(pair.second);
    second.SendForEver();
    world.RunFor(10s);
    const std::uint64_t before = first.delivered_bytes();
    const double second_mbit = world.Mbit(second, 50s);
    const double first_mbit = static_cast<double>(first.delivered_bytes() - before) * 8e-6 / 50;
    EXPECT_GE(first_mbit, pair.at_least * bottleneck.ideal_mbit());
    EXPECT_GE(second_mbit, pair.at_least * bottleneck.ideal_mbit());
    EXPECT_GE(first_mbit + second_mbit, 0.95 * bottleneck.ideal_mbit());
  });
}

TEST(BbrNeighbourTest, LinkIsTakenBackWhenTheNeighbourIsDone) {
  for (const bool cubic : {true, false}) {
    World world({});
    world.AddOurs().SendForEver();
    world.RunFor(1s);
    Flow& other = world.Add(cubic ? MakeCubic(1472) : MakeBbrV1(1472));
    other.Send(64 * kMiB);
    world.RunUntilDone(other, 60s);
    world.RunFor(3s);
    world.ForgetQueue();
    EXPECT_GE(world.Utilisation(5s), 0.97);
    EXPECT_LE(world.QueueQuantile(0.5), 5ms);
  }
}

TEST(BbrNeighbourTest, LossOfTheWireIsToldFromTheNeighbours) {
  World world({.queue = 0.5});
  world.AddOurs().SendForEver();
  world.RunFor(1s);
  world.Add(MakeBbrV1(1472)).SendForEver();
  world.RunFor(30s);
  EXPECT_LE(world.ours[0]->wire_loss(), 0.02) << "though a tenth is dropped by the full queue";
}

TEST(BbrNeighbourTest, EightFlowsShareFairly) {
  World world({.queue = 1});
  for (int i = 0; i < 8; ++i) {
    world.AddOurs().SendForEver();
    world.RunFor(500ms);
  }
  world.RunFor(20s);
  double sum = 0;
  double squares = 0;
  std::vector<std::uint64_t> before;
  for (const auto& flow : world.flows) before.push_back(flow->delivered_bytes());
  world.RunFor(40s);
  for (std::size_t i = 0; i < 8; ++i) {
    const auto bytes = static_cast<double>(world.flows[i]->delivered_bytes() - before[i]);
    sum += bytes;
    squares += bytes * bytes;
  }
  EXPECT_GE(sum * sum / (8 * squares), 0.85) << "Jain's index";
  EXPECT_GE(sum * 8e-6 / 40, 0.95 * 96);
}

// The core is a function of its inputs.

TEST(BbrSeedTest, SeedDeterminesTheRun) {
  const auto run = [](std::uint64_t seed) {
    World world({.loss = 0.02}, seed);
    Flow& flow = world.AddOurs();
    flow.SendForEver();
    world.RunFor(5s);
    const Bbr& bbr = *world.ours[0];
    return std::tuple(flow.delivered_bytes(), bbr.pacing_rate(), bbr.congestion_window(),
                      bbr.bandwidth(), bbr.wire_loss(), world.scheduler.steps());
  };
  EXPECT_EQ(run(5), run(5));
  EXPECT_NE(run(5), run(6));
}

}  // namespace
}  // namespace ds::udp_transfer
