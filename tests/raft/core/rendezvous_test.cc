#include "raft/core/rendezvous.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <memory>

#include "tests/sim/scheduler.h"

namespace ds::raft {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)
using ::testing::IsEmpty;
using State = Hello::State;

RendezvousOptions Options(std::uint64_t slots) {
  RendezvousOptions options;
  for (std::uint64_t slot = 0; slot < slots; ++slot) {
    options.addresses[Slot(slot)] = fmt::format("127.0.0.1:{}", 50000 + slot);
  }
  return options;
}

Configuration Founded(const SlotView& view) {
  Configuration configuration;
  for (const auto& [slot, id] : view) {
    configuration.voters.insert(id);
    configuration.contexts[id] =
        EncodeMemberContext({slot, fmt::format("127.0.0.1:{}", 50000 + slot.value())});
  }
  return configuration;
}

// Processes in slots, without a network: the test carries the hellos, one round after the other.
class Slots {
 public:
  struct Process {
    std::unique_ptr<Rendezvous> rendezvous;
    std::optional<Configuration> started;
    bool joined = false;
    bool gave_up = false;
  };

  explicit Slots(std::uint64_t count) : options_(Options(count)), processes_(count) {
    for (std::uint64_t slot = 0; slot < count; ++slot) Restart(slot, 100 + slot);
  }

  void Restart(std::uint64_t slot, std::uint64_t id) {
    Process& process = processes_[slot] = Process();
    process.rendezvous = std::make_unique<Rendezvous>(options_, Slot(slot), NodeId(id));
  }
  Process& at(std::uint64_t slot) { return processes_[slot]; }
  Rendezvous& operator[](std::uint64_t slot) { return *processes_[slot].rendezvous; }

  // 100 ms pass, and everything that is said arrives, unless `drop` takes it.
  void Round(const std::function<bool(Slot from, Slot to, const Hello&)>& drop = nullptr) {
    for (Process& process : processes_) process.rendezvous->Tick(100);
    for (std::uint64_t from = 0; from < processes_.size(); ++from) {
      for (const auto& [to, hello] : Take(from)) {
        if (drop && drop(Slot(from), to, hello)) continue;
        processes_[to.value()].rendezvous->Step(hello);
      }
    }
  }
  void Rounds(int count) {
    for (int i = 0; i < count; ++i) Round();
  }

  std::vector<std::pair<Slot, Hello>> Take(std::uint64_t slot) {
    Process& process = processes_[slot];
    auto output = process.rendezvous->TakeOutput();
    if (output.start) process.started = output.start;
    process.joined |= output.join;
    process.gave_up |= output.start_over;
    return std::move(output.hellos);
  }

  void UpdateAll(const Configuration& configuration, bool leader_known, bool has_committed) {
    for (Process& process : processes_) {
      process.rendezvous->Update(configuration, leader_known, has_committed);
    }
  }

 private:
  RendezvousOptions options_;
  std::vector<Process> processes_;
};

const SlotView kFirst = {{Slot(0), NodeId(100)}, {Slot(1), NodeId(101)}, {Slot(2), NodeId(102)}};

const std::set<NodeId> kCaughtUp = [] {
  std::set<NodeId> all;
  for (std::uint64_t id = 0; id < 1000; ++id) all.insert(NodeId(id));
  return all;
}();
const std::set<NodeId> kBehind;

// --- Contexts and options ---

TEST(MemberContext, IsSlotAndAddress) {
  const MemberContext context{Slot(3), "127.0.0.1:50003"};
  EXPECT_EQ(EncodeMemberContext(context), "3 127.0.0.1:50003");
  EXPECT_EQ(ParseMemberContext("3 127.0.0.1:50003"), context);
  EXPECT_EQ(ParseMemberContext("18446744073709551615 a b"),
            (MemberContext{Slot(~std::uint64_t{0}), "a b"}));
  for (const char* text : {"", "3", " a", "x a", "-1 a", "18446744073709551616 a"}) {
    EXPECT_EQ(ParseMemberContext(text), std::nullopt) << text;
  }
}

