#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/explore.h"
#include "tests/sim/link.h"
#include "tests/sim/scheduler.h"
#include "tests/udp_transfer/connection_end.h"
#include "udp_transfer/core/connection.h"

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kUdpHeaderBytes = 28;

/// A client, a server, and the path between them.
struct World {
  struct Options {
    sim::Link::Options to_server;
    sim::Link::Options to_client;
    Connection::Options client;
    Connection::Options server;
    std::uint64_t up_bytes = 0;
    std::uint64_t down_bytes = 0;

    void SetBuffers(std::size_t bytes) {
      for (Connection::Options* each : {&client, &server}) {
        each->send_buffer = each->receive_buffer = bytes;
      }
      client.peer_limit = server.receive_buffer;
    }
  };

  static Options Symmetric(const sim::Link::Options& link) {
    Options options;
    options.to_server = options.to_client = link;
    for (sim::Link::Options* each : {&options.to_server, &options.to_client}) {
      each->overhead_bytes = kUdpHeaderBytes;
      if (each->mtu > 65535) each->mtu = 1500;
    }
    for (Connection::Options* each : {&options.client, &options.server}) {
      each->id = 7;
      each->tag_bytes = ConnectionEnd::kTagBytes;
      each->datagram_max = 1472;
      each->initial_rtt = 2 * link.delay + 1ms;
    }
    options.server.role = Connection::Role::kServer;
    options.SetBuffers(1U << 20U);
    return options;
  }

  World(std::uint64_t seed, const Options& options)
      : scheduler(seed),
        to_server(scheduler, options.to_server,
                  [this](std::vector<std::byte> datagram) { server.Deliver(std::move(datagram)); }),
        to_client(scheduler, options.to_client,
                  [this](std::vector<std::byte> datagram) { client.Deliver(std::move(datagram)); }),
        client("client", scheduler, options.client, {.bytes = options.up_bytes, .seed = seed},
               {.bytes = options.down_bytes, .seed = ~seed},
               [this](std::span<const std::byte> datagram) { to_server.Send(datagram); }),
        server("server", scheduler, options.server, {.bytes = options.down_bytes, .seed = ~seed},
               {.bytes = options.up_bytes, .seed = seed},
               [this](std::span<const std::byte> datagram) { to_client.Send(datagram); }) {
    client.CloseWhenComplete();
  }

  /// Runs until nothing is left to do, and says so when that was not a proper end: the client knows
  /// that all has arrived, and the server has it all and has ended too. That the server knows of
  /// the end cannot be promised: the last packet may be the one that is lost.
  void RunToTheEnd(Duration limit) {
    client.Pump();
    const TimePoint begin = scheduler.now();
    scheduler.Run(begin + limit);
    if (scheduler.failed()) return;
    if (!client.complete() || !server.connection().PeerFinished()) {
      scheduler.Fail(fmt::format("not complete: {} of {} bytes up, {} of {} down; {}; {}",
                                 server.bytes_read(), server.read().bytes, client.bytes_read(),
                                 client.read().bytes, Ending(client), Ending(server)));
    } else if (client.connection().state() != Connection::State::kClosed ||
               server.connection().state() != Connection::State::kClosed) {
      scheduler.Fail("an end stays open");
    }
    scheduler.Trace("complete after {} s", ToSeconds(client.completed_at() - begin));
  }

  static std::string Ending(ConnectionEnd& end) {
    return end.connection().state() == Connection::State::kOpen
               ? "open"
               : fmt::format("'{}'", end.connection().close_reason().text);
  }

  sim::Scheduler scheduler;
  sim::Link to_server;
  sim::Link to_client;
  ConnectionEnd client;
  ConnectionEnd server;
};

// Thousands of short runs: whatever the network does, both streams arrive as they were sent.

enum class Kind { kOutage, kLoss, kBurstLoss, kReordering, kDuplication, kCorruption, kSmallMtu };

/// For a while one direction is worse.
struct Episode {
  Kind kind = Kind::kOutage;
  Duration begin{0};
  Duration length{0};
  bool to_server = false;
};

std::string Describe(const Episode& episode) {
  constexpr std::array kNames{"outage",      "loss",       "burst loss", "reordering",
                              "duplication", "corruption", "small mtu"};
  return fmt::format(
      "{} to the {} from {:.3f} s, for {:.3f} s", kNames.at(static_cast<std::size_t>(episode.kind)),
      episode.to_server ? "server" : "client", ToSeconds(episode.begin), ToSeconds(episode.length));
}

