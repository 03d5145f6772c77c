#include "tests/sim/network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace ds::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using State = NetworkFaults::NodeState;
using Node = NetworkFaults::NodeNumber;
using Counters = NetworkFaults::Counters;

constexpr NetworkFaults::Options kPlain{.delay_min = milliseconds(1), .delay_max = milliseconds(1)};

struct World {
  explicit World(const NetworkFaults::Options& options = kPlain, std::uint64_t seed = 1)
      : scheduler(seed),
        network(
            scheduler, 5, options,
            [this](Node from, Node to, std::string payload) {
              received.emplace_back(from, to, std::move(payload));
              scheduler.Trace("{} -> {}: {}", from, to, std::get<2>(received.back()));
            },
            [this](Node from, Node to) { refused.emplace_back(from, to); }) {}

  void Run() { scheduler.Run(scheduler.now() + seconds(100)); }
  void RunFor(Duration duration) { scheduler.Run(scheduler.now() + duration); }
  /// Of messages that were sent as numbers from 0 on.
  std::vector<int> Numbers() const {
    std::vector<int> numbers;
    for (const auto& message : received) numbers.push_back(std::stoi(std::get<2>(message)));
    return numbers;
  }
  void ExpectSum() const {
    const Counters& c = network.counters();
    EXPECT_EQ(c.sent + c.duplicated,
              c.delivered + c.lost + c.cut + c.refused + c.vanished + c.in_flight);
  }

  Scheduler scheduler;
  std::vector<std::tuple<Node, Node, std::string>> received;
  std::vector<std::pair<Node, Node>> refused;
  Network<std::string> network;
};

TEST(NetworkTest, AMessageArrivesAfterItsDelay) {
  World w;
  const TimePoint begin = w.scheduler.now();
  w.network.Send(1, 2, "hello");
  EXPECT_EQ(w.network.counters().in_flight, 1U);
  EXPECT_THAT(w.received, IsEmpty());
  EXPECT_TRUE(w.scheduler.Step());
  EXPECT_EQ(w.scheduler.now(), begin + milliseconds(1));
  EXPECT_THAT(w.received, ElementsAre(std::tuple(1, 2, "hello")));
  EXPECT_EQ(w.network.counters(), (Counters{.sent = 1, .delivered = 1}));
}

TEST(NetworkTest, PayloadsThatCannotBeCopiedAreMoved) {
  Scheduler scheduler(1);
  int received = 0;
  Network<std::unique_ptr<int>> network(
      scheduler, 2, kPlain, [&](Node, Node, std::unique_ptr<int> payload) { received = *payload; },
      nullptr);
  network.Send(0, 1, std::make_unique<int>(7));
  EXPECT_TRUE(scheduler.Step());
  EXPECT_EQ(received, 7);
}

TEST(NetworkTest, AReceiverMaySendMoreThanWasEverUnderWay) {
  Scheduler scheduler(1);
  int received = 0;
  Network<std::string>* sender = nullptr;
  Network<std::string> network(
      scheduler, 2, kPlain,
      [&](Node from, Node to, std::string payload) {
        EXPECT_EQ(payload, std::string(100, 'x'));
        if (++received > 3) return;
        for (int i = 0; i < 100; ++i) sender->Send(to, from, payload);
      },
      nullptr);
  sender = &network;
  network.Send(0, 1, std::string(100, 'x'));
  scheduler.Run(scheduler.now() + seconds(1));
  EXPECT_EQ(received, 301);
}

TEST(NetworkTest, DelaysAreWithinTheirRangesAndLongOnesAreRare) {
  World w({.delay_min = milliseconds(1),
           .delay_max = milliseconds(3),
           .reordering = 1,
           .long_delay = 0.1,
           .long_delay_max = milliseconds(50)});
  int late = 0;
  for (int i = 0; i < 2000; ++i) {
    const TimePoint begin = w.scheduler.now();
    w.network.Send(0, 1, "x");
    EXPECT_TRUE(w.scheduler.Step());
    EXPECT_GE(w.scheduler.now() - begin, milliseconds(1));
    EXPECT_LE(w.scheduler.now() - begin, milliseconds(50));
    if (w.scheduler.now() - begin > milliseconds(3)) ++late;
  }
  EXPECT_NEAR(late, 200, 60);
  EXPECT_NEAR(static_cast<double>(w.network.counters().delayed), late, 1);
}

TEST(NetworkTest, MessagesOfAPairKeepTheirOrderUnlessReordered) {
  for (const double reordering : {0.0, 0.5}) {
    World w({.reordering = reordering, .long_delay = 0.1});
    std::vector<int> sent;
    for (int i = 0; i < 200; ++i) {
      w.network.Send(0, 1, std::to_string(i));
      sent.push_back(i);
    }
    w.Run();
    EXPECT_THAT(w.Numbers(), SizeIs(200));
    EXPECT_EQ(w.Numbers() == sent, reordering == 0);
    EXPECT_EQ(w.network.counters().reordered > 0, reordering > 0);
    w.ExpectSum();
  }
}

