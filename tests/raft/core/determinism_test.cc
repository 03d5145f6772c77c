// Equal inputs give equal outputs.
#include <gtest/gtest.h>

#include <string>

#include "tests/raft/core/random_message.h"
#include "tests/raft/core/random_run.h"

namespace ds::raft {
namespace {

std::string Traced(std::uint64_t seed) {
  std::string trace;
  RandomRunOptions options;
  options.trace = [&trace](const std::string& line) { trace += line + "\n"; };
  RandomRunCounts counts;
  RandomRun(seed, options, counts);
  return trace;
}

TEST(Determinism, OneSeedGivesTheSameRunTwice) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const std::string first = Traced(seed);
    EXPECT_GT(first.size(), 10'000U);
    EXPECT_TRUE(first == Traced(seed)) << "seed " << seed;
  }
}

TEST(Determinism, AnotherSeedGivesAnotherRun) { EXPECT_TRUE(Traced(1) != Traced(2)); }

TEST(Determinism, TicksInOneCallAreTheSameAsOneByOne) {
  std::string traces[2];
  for (const bool together : {false, true}) {
    Group::Options options;
    options.trace = [&traces, together](const std::string& line) {
      traces[together ? 1 : 0] += line + "\n";
    };
    Group group(options);
    for (int round = 0; round < 50; ++round) {
      for (const std::uint64_t id : group.ids()) {
        const std::uint64_t ticks = std::min<std::uint64_t>(3, group[id].TicksToNext());
        if (together) {
          group.Tick(id, ticks);
        } else {
          for (std::uint64_t tick = 0; tick < ticks; ++tick) group.Tick(id);
        }
      }
      group.Deliver();
    }
    EXPECT_TRUE(group.Leader());
  }
  EXPECT_TRUE(traces[0] == traces[1]);
}

std::string AnswersToNoise(std::uint64_t seed) {
  std::string trace;
  Group::Options options;
  options.seed = seed;
  options.trace = [&trace](const std::string& line) { trace += line + "\n"; };
  Group group(options);
  Rng rng(seed);
  RandomMessages messages(rng, 0.05);
  for (int step = 0; step < 3000; ++step) {
    group.Inject(rng.Below(5), 1, messages.Any(group[1]));
    if (step % 20 == 0) group.Tick(1, 5);
    for (const Group::Packet& packet : group.Take()) trace += ToString(packet.message) + "\n";
  }
  group.TakeBreaches();
  return trace;
}

TEST(Determinism, NoiseIsAnsweredTheSameTwice) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    EXPECT_TRUE(AnswersToNoise(seed) == AnswersToNoise(seed)) << "seed " << seed;
  }
}

}  // namespace
}  // namespace ds::raft