TEST(RendezvousOptions, WhatCannotWorkIsRefused) {
  EXPECT_TRUE(Options(3).Validate().ok());
  EXPECT_TRUE(Options(32).Validate().ok());
  EXPECT_FALSE(Options(0).Validate().ok());
  EXPECT_FALSE(Options(33).Validate().ok());
  RendezvousOptions options = Options(3);
  options.hello_ticks = 0;
  EXPECT_FALSE(options.Validate().ok());
  options = Options(3);
  options.window_ticks = 399;
  EXPECT_FALSE(options.Validate().ok());
  options = Options(3);
  options.addresses[Slot(1)] = std::string(4096, 'x');
  EXPECT_FALSE(options.Validate().ok());
}

// --- Founding ---

TEST(Founding, AllSlotsStartWithOneConfigurationOfAllOfThem) {
  Slots slots(3);
  slots.Rounds(6);
  for (std::uint64_t slot = 0; slot < 3; ++slot) {
    EXPECT_EQ(slots.at(slot).started, Founded(kFirst));
    EXPECT_EQ(slots[slot].state(), State::kMember);
    EXPECT_FALSE(slots.at(slot).joined);
  }
  EXPECT_TRUE(Founded(kFirst).Validate().ok());
}

TEST(Founding, OneSlotStartsAlone) {
  Slots slots(1);
  slots.Round();
  EXPECT_EQ(slots.at(0).started, Founded({{Slot(0), NodeId(100)}}));
}

TEST(Founding, MembersAreSilentWhenAllAreMembers) {
  Slots slots(3);
  slots.Rounds(25);
  for (std::uint64_t slot = 0; slot < 3; ++slot) {
    slots[slot].Tick(1000);
    EXPECT_THAT(slots.Take(slot), IsEmpty());
  }
}

TEST(Founding, NobodyStartsWhileASlotIsSilent) {
  Slots slots(3);
  const auto two_is_mute = [](Slot from, Slot /*to*/, const Hello&) { return from == Slot(2); };
  const auto two_is_deaf = [](Slot /*from*/, Slot to, const Hello&) { return to == Slot(2); };
  for (int i = 0; i < 50; ++i) slots.Round(two_is_deaf);
  for (int i = 0; i < 50; ++i) slots.Round(two_is_mute);
  for (std::uint64_t slot = 0; slot < 3; ++slot) {
    EXPECT_EQ(slots.at(slot).started, std::nullopt);
    EXPECT_EQ(slots[slot].state(), State::kEmpty);
  }
}

TEST(Founding, OtherConfigurationFilesAreNotHeard) {
  Rendezvous a(Options(2), Slot(0), NodeId(100));
  RendezvousOptions options = Options(2);
  options.addresses[Slot(0)] = "elsewhere";
  Rendezvous b(options, Slot(1), NodeId(101));
  for (int i = 0; i < 20; ++i) {
    a.Tick(100);
    b.Tick(100);
    for (const auto& [to, hello] : a.TakeOutput().hellos) b.Step(hello);
    for (const auto& [to, hello] : b.TakeOutput().hellos) {
      EXPECT_THAT(hello.heard, IsEmpty());
      a.Step(hello);
    }
  }
  EXPECT_EQ(a.state(), State::kEmpty);
}

// Brings 0, 1 and 2 to a lock, of which slot 2 tells nobody and hears nobody.
void LockWithoutTwo(Slots& slots) {
  for (int i = 0; i < 20; ++i) {
    slots.Round([](Slot from, Slot to, const Hello& hello) {
      return hello.state != State::kEmpty && (from == Slot(2) || to == Slot(2));
    });
  }
  ASSERT_EQ(slots[0].state(), State::kLocked);
  ASSERT_EQ(slots[1].state(), State::kLocked);
}

TEST(Founding, ALockAloneStartsNobody) {
  Slots slots(3);
  LockWithoutTwo(slots);
  slots.Round([](Slot from, Slot to, const Hello&) { return from == Slot(2) || to == Slot(2); });
  EXPECT_EQ(slots.at(0).started, std::nullopt);
  EXPECT_EQ(slots.at(1).started, std::nullopt);
  slots.Rounds(5);
  EXPECT_EQ(slots.at(0).started, Founded(kFirst));
  EXPECT_EQ(slots.at(2).started, Founded(kFirst));
}