TEST(NetworkTest, OneLateMessageIsOneThatIsReordered) {
  World w;
  w.network.options().reordering = 1;
  w.network.options().delay_min = w.network.options().delay_max = milliseconds(100);
  w.network.Send(0, 1, "0");
  w.network.options().delay_min = w.network.options().delay_max = milliseconds(1);
  w.network.Send(0, 1, "1");
  w.network.Send(0, 1, "2");
  w.Run();
  EXPECT_THAT(w.Numbers(), ElementsAre(1, 2, 0));
  EXPECT_EQ(w.network.counters().reordered, 1U);
}

TEST(NetworkTest, LossAndDuplicationHaveTheirProbability) {
  World w({.loss = 0.2, .duplication = 0.1});
  for (int i = 0; i < 5000; ++i) w.network.Send(0, 1, "x");
  w.Run();
  const Counters& c = w.network.counters();
  EXPECT_NEAR(static_cast<double>(c.lost), 1000, 150);
  EXPECT_NEAR(static_cast<double>(c.duplicated), 400, 100);
  EXPECT_EQ(c.delivered, 5000 - c.lost + c.duplicated);
  EXPECT_THAT(w.received, SizeIs(c.delivered));
  w.ExpectSum();
}

TEST(NetworkTest, ACutIsOneWay) {
  World w;
  w.network.Cut(0, 1);
  w.network.Send(0, 1, "lost");
  w.network.Send(1, 0, "back");
  w.network.Send(0, 2, "beside");
  w.Run();
  EXPECT_THAT(w.received, ElementsAre(std::tuple(1, 0, "back"), std::tuple(0, 2, "beside")));
  EXPECT_EQ(w.network.counters().cut, 1U);
  EXPECT_TRUE(w.network.IsCut(0, 1));
  EXPECT_FALSE(w.network.IsCut(1, 0));
  w.network.Heal(0, 1);
  w.network.Send(0, 1, "healed");
  w.Run();
  EXPECT_EQ(std::get<2>(w.received.back()), "healed");
  w.ExpectSum();
}

TEST(NetworkTest, ACutMeetsWhatIsUnderWay) {
  World w;
  w.network.Send(0, 1, "lost");
  w.network.Cut(0, 1);
  w.Run();
  EXPECT_THAT(w.received, IsEmpty());
  EXPECT_EQ(w.network.counters().cut, 1U);
  w.network.Heal(0, 1);
  w.network.Send(0, 1, "kept");
  w.network.Cut(0, 1);
  w.network.Heal(0, 1);
  w.Run();
  EXPECT_THAT(w.received, SizeIs(1)) << "the cut was over before it arrived";
}

TEST(NetworkTest, GroupsAreCutFromEachOtherAndNotWithin) {
  World w;
  const std::array<Node, 2> minority{0, 1};
  const std::array<Node, 3> majority{2, 3, 4};
  const auto all_pairs = [&] {
    w.received.clear();
    for (Node from = 0; from < 5; ++from) {
      for (Node to = 0; to < 5; ++to) {
        if (from != to) w.network.Send(from, to, "x");
      }
    }
    w.Run();
    return w.received.size();
  };
  w.network.CutBoth(minority, majority);
  EXPECT_EQ(all_pairs(), 2U + 6U);
  w.network.HealBoth(minority, majority);
  EXPECT_EQ(all_pairs(), 20U);
  w.network.Cut(minority, majority);
  EXPECT_EQ(all_pairs(), 14U);
  w.network.CutBoth(minority, minority);
  EXPECT_EQ(all_pairs(), 12U);
  w.network.HealAll();
  EXPECT_EQ(all_pairs(), 20U);
}

TEST(NetworkTest, APairCutTwiceIsOpenAfterBothHaveHealed) {
  World w;
  w.network.Cut(0, 1);
  w.network.Cut(0, 1);
  w.network.Heal(0, 1);
  EXPECT_TRUE(w.network.IsCut(0, 1));
  w.network.Heal(0, 1);
  EXPECT_FALSE(w.network.IsCut(0, 1));
  w.network.Heal(0, 1);
  w.network.Cut(0, 1);
  EXPECT_TRUE(w.network.IsCut(0, 1)) << "healing what is whole is not saved up";
}

TEST(NetworkTest, ADeadProcessRefusesAfterARoundTrip) {
  World w;
  w.network.SetState(1, State::kProcessDead);
  w.network.Send(0, 1, "x");
  w.RunFor(std::chrono::microseconds(1999));
  EXPECT_THAT(w.refused, IsEmpty());
  EXPECT_EQ(w.network.counters().refused, 1U);
  w.RunFor(std::chrono::microseconds(1));
  EXPECT_THAT(w.refused, ElementsAre(std::pair(0, 1)));
  EXPECT_THAT(w.received, IsEmpty());
  EXPECT_EQ(w.network.counters().refusals_heard, 1U);
  w.network.SetState(1, State::kUp);
  w.network.Send(0, 1, "y");
  w.Run();
  EXPECT_THAT(w.received, SizeIs(1));
  w.ExpectSum();
}