void Apply(Kind kind, sim::Link::Options& link) {
  switch (kind) {
    case Kind::kOutage:
      link.loss = 1;
      break;
    case Kind::kLoss:
      link.loss = 0.5;
      break;
    case Kind::kBurstLoss:
      link.good_to_bad = 0.05;
      link.bad_to_good = 0.2;
      break;
    case Kind::kReordering:
      link.reordering = 0.5;
      link.reordering_delay = 3 * link.delay + 5ms;
      break;
    case Kind::kDuplication:
      link.duplication = 0.7;
      break;
    case Kind::kCorruption:
      link.corruption = 0.4;
      break;
    case Kind::kSmallMtu:
      link.mtu = MtuSearch::kBase + kUdpHeaderBytes;
      break;
  }
}

/// The seed chooses the cell of the matrix: loss x reordering x duplication x corruption.
sim::RunResult RunMatrix(std::uint64_t seed, const std::vector<Episode>& episodes) {
  constexpr std::array kLoss{0.0, 0.01, 0.1, 0.3};
  constexpr std::array kReordering{0.0, 0.05, 0.3};
  constexpr std::array kDuplication{0.0, 0.1};
  constexpr std::array kCorruption{0.0, 0.05};
  Rng rng(seed * 7919);
  sim::Link::Options link;
  std::uint64_t cell = seed;
  const auto from = [&cell](const auto& values) {
    const std::uint64_t at = cell % values.size();
    cell /= values.size();
    return values[at];
  };
  link.loss = from(kLoss);
  link.reordering = from(kReordering);
  link.duplication = from(kDuplication);
  link.corruption = from(kCorruption);
  link.delay = rng.Between(100us, 60ms);
  link.reordering_delay = rng.Between(1us, link.delay);
  link.jitter = rng.Bernoulli(0.5) ? rng.Between(0us, link.delay / 4) : 0us;
  link.rate_bits_per_s = rng.Bernoulli(0.5) ? 1e7 : 1e9;
  link.queue_bytes = 20'000 + rng.Below(100'000);
  World::Options options = World::Symmetric(link);
  options.up_bytes = rng.Bernoulli(0.1) ? rng.Below(3) : rng.Below(150'000);
  options.down_bytes = rng.Bernoulli(0.5) ? rng.Below(30) : rng.Below(50'000);
  options.client.seed = seed;
  options.server.seed = ~seed;
  for (Connection::Options* each : {&options.client, &options.server}) {
    each->receive_buffer = 65536 + rng.Below(65536);
    each->send_buffer = 1200 + rng.Below(100'000);
    each->initial_rtt = rng.Between(1ms, 400ms);
  }
  options.client.peer_limit = options.server.receive_buffer;

  World world(seed, options);
  // Episodes may overlap: what holds is made anew from those under way.
  std::vector<const Episode*> under_way;
  const auto renew = [&] {
    for (const bool to_server : {true, false}) {
      sim::Link& direction = to_server ? world.to_server : world.to_client;
      direction.options() = to_server ? options.to_server : options.to_client;
      for (const Episode* episode : under_way) {
        if (episode->to_server == to_server) Apply(episode->kind, direction.options());
      }
    }
  };
  for (const Episode& episode : episodes) {
    world.scheduler.After(episode.begin, [&] {
      under_way.push_back(&episode);
      renew();
    });
    world.scheduler.After(episode.begin + episode.length, [&] {
      std::erase(under_way, &episode);
      renew();
    });
  }
  // The application of one end reads nothing for a while, and then in steps.
  if (rng.Bernoulli(0.3)) {
    world.server.read().allowed = rng.Below(options.up_bytes + 1);
    for (int i = 1; i <= 4; ++i) {
      world.scheduler.After(i * 400ms, [&world, i] {
        world.server.read().allowed = i == 4 ? ~std::uint64_t{0} : world.server.bytes_read() + 9999;
        world.server.Pump();
      });
    }
  }
  world.RunToTheEnd(600s);
  const Connection::Stats& stats = world.client.connection().stats();
  world.scheduler.Trace("sent {}, again {}, lost {} ({} spuriously), time-outs {}",
                        stats.sent_stream_bytes, stats.retransmitted_stream_bytes,
                        stats.lost_datagrams, stats.spuriously_lost_datagrams,
                        stats.probe_timeouts);
  return world.scheduler.Result();
}

TEST(ConnectionSimTest, StreamsArriveWholeWhateverTheNetworkDoes) {
  const sim::Experiment<Episode> experiment{.draw_faults =
                                                [](Rng& rng) {
                                                  std::vector<Episode> episodes(rng.Below(5));
                                                  for (Episode& episode : episodes) {
                                                    episode.kind = static_cast<Kind>(rng.Below(7));
                                                    episode.begin = rng.Between(0ms, 1s);
                                                    episode.length = rng.Between(1ms, 3s);
                                                    episode.to_server = rng.Bernoulli(0.6);
                                                  }
                                                  return episodes;
                                                },
                                            .run = RunMatrix,
                                            .describe = Describe};
  const auto found = sim::Explore(experiment, sim::SeedsFromEnvironment(5000));
  EXPECT_TRUE(found.ok) << found.report;
}

// Single runs.

/// Expects that it comes to a proper end; the seconds from now to when the client knows that all
/// has arrived.
double SecondsToTheEnd(World& world, Duration limit) {
  const TimePoint begin = world.scheduler.now();
  world.RunToTheEnd(limit);
  EXPECT_FALSE(world.scheduler.failed()) << *world.scheduler.Result().failure;
  return ToSeconds(world.client.completed_at() - begin);
}

TEST(ConnectionSimTest, RunsAreAFunctionOfTheirSeed) {
  for (const std::uint64_t seed : {23U, 47U}) {
    const std::vector<Episode> episodes{{Kind::kOutage, 200ms, 900ms, true}};
    EXPECT_EQ(RunMatrix(seed, episodes), RunMatrix(seed, episodes));
    EXPECT_NE(RunMatrix(seed, episodes).digest, RunMatrix(seed, {}).digest);
  }
}

TEST(ConnectionSimTest, AnHourOfDelayIsNoEndOfTheWorld) {
  World::Options options = World::Symmetric({.delay = 30min, .loss = 0.1});
  for (Connection::Options* each : {&options.client, &options.server}) {
    each->idle_timeout = 24h;
    each->initial_rtt = 1h;
  }
  options.up_bytes = 300'000;
  options.down_bytes = 1000;
  World world(3, options);
  SecondsToTheEnd(world, 72h);
  EXPECT_GT(world.client.connection().rtt().min(), 1h - 1s);
  EXPECT_LT(world.client.connection().stats().sent_datagrams, 2000U);
}

TEST(ConnectionSimTest, APeerThatVanishesIsGivenUpAfterTheIdleTimeout) {
  World::Options options = World::Symmetric({.rate_bits_per_s = 1e7, .delay = 20ms});
  options.up_bytes = 5'000'000;
  World world(4, options);
  const TimePoint begin = world.scheduler.now();
  world.scheduler.After(2s, [&] {
    world.to_server.options().loss = 1;
    world.to_client.options().loss = 1;
  });
  world.client.Pump();
  world.scheduler.Run(begin + 2s + 33s);
  EXPECT_FALSE(world.scheduler.failed());
  for (ConnectionEnd* end : {&world.client, &world.server}) {
    EXPECT_EQ(end->connection().state(), Connection::State::kClosed);
    EXPECT_EQ(end->connection().close_reason().code, kCloseIdle);
  }
  EXPECT_GT(world.server.bytes_read(), 1'000'000U);
}

TEST(ConnectionSimTest, AReaderThatStopsForLongHoldsTheWriterAndNothingElse) {
  World::Options options = World::Symmetric({.rate_bits_per_s = 1e8, .delay = 10ms, .loss = 0.05});
  options.up_bytes = 6'000'000;
  World world(5, options);
  const TimePoint begin = world.scheduler.now();
  world.server.read().allowed = 1'500'000;
  world.client.Pump();
  world.scheduler.Run(begin + 10s);
  const auto datagrams = [&] {
    return world.client.connection().stats().sent_datagrams +
           world.server.connection().stats().sent_datagrams;
  };
  EXPECT_EQ(world.client.connection().acked(), 1'500'000U + (1U << 20U)) << "the window is full";
  const std::uint64_t before = datagrams();
  world.scheduler.Run(begin + 10min);
  EXPECT_EQ(world.client.connection().state(), Connection::State::kOpen);
  EXPECT_LT(datagrams() - before, 10 * 60U) << "a keep-alive every few seconds, and its ack";
  world.server.read().allowed = ~std::uint64_t{0};
  world.server.Pump();
  EXPECT_LT(SecondsToTheEnd(world, 10min), 5);
}

TEST(ConnectionSimTest, APathThatShrinksUnderWayIsFoundOut) {
  World::Options options = World::Symmetric({.rate_bits_per_s = 2e7, .delay = 10ms, .loss = 0.01});
  options.up_bytes = 10'000'000;
  World world(6, options);
  world.scheduler.After(1s, [&] {
    EXPECT_EQ(world.client.connection().datagram_bytes(), 1472U);
    world.to_server.options().mtu = 1400 + kUdpHeaderBytes;
  });
  EXPECT_LT(SecondsToTheEnd(world, 60s), 10);
  EXPECT_EQ(world.client.connection().datagram_bytes(), 1372U);
}

TEST(ConnectionSimTest, ReorderingIsNotTakenForLossForLong) {
  World::Options options = World::Symmetric(
      {.rate_bits_per_s = 1e8, .delay = 25ms, .reordering = 0.1, .reordering_delay = 10ms});
  options.up_bytes = 50'000'000;
  World world(7, options);
  SecondsToTheEnd(world, 60s);
  const Connection::Stats& stats = world.client.connection().stats();
  EXPECT_LT(stats.spuriously_lost_datagrams, stats.sent_datagrams / 200);
}

// Both ways: up to 25 round trips late, too.
TEST(ConnectionSimTest, ReorderingLeavesMostOfTheRate) {
  const struct {
    double rate;
    Duration delay;
    double share;
    Duration late;
    double at_least;  ///< of the rate
  } paths[] = {{1e7, 1ms, 0.9, 50ms, 0.85},  {1e8, 1ms, 0.9, 50ms, 0.85},
               {4e8, 1ms, 0.9, 50ms, 0.5},   {1e8, 1ms, 0.3, 5ms, 0.85},
               {1e8, 25ms, 0.1, 20ms, 0.85}, {1e8, 25ms, 0.01, 20ms, 0.85},
               {1e8, 25ms, 0.5, 100ms, 0.75}};
  for (const auto& path : paths) {
    World::Options options = World::Symmetric({.rate_bits_per_s = path.rate,
                                               .queue_bytes = 625'000,
                                               .delay = path.delay,
                                               .reordering = path.share,
                                               .reordering_jitter = path.late});
    options.up_bytes = static_cast<std::uint64_t>(path.rate / 8 * 3);
    options.SetBuffers(16U << 20U);
    World world(1, options);
    const double seconds = SecondsToTheEnd(world, 100s);
    const double rate = 8 * static_cast<double>(options.up_bytes) / seconds;
    EXPECT_GE(rate, path.at_least * path.rate)
        << path.rate << " bit/s, " << path.share << " late by up to " << path.late / 1ms << " ms";
  }
}

// The profiles of the specification, on the simulated link, for the whole file from the first
// datagram on: of what the rate, the loss and the headers leave, so much. Windows hold more than
// the path does.
TEST(ConnectionSimTest, EveryProfileIsFilled) {
  const struct {
    Duration rtt;
    double loss;
    double at_least;  ///< Mbit/s of 100
  } profiles[] = {
      {50ms, 0, 93}, {50ms, 0.01, 92}, {50ms, 0.05, 88}, {100ms, 0.05, 83}, {200ms, 0.1, 74}};
  for (const auto& profile : profiles) {
    World::Options options =
        World::Symmetric({.rate_bits_per_s = 1e8,
                          .queue_bytes = static_cast<std::size_t>(1e8 / 8 * ToSeconds(profile.rtt)),
                          .delay = profile.rtt / 2,
                          .loss = profile.loss});
    options.up_bytes = 128U << 20U;
    options.SetBuffers(16U << 20U);
    World world(1, options);
    const double seconds = SecondsToTheEnd(world, 100s);
    const double mbit = 8e-6 * static_cast<double>(options.up_bytes) / seconds;
    EXPECT_GE(mbit, profile.at_least) << profile.rtt / 1ms << " ms, loss " << profile.loss;
  }
}

TEST(ConnectionSimTest, TheRateLimitIsUsedAndKept) {
  for (const double mbit : {0.5, 20.0}) {
    World::Options options =
        World::Symmetric({.rate_bits_per_s = 1e8, .queue_bytes = 625'000, .delay = 25ms});
    options.client.rate_max = mbit * 1e6 / 8;
    options.up_bytes = static_cast<std::uint64_t>(mbit * 1e6 / 8 * 20);
    World world(1, options);
    const double seconds = SecondsToTheEnd(world, 100s);
    const double sent = 8e-6 * static_cast<double>(world.client.connection().stats().sent_bytes);
    EXPECT_LE(sent / seconds, 1.01 * mbit);
    EXPECT_GE(sent / seconds, 0.97 * mbit);
  }
}

}  // namespace
}  // namespace ds::udp_transfer