TEST(Founding, ALockOnADeadViewIsGivenUpAndTheNextViewStarts) {
  Slots slots(3);
  LockWithoutTwo(slots);
  slots.Restart(2, 202);
  slots.Rounds(30);
  EXPECT_TRUE(slots.at(0).gave_up);
  EXPECT_TRUE(slots.at(1).gave_up);
  EXPECT_FALSE(slots.at(2).gave_up);
  EXPECT_EQ(slots.at(2).started, std::nullopt);
  slots.Restart(0, 200);
  slots.Restart(1, 201);
  slots.Rounds(20);
  const Configuration second =
      Founded({{Slot(0), NodeId(200)}, {Slot(1), NodeId(201)}, {Slot(2), NodeId(202)}});
  for (std::uint64_t slot = 0; slot < 3; ++slot) EXPECT_EQ(slots.at(slot).started, second);
}

TEST(Founding, WhoGaveUpSaysNothingMore) {
  Slots slots(3);
  LockWithoutTwo(slots);
  slots.Restart(2, 202);
  slots.Rounds(30);
  ASSERT_TRUE(slots.at(0).gave_up);
  slots.Rounds(5);
  slots[0].Tick(100000);
  slots[0].Update(Founded(kFirst), true, true);
  EXPECT_FALSE(slots[0].HasOutput());
  EXPECT_EQ(slots[0].Replacement(Founded(kFirst), kCaughtUp), std::nullopt);
}

TEST(Founding, ALockedOneStartsWhenAMemberCountsItThoughAFounderHasDied) {
  Slots slots(3);
  // Slot 0 is never told that the others are locked.
  for (int i = 0; i < 20 && !slots.at(1).started; ++i) {
    slots.Round([](Slot /*from*/, Slot to, const Hello& hello) {
      return to == Slot(0) && hello.state != State::kEmpty;
    });
  }
  ASSERT_TRUE(slots.at(1).started);
  ASSERT_EQ(slots[0].state(), State::kLocked);
  slots.Restart(2, 202);
  slots.Rounds(3);
  EXPECT_EQ(slots.at(0).started, Founded(kFirst));
  EXPECT_FALSE(slots.at(0).gave_up);
}

TEST(Founding, OnlyALockOfTheSameViewByOneOfItCounts) {
  Slots slots(3);
  LockWithoutTwo(slots);
  slots[1].Tick(100);
  Hello hello = slots.Take(1).at(0).second;
  ASSERT_EQ(hello.state, State::kLocked);
  hello.slot = Slot(2);
  hello.id = NodeId(66);
  slots[0].Step(hello);
  EXPECT_EQ(slots[0].state(), State::kLocked);
  hello.id = NodeId(102);
  hello.view[Slot(1)] = NodeId(66);
  slots[0].Step(hello);
  EXPECT_EQ(slots[0].state(), State::kLocked);
  hello.view = kFirst;
  slots[0].Step(hello);
  EXPECT_EQ(slots[0].state(), State::kMember);
}

TEST(Founding, TheSecondLockOfALifeIsNeverMade) {
  Slots slots(3);
  LockWithoutTwo(slots);
  slots.Restart(2, 202);
  for (int i = 0; i < 5; ++i) {
    slots.Round();
    for (std::uint64_t slot = 0; slot < 2; ++slot) {
      EXPECT_EQ(slots[slot].state(), State::kLocked);
      slots[slot].Tick(100);
      for (const auto& [to, hello] : slots.Take(slot)) EXPECT_EQ(hello.view, kFirst);
    }
  }
}

// --- Hostile input ---