TEST(NetworkTest, AClosedListenerRefusesWhileItsProcessSendsAndHears) {
  World w;
  w.network.SetState(1, State::kListenerClosed);
  w.network.SetState(2, State::kProcessDead);
  w.network.Send(0, 1, "x");
  w.network.Send(1, 0, "alive");
  w.network.Send(1, 2, "x");
  w.Run();
  EXPECT_THAT(w.received, ElementsAre(std::tuple(1, 0, "alive")));
  EXPECT_THAT(w.refused, ElementsAre(std::pair(0, 1), std::pair(1, 2)));
}

TEST(NetworkTest, AFirewallRefusesOnePair) {
  World w;
  w.network.Refuse(0, 1);
  w.network.Send(0, 1, "x");
  w.network.Send(2, 1, "beside");
  w.network.Send(1, 0, "back");
  w.Run();
  EXPECT_THAT(w.refused, ElementsAre(std::pair(0, 1)));
  EXPECT_THAT(w.received, SizeIs(2));
  EXPECT_TRUE(w.network.IsRefused(0, 1));
  w.network.Accept(0, 1);
  EXPECT_FALSE(w.network.IsRefused(0, 1));
  w.network.Send(0, 1, "open");
  w.Run();
  EXPECT_THAT(w.received, SizeIs(3));
}

TEST(NetworkTest, NoRefusalComesThroughACutNorFromADeadMachine) {
  World w;
  w.network.SetState(1, State::kProcessDead);
  w.network.Cut(1, 0);
  w.network.Send(0, 1, "x");
  w.network.SetState(2, State::kMachineDown);
  w.network.Send(0, 2, "x");
  w.Run();
  EXPECT_THAT(w.refused, IsEmpty());
  EXPECT_EQ(w.network.counters(), (Counters{.sent = 2, .refused = 1, .vanished = 1}));
}

TEST(NetworkTest, ARefusalIsNotToldToALaterLifeOfItsSender) {
  World w;
  w.network.SetState(1, State::kProcessDead);
  w.network.Send(0, 1, "x");
  w.network.SetState(0, State::kProcessDead);
  w.network.SetState(0, State::kUp);
  w.Run();
  EXPECT_THAT(w.refused, IsEmpty());
  EXPECT_EQ(w.network.counters().refused, 1U);
  EXPECT_EQ(w.network.counters().refusals_heard, 0U);
}

TEST(NetworkTest, WhatIsUnderWayOutlivesItsSender) {
  World w;
  w.network.Send(0, 1, "last words");
  w.network.SetState(0, State::kMachineDown);
  w.Run();
  EXPECT_THAT(w.received, ElementsAre(std::tuple(0, 1, "last words")));
}

TEST(NetworkTest, ADeadProcessThatSendsIsABug) {
  World w;
  w.network.SetState(0, State::kProcessDead);
  EXPECT_DEATH(w.network.Send(0, 1, "x"), "a dead process sends nothing");
}

TEST(NetworkTest, AddedNodesFindTheFaultsOfTheOthersUnchanged) {
  World w;
  w.network.Cut(3, 4);
  for (Node expected = 5; expected < 40; ++expected) EXPECT_EQ(w.network.AddNode(), expected);
  EXPECT_EQ(w.network.nodes(), 40U);
  w.network.Send(3, 4, "cut");
  w.network.Send(4, 3, "x");
  w.network.Send(39, 38, "new");
  w.Run();
  EXPECT_THAT(w.received, ElementsAre(std::tuple(4, 3, "x"), std::tuple(39, 38, "new")));
}

TEST(NetworkTest, OneSeedTwiceGivesOneRunAndAnotherSeedAnother) {
  const auto run = [](std::uint64_t seed) {
    World w({.loss = 0.1, .duplication = 0.1, .reordering = 0.2, .long_delay = 0.05}, seed);
    Scheduler& s = w.scheduler;
    for (int i = 0; i < 500; ++i) {
      const auto from = static_cast<Node>(s.rng().Below(5));
      const auto to = static_cast<Node>(s.rng().Below(5));
      if (i % 50 == 0) {
        w.network.SetState(to, s.rng().Bernoulli(0.5) ? State::kListenerClosed : State::kUp);
      }
      if (i % 30 == 0) w.network.Cut(from, to);
      if (i % 90 == 0) w.network.HealAll();
      w.network.Send(from, to, std::to_string(i));
      w.RunFor(milliseconds(1));
    }
    w.Run();
    w.ExpectSum();
    const Counters& c = w.network.counters();
    for (const std::uint64_t counter :
         {c.delivered, c.lost, c.duplicated, c.reordered, c.delayed, c.cut, c.refused}) {
      EXPECT_GT(counter, 0U);
    }
    EXPECT_EQ(c.in_flight, 0U);
    return std::pair(s.Result(), c);
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1).first, run(2).first);
}

}  // namespace
}  // namespace ds::sim