TEST(Rendezvous, HellosThatCannotBeTrueChangeNothing) {
  Slots slots(3);
  slots[0].Tick(100);
  const Hello own = slots.Take(0).at(0).second;
  Hello hello = own;
  hello.state = State::kMember;
  hello.leader_known = true;
  hello.slot = Slot(1);
  hello.id = NodeId(66);
  hello.heard = {{Slot(0), {NodeId(100), own.time}}};

  Hello changed = hello;
  changed.slot = Slot(9);
  slots[0].Step(changed);
  changed = hello;
  changed.slot = Slot(0);
  slots[0].Step(changed);
  changed = hello;
  changed.id = NodeId(100);
  slots[0].Step(changed);
  changed = hello;
  ++changed.cluster;
  slots[0].Step(changed);
  changed = hello;
  changed.heard = {{Slot(0), {NodeId(100), own.time + 1000000}}};
  slots[0].Step(changed);
  changed = hello;
  changed.heard = {{Slot(0), {NodeId(7), own.time}}};
  slots[0].Step(changed);
  EXPECT_EQ(slots[0].state(), State::kEmpty);
  EXPECT_FALSE(slots[0].HasOutput());
  slots[0].Step(hello);
  EXPECT_EQ(slots[0].state(), State::kJoining);
}

TEST(Rendezvous, HellosThatNameMoreThanThereCanBeAreNotKept) {
  Slots slots(3);
  slots[1].Tick(100);
  const Hello honest = slots.Take(1).at(0).second;
  Hello heard = honest;
  Hello view = honest;
  for (std::uint64_t slot = 0; slot < 4; ++slot) {
    heard.heard[Slot(slot)] = {NodeId(100 + slot), 1};
    view.view[Slot(slot)] = NodeId(100 + slot);
  }
  Hello voters = honest;
  for (std::uint64_t id = 0; id <= 2 * Configuration::kMembersMax; ++id) {
    voters.voters.insert(NodeId(id));
  }
  const auto heard_of = [&] {
    slots[0].Tick(100);
    return slots.Take(0).at(0).second.heard.size();
  };
  for (const Hello& hello : {heard, view, voters}) slots[0].Step(hello);
  EXPECT_EQ(heard_of(), 0U);
  heard.heard.erase(Slot(3));
  slots[0].Step(heard);
  EXPECT_EQ(heard_of(), 1U) << "as many as there are slots are taken";
}

// --- Replacement ---

class Replacement : public ::testing::Test {
 protected:
  Replacement() : slots_(3) {
    slots_.Rounds(20);
    slots_.UpdateAll(first_, true, true);
    slots_.Rounds(1);
  }

  Configuration first_ = Founded(kFirst);
  Slots slots_;
};

TEST_F(Replacement, NothingIsToBeReplacedWhileAllLive) {
  slots_.Rounds(5);
  EXPECT_FALSE(slots_[0].Replacement(first_, kCaughtUp));
}

TEST_F(Replacement, ANewcomerLearnsFirstAndThenTakesThePlaceOfTheDead) {
  slots_.Restart(2, 202);
  slots_.Rounds(5);
  EXPECT_TRUE(slots_.at(2).joined);
  const auto learn = slots_[0].Replacement(first_, kCaughtUp);
  ASSERT_TRUE(learn);
  EXPECT_THAT(learn->add_voters, IsEmpty());
  EXPECT_THAT(learn->remove, IsEmpty());
  EXPECT_EQ(learn->add_learners.at(NodeId(202)), "2 127.0.0.1:50002");

  const Configuration learns = *Apply(first_, *learn);
  slots_.UpdateAll(learns, true, true);
  slots_.Rounds(2);
  EXPECT_FALSE(slots_[0].Replacement(learns, kBehind));
  const auto promote = slots_[0].Replacement(learns, kCaughtUp);
  ASSERT_TRUE(promote);
  EXPECT_EQ(promote->remove, std::set<NodeId>{NodeId(102)});
  EXPECT_EQ(promote->add_voters.at(NodeId(202)), "2 127.0.0.1:50002");

  const Configuration joint = *Apply(learns, *promote);
  EXPECT_FALSE(slots_[0].Replacement(joint, kCaughtUp));
  slots_.UpdateAll(joint, true, true);
  EXPECT_EQ(slots_[2].state(), State::kMember);
  slots_.UpdateAll(joint.Left(), true, true);
  slots_.Rounds(20);
  EXPECT_FALSE(slots_[0].Replacement(joint.Left(), kCaughtUp));
  EXPECT_EQ(joint.Left().voters, (std::set<NodeId>{NodeId(100), NodeId(101), NodeId(202)}));
}

TEST_F(Replacement, ALearnerThatDiedGivesWayToItsSuccessor) {
  slots_.Restart(2, 202);
  slots_.Rounds(5);
  const Configuration learns = *Apply(first_, *slots_[0].Replacement(first_, kBehind));
  slots_.UpdateAll(learns, true, true);
  slots_.Restart(2, 302);
  slots_.Rounds(5);
  const auto change = slots_[0].Replacement(learns, kBehind);
  ASSERT_TRUE(change);
  EXPECT_EQ(change->remove, std::set<NodeId>{NodeId(202)});
  EXPECT_TRUE(change->add_learners.contains(NodeId(302)));
  EXPECT_THAT(change->add_voters, IsEmpty());
}

TEST_F(Replacement, AHelloThatProvesNoLaterLifeRemovesNobody) {
  // Somebody of slot 2 before 102: it answered what 100 said before it knew 102 as a member.
  slots_[0].Tick(100);
  Hello stale{.slot = Slot(2), .id = NodeId(66), .time = 5, .state = State::kJoining};
  Rendezvous probe(Options(3), Slot(2), NodeId(66));
  probe.Tick(1);
  stale.cluster = probe.TakeOutput().hellos.at(0).second.cluster;
  for (const std::uint64_t heard : {std::uint64_t{1}, std::uint64_t{101}, std::uint64_t{201}}) {
    stale.heard = {{Slot(0), {NodeId(100), heard}}};
    slots_[0].Step(stale);
    EXPECT_FALSE(slots_[0].Replacement(first_, kCaughtUp)) << heard;
  }
  // The same with a late answer is a proof: this is what the test above could miss.
  stale.heard = {{Slot(0), {NodeId(100), 2100}}};
  slots_[0].Step(stale);
  EXPECT_TRUE(slots_[0].Replacement(first_, kCaughtUp));
}

TEST_F(Replacement, AJudgeThatCameLaterThanTheMemberNeedsAProofToo) {
  const auto one_is_not_heard = [](Slot from, Slot to, const Hello&) {
    return from == Slot(1) && to == Slot(2);
  };
  slots_.Restart(2, 202);
  for (int i = 0; i < 3; ++i) slots_.Round(one_is_not_heard);
  ASSERT_TRUE(slots_.at(2).joined);
  slots_[2].Tick(100);
  Hello stale = slots_.Take(2).at(0).second;
  const std::uint64_t before = stale.time;
  stale.slot = Slot(1);
  stale.id = NodeId(66);
  stale.heard = {{Slot(2), {NodeId(202), before}}};

  const Configuration now =
      Founded({{Slot(0), NodeId(100)}, {Slot(1), NodeId(101)}, {Slot(2), NodeId(202)}});
  slots_[2].Update(now, true, true);
  slots_[2].Step(stale);
  EXPECT_FALSE(slots_[2].Replacement(now, kCaughtUp));
  slots_[2].Tick(1);
  ++stale.time;
  stale.heard = {{Slot(2), {NodeId(202), before + 1}}};
  slots_[2].Step(stale);
  EXPECT_TRUE(slots_[2].Replacement(now, kCaughtUp));
}

TEST_F(Replacement, WhoIsNotHeardLatelyIsNotTakenIn) {
  slots_.Restart(2, 202);
  slots_.Rounds(5);
  ASSERT_TRUE(slots_[0].Replacement(first_, kBehind));
  slots_[0].Tick(2000);
  EXPECT_FALSE(slots_[0].Replacement(first_, kBehind));
}

TEST_F(Replacement, WithoutALeaderNobodyJoins) {
  slots_.UpdateAll(first_, false, true);
  slots_.Restart(2, 202);
  slots_.Rounds(30);
  EXPECT_FALSE(slots_.at(2).joined);
  EXPECT_EQ(slots_[2].state(), State::kEmpty);
  slots_[0].Update(first_, true, true);
  slots_.Rounds(5);
  EXPECT_TRUE(slots_.at(2).joined);
}

TEST_F(Replacement, WhoWasRemovedIsQuiet) {
  const Configuration without = *Apply(first_, {.remove = {NodeId(102)}});
  slots_[2].Update(without.Left(), true, true);
  slots_[2].Tick(10000);
  EXPECT_FALSE(slots_[2].HasOutput());
}

// --- A lost majority ---

TEST_F(Replacement, ASurvivorOfALostMajorityKeepsWhatWasCommittedUntilItIsRestarted) {
  slots_[0].Update(first_, false, true);
  slots_.Restart(1, 201);
  slots_.Restart(2, 202);
  slots_.Rounds(60);
  EXPECT_TRUE(slots_[0].lost());
  EXPECT_FALSE(slots_.at(0).gave_up);
  EXPECT_EQ(slots_.at(1).started, std::nullopt);
  EXPECT_EQ(slots_.at(2).started, std::nullopt);
  slots_.Restart(0, 200);
  slots_.Rounds(20);
  EXPECT_EQ(slots_.at(1).started->voters,
            (std::set<NodeId>{NodeId(200), NodeId(201), NodeId(202)}));
}

TEST_F(Replacement, ASurvivorWithNothingCommittedGivesUp) {
  slots_[0].Update(first_, false, false);
  slots_.Restart(1, 201);
  slots_.Restart(2, 202);
  slots_.Rounds(60);
  EXPECT_TRUE(slots_.at(0).gave_up);
}

TEST_F(Replacement, ALostMinorityIsNoLoss) {
  slots_.Restart(2, 202);
  slots_.Rounds(60);
  EXPECT_FALSE(slots_[0].lost());
  EXPECT_FALSE(slots_.at(2).gave_up);
}

// --- Simulation ---

struct Totals {
  int starts = 0;
  int starts_over = 0;
  int joins = 0;
  int replaced = 0;
  int restarts_of_locked = 0;
  int restarts_of_joining = 0;
  int restarts_of_members = 0;
  int operator_restarts = 0;
  int clusters = 0;
};

// Processes with a network that loses, repeats and delays, and dies at any moment. Raft itself is
// played by the test: a cluster has a leader when a quorum of its configuration takes part; then it
// commits, and its leader does what Replacement() says.
class RendezvousRun {
 public:
  RendezvousRun(std::uint64_t seed, Totals* totals)
      : scheduler_(seed), totals_(totals), options_(Options(3 + seed % 3)) {}

  sim::RunResult Execute() {
    loss_ = scheduler_.rng().Unit() * 0.5;
    restart_every_ = scheduler_.rng().Between(Duration(300ms), Duration(6s));
    for (const auto& [slot, address] : options_.addresses) Boot(slot);
    scheduler_.After(10ms, [this] { TickAll(); });
    scheduler_.After(restart_every_, [this] { RestartOne(); });
    const auto invariants = [this] { CheckClusters(); };
    scheduler_.Run(faults_end_, 2000000, invariants);
    healed_ = true;
    for (int i = 0; i < 600 && !scheduler_.failed(); ++i) {
      scheduler_.Run(scheduler_.now() + Duration(100ms), 2000000, invariants);
      if (Whole()) break;
      for (const auto& [slot, address] : options_.addresses) {
        if (!processes_[slot].rendezvous->lost()) continue;
        ++totals_->operator_restarts;
        Boot(slot);
      }
    }
    if (!Whole()) {
      std::string states;
      for (auto& [slot, process] : processes_) {
        states += fmt::format(" {}:{} in {} state {}{}", slot, process.rendezvous->id(),
                              process.cluster, static_cast<int>(process.rendezvous->state()),
                              process.rendezvous->lost() ? " lost" : "");
      }
      scheduler_.Fail("not whole 60 s after the faults:" + states);
    }
    return scheduler_.Result();
  }

 private:
  struct Process {
    std::unique_ptr<Rendezvous> rendezvous;
    int cluster = -1;  ///< founder or member of it
    bool joining = false;
    std::uint64_t knows = 0;  ///< versions of the configuration
    bool has_committed = false;
  };
  struct Cluster {
    Configuration founders;
    std::vector<Configuration> versions;
    bool has_committed = false;
  };

  void Boot(Slot slot) {
    Process& process = processes_[slot];
    if (process.rendezvous) dead_.insert(process.rendezvous->id());
    process = {};
    const NodeId id(scheduler_.rng().Next());
    process.rendezvous = std::make_unique<Rendezvous>(options_, slot, id);
    scheduler_.Trace("boot {} {}", slot, id);
  }

  void RestartOne() {
    if (healed_) return;
    const Slot slot(scheduler_.rng().Below(options_.addresses.size()));
    switch (processes_[slot].rendezvous->state()) {
      case State::kEmpty:
        break;
      case State::kLocked:
        ++totals_->restarts_of_locked;
        break;
      case State::kJoining:
        ++totals_->restarts_of_joining;
        break;
      case State::kMember:
        ++totals_->restarts_of_members;
        break;
    }
    Boot(slot);
    scheduler_.After(scheduler_.rng().Exponential(restart_every_), [this] { RestartOne(); });
  }

  void TickAll() {
    for (auto& [slot, process] : processes_) {
      process.rendezvous->Tick(10);
      Execute(slot);
    }
    if (scheduler_.rng().Below(5) == 0) {
      for (std::size_t i = 0; i < clusters_.size(); ++i) Lead(static_cast<int>(i));
    }
    scheduler_.After(10ms, [this] { TickAll(); });
  }

  void Execute(Slot slot) {
    Process& process = processes_[slot];
    auto output = process.rendezvous->TakeOutput();
    const NodeId id = process.rendezvous->id();
    if (output.start_over) {
      ++totals_->starts_over;
      scheduler_.Trace("{} gives up", id);
      return Boot(slot);
    }
    if (output.start) {
      ++totals_->starts;
      scheduler_.Trace("{} starts {}", id, fmt::join(Numbers(output.start->voters), ","));
      int found = -1;
      for (std::size_t i = 0; i < clusters_.size(); ++i) {
        if (clusters_[i].founders == *output.start) found = static_cast<int>(i);
      }
      if (found < 0) {
        found = static_cast<int>(clusters_.size());
        ++totals_->clusters;
        clusters_.push_back({*output.start, {*output.start}});
      }
      process.cluster = found;
      process.knows = 1;
    }
    if (output.join) {
      ++totals_->joins;
      process.joining = true;
      scheduler_.Trace("{} joins", id);
    }
    for (auto& [to, hello] : output.hellos) Send(to, std::move(hello));
  }

  void Send(Slot to, Hello hello) {
    Rng& rng = scheduler_.rng();
    const int copies = !healed_ && rng.Bernoulli(0.2) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
      if (!healed_ && rng.Bernoulli(loss_)) continue;
      Duration delay = rng.Exponential(Duration(20ms));
      if (!healed_ && rng.Bernoulli(0.05)) delay = rng.Between(Duration(0s), Duration(15s));
      scheduler_.After(delay, [this, to, hello] {
        processes_[to].rendezvous->Step(hello);
        Execute(to);
      });
    }
  }

  static std::vector<std::uint64_t> Numbers(const std::set<NodeId>& ids) {
    std::vector<std::uint64_t> numbers;
    for (const NodeId id : ids) numbers.push_back(id.value());
    return numbers;
  }

  // What Raft does for a cluster in a moment: whoever takes part learns the newest configuration
  // sooner or later; with a quorum there is a leader.
  void Lead(int index) {
    Cluster& cluster = clusters_[static_cast<std::size_t>(index)];
    const Configuration& newest = cluster.versions.back();
    const auto process_of = [&](NodeId id) -> Process* {
      for (auto& [slot, process] : processes_) {
        if (process.rendezvous->id() == id) return &process;
      }
      return nullptr;
    };
    const auto takes_part = [&](NodeId id) {
      const Process* process = process_of(id);
      return process != nullptr && (process->cluster == index || process->joining);
    };
    Process* leader = nullptr;
    bool quorum = true;
    {
      std::size_t present = 0;
      for (const NodeId id : newest.voters) {
        if (!takes_part(id)) continue;
        ++present;
        // Only who knows the newest configuration can have been elected here.
        Process* process = process_of(id);
        if (process->cluster == index && process->knows == cluster.versions.size()) {
          leader = process;
        }
      }
      quorum = 2 * present > newest.voters.size() && leader != nullptr;
    }
    cluster.has_committed |= quorum;
    for (auto& [slot, process] : processes_) {
      const NodeId id = process.rendezvous->id();
      if (quorum && newest.Contains(id) && takes_part(id) && scheduler_.rng().Bernoulli(0.5)) {
        process.knows = cluster.versions.size();
        process.cluster = index;
        process.has_committed = true;
      }
      if (process.cluster == index) {
        process.rendezvous->Update(cluster.versions[process.knows - 1], quorum,
                                   process.has_committed);
      }
    }
    if (!quorum) return;
    std::set<NodeId> caught_up;
    for (const NodeId id : newest.learners) {
      const Process* process = process_of(id);
      if (process != nullptr && process->cluster == index) caught_up.insert(id);
    }
    const auto change = leader->rendezvous->Replacement(newest, caught_up);
    if (!change) return;
    const auto next = Apply(newest, *change);
    if (!next.ok()) return scheduler_.Fail(Message(next.status()));
    for (const NodeId id : change->remove) {
      if (!dead_.contains(id)) scheduler_.Fail(fmt::format("{} is removed alive", id));
      ++totals_->replaced;
    }
    scheduler_.Trace("cluster {} has voters {}", index, fmt::join(Numbers(next->voters), ","));
    // The majority that committed it knows it.
    const auto knew = cluster.versions.size();
    cluster.versions.push_back(next->Left());
    for (auto& [slot, process] : processes_) {
      if (process.cluster == index && process.knows == knew && scheduler_.rng().Bernoulli(0.7)) {
        ++process.knows;
      }
    }
    leader->knows = cluster.versions.size();
  }

  // Never do two clusters have living members.
  void CheckClusters() {
    int living = -1;
    for (const auto& [slot, process] : processes_) {
      if (process.cluster < 0) continue;
      if (living >= 0 && process.cluster != living) {
        scheduler_.Fail(fmt::format("clusters {} and {} live", living, process.cluster));
      }
      living = process.cluster;
    }
  }

  bool Whole() {
    std::set<NodeId> ids;
    const int cluster = processes_.begin()->second.cluster;
    if (cluster < 0) return false;
    for (const auto& [slot, process] : processes_) {
      if (process.cluster != cluster) return false;
      if (process.rendezvous->state() != State::kMember) return false;
      ids.insert(process.rendezvous->id());
    }
    return clusters_[static_cast<std::size_t>(cluster)].versions.back().voters == ids;
  }

  sim::Scheduler scheduler_;
  Totals* totals_;
  RendezvousOptions options_;
  double loss_ = 0;
  Duration restart_every_{};
  bool healed_ = false;
  TimePoint faults_end_ = scheduler_.now() + Duration(30s);
  std::map<Slot, Process> processes_;
  std::vector<Cluster> clusters_;
  std::set<NodeId> dead_;
};

TEST(RendezvousSimulation, OneClusterLivesAtATimeAndAllAreInItWhenTheFaultsEnd) {
  Totals totals;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    const sim::RunResult result = RendezvousRun(seed, &totals).Execute();
    ASSERT_EQ(result.failure, std::nullopt)
        << "seed " << seed << '\n'
        << fmt::format("{}", fmt::join(result.trace_tail, "\n"));
  }
  fmt::print(
      "starts {}, clusters {}, given up {}, joined {}, replaced {}, restarts of locked {}, joining "
      "{}, members {}, by the operator {}\n",
      totals.starts, totals.clusters, totals.starts_over, totals.joins, totals.replaced,
      totals.restarts_of_locked, totals.restarts_of_joining, totals.restarts_of_members,
      totals.operator_restarts);
  for (const int total : {totals.starts, totals.clusters, totals.starts_over, totals.joins,
                          totals.replaced, totals.restarts_of_locked, totals.restarts_of_joining,
                          totals.restarts_of_members, totals.operator_restarts}) {
    EXPECT_GT(total, 0);
  }
}

TEST(RendezvousSimulation, OneSeedGivesOneRun) {
  Totals totals;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    EXPECT_EQ(RendezvousRun(seed, &totals).Execute(), RendezvousRun(seed, &totals).Execute());
  }
}

}  // namespace
}  // namespace ds::raft
