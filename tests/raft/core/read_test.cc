// Reads: paper §8; thesis §6.4 (ReadIndex, on followers too) and §6.4.1 (leases).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/raft/core/group.h"

namespace ds::raft {
namespace {

using Role = Node::Role;

/// "7@3" for a read answered at index 3, "7-" for one that failed.
std::vector<std::string> Reads(const Group& group, std::uint64_t id) {
  std::vector<std::string> reads;
  for (const Output::Read& read : group.reads(id)) {
    reads.push_back(std::to_string(read.id) +
                    (read.index ? "@" + std::to_string(read.index->value()) : "-"));
  }
  return reads;
}

using testing::ElementsAre;
using testing::IsEmpty;

std::size_t Rounds(const Group& group, std::uint64_t to) {
  std::size_t rounds = 0;
  for (const Group::Packet& packet : group.under_way()) {
    rounds += packet.to == to && std::holds_alternative<AppendRequest>(packet.message.body);
  }
  return rounds;
}

struct Cluster : Group {
  explicit Cluster(std::uint64_t voters = 3) : Group(voters) { Begin(); }
  explicit Cluster(Options options) : Group(std::move(options)) { Begin(); }

 private:
  void Begin() {
    Elect(1);
    Run(4);
    Propose(1, "a");
    Run(4);
    Take();
  }
};

Group::Options Leases() {
  Group::Options options;
  options.node.lease_reads = true;
  return options;
}

/// So long a lease of these members lasts: the promise of a slow clock on a fast one, less the two
/// ticks that cannot be seen.
std::uint64_t LeaseTicks() {
  const NodeOptions options = Leases().node;
  const double ratio = (1 - options.clock_drift) / (1 + options.clock_drift);
  return static_cast<std::uint64_t>(options.election_timeout_min_ticks * ratio) - 2;
}

// §6.4

TEST(ReadIndex, IsAnsweredAfterARoundOfHeartbeats) {
  Cluster group;
  EXPECT_EQ(group.Read(1, 7), std::nullopt);
  EXPECT_THAT(Reads(group, 1), IsEmpty());
  EXPECT_EQ(Rounds(group, 2), 1U) << "at once, not with the next heartbeat";
  group.DeliverAmong({1, 2});
  EXPECT_THAT(Reads(group, 1), ElementsAre("7@2"));
}

TEST(ReadIndex, WithoutAMajorityThereIsNoAnswer) {
  Cluster group(5);
  group.Isolate(3);
  group.Isolate(4);
  group.Isolate(5);
  group.Read(1, 7);
  group.Deliver();
  EXPECT_THAT(Reads(group, 1), IsEmpty());
  group.Run(60);
  EXPECT_THAT(Reads(group, 1), ElementsAre("7-")) << "it stepped down";
}

TEST(ReadIndex, AnswersToEarlierRoundsDoNotCount) {
  Cluster group;
  group.Tick(1, 3);
  group.DeliverFrom(1, 2);
  group.DeliverFrom(1, 3);
  group.Read(1, 7);
  group.DeliverFrom(2, 1);
  group.DeliverFrom(3, 1);
  EXPECT_THAT(Reads(group, 1), IsEmpty());
  group.Deliver();
  EXPECT_THAT(Reads(group, 1), ElementsAre("7@2"));
}

TEST(ReadIndex, ReadsBeforeAnOutputShareARound) {
  Cluster group;
  for (ReadId read = 1; read <= 100; ++read) group[1].Read(read);
  group.Pump(1);
  EXPECT_EQ(Rounds(group, 2), 1U);
  group.Deliver();
  ASSERT_EQ(group.reads(1).size(), 100U);
  EXPECT_EQ(Reads(group, 1)[99], "100@2");
}

TEST(ReadIndex, ACommittedRemovalConfirmsWhatWaitsForTheRemoved) {  // §6, thesis §6.4
  Cluster group(2);
  group.SetAutomatic(1, false);
  ConfigurationChange change;
  change.remove = {NodeId(2)};
  group.Change(1, change);
  group.DeliverFrom(1, 2);
  group.DeliverFrom(2, 1);
  EXPECT_EQ(group.Read(1, 7), std::nullopt);
  group.Isolate(2);
  EXPECT_THAT(Reads(group, 1), IsEmpty());
  group.MakeDurable(1);
  ASSERT_EQ(group[1].configuration(), VotersOnly({1}));
  EXPECT_THAT(Reads(group, 1), ElementsAre("7@2"));
}

Group::Options WithoutCheckQuorum() {
  Group::Options options;
  options.node.check_quorum = false;
  options.node.pre_vote = false;
  options.node.reads_max = 2;
  return options;
}

TEST(ReadIndex, FailsWhenNoMajorityAnswersWithinAnElectionTimeout) {  // thesis §6.4
  Cluster group(WithoutCheckQuorum());
  group.Isolate(2);
  group.Isolate(3);
  group.Read(1, 7);
  group.Inject(2, 1, {group[1].term(), ReadRequest{5}});
  EXPECT_EQ(ToString(group.Read(1, 8)->why), "too many reads");
  group.Tick(1, 19);
  EXPECT_THAT(Reads(group, 1), IsEmpty());
  EXPECT_EQ(group[1].TicksToNext(), 1U);
  group.Tick(1, 1);
  EXPECT_THAT(Reads(group, 1), ElementsAre("7-"));
  ASSERT_EQ(group[1].role(), Role::kLeader);
  EXPECT_EQ(group.Read(1, 9), std::nullopt) << "the other's is no longer counted either";
  EXPECT_EQ(group.Read(1, 10), std::nullopt);
}

TEST(ReadIndex, FailsWhenNoEntryOfTheTermIsCommittedWithinAnElectionTimeout) {  // thesis §6.4
  Group group(WithoutCheckQuorum());
  group.Campaign(1);
  group.Inject(2, 1, Granted(1));
  ASSERT_EQ(group[1].role(), Role::kLeader);
  group.Inject(2, 1, {Term(1), ReadRequest{5}});
  group.Tick(1, 5);
  EXPECT_EQ(group.Read(1, 7), std::nullopt);
  group.Tick(1, 14);
  EXPECT_THAT(Reads(group, 1), IsEmpty());
  group.Tick(1, 1);
  EXPECT_THAT(Reads(group, 1), ElementsAre("7-"));
  EXPECT_EQ(group.Read(1, 8), std::nullopt);
  EXPECT_EQ(group.Read(1, 9), std::nullopt) << "the other's is no longer counted either";
}

TEST(ReadIndex, WaitsForAnEntryOfTheLeadersTerm) {  // step 1
  Group::Options options;
  options.node.pre_vote = false;
  for (const std::uint64_t id : {1U, 2U, 3U}) options.logs[id] = LogOf({1, 1});
  Group group(options);
  group.Campaign(1);
  group.DeliverFrom(1, 2);
  group.DeliverFrom(2, 1);
  ASSERT_EQ(group[1].role(), Role::kLeader);
  EXPECT_EQ(group.Read(1, 7), std::nullopt);
  EXPECT_THAT(Reads(group, 1), IsEmpty());
  group.Deliver();
  EXPECT_THAT(Reads(group, 1), ElementsAre("7@3")) << "sees what earlier terms had committed";
}

TEST(ReadIndex, WaitsUntilTheStateHasItsIndex) {  // step 4
  Cluster group;
  group.SetAutomatic(1, false);
  group.Propose(1, "b");
  group.Deliver();
  ASSERT_EQ(group[1].committed(), LogIndex(3));
  ASSERT_EQ(group[1].applied(), LogIndex(2));
  group.Read(1, 7);
  group.Deliver();
  EXPECT_THAT(Reads(group, 1), IsEmpty());
  group.MakeDurable(1);
  EXPECT_THAT(Reads(group, 1), ElementsAre("7@3"));
}

TEST(ReadIndex, ASingleMemberAnswersAtOnce) {
  Group group(1);
  group.Elect(1);
  group.Propose(1, "a");
  group.Read(1, 7);
  EXPECT_THAT(Reads(group, 1), ElementsAre("7@2"));
}

TEST(ReadIndex, ADeposedLeaderDoesNotAnswer) {
  Cluster group;
  group.Isolate(1);
  group.Elect(2);
  group.Propose(2, "b");
  group.DeliverAmong({2, 3});
  group.Read(1, 7);
  group.Deliver();
  EXPECT_THAT(Reads(group, 1), IsEmpty());
  group.Heal();
  group.Run(20);
  EXPECT_THAT(Reads(group, 1), ElementsAre("7-"));
}

TEST(ReadIndex, AFollowerAsksTheLeaderAndReadsItsOwnState) {
  Cluster group;
  EXPECT_EQ(group.Read(3, 7), std::nullopt);
  group.Deliver();
  group.Run(4);
  EXPECT_THAT(Reads(group, 3), ElementsAre("7@2"));
}

TEST(ReadIndex, AFollowerThatIsBehindWaits) {
  Cluster group;
  group.SetDrop([](const Group::Packet& packet) {
    const auto* append = std::get_if<AppendRequest>(&packet.message.body);
    return packet.to == 3 && append != nullptr && !append->entries.empty();
  });
  group.Propose(1, "b");
  group.Deliver();
  group.Read(3, 7);
  group.Deliver();
  EXPECT_THAT(Reads(group, 3), IsEmpty());
  group.SetDrop(nullptr);
  group.Run(10);
  EXPECT_THAT(Reads(group, 3), ElementsAre("7@3"));
}

TEST(ReadIndex, FollowersReadsBeforeAnOutputShareAMessage) {
  Cluster group;
  for (ReadId read = 1; read <= 10; ++read) group[3].Read(read);
  group.Pump(3);
  std::size_t requests = 0;
  for (const Group::Packet& packet : group.under_way()) {
    requests += std::holds_alternative<ReadRequest>(packet.message.body);
  }
  EXPECT_EQ(requests, 1U);
  group.Deliver();
  group.Run(4);
  EXPECT_EQ(group.reads(3).size(), 10U);
}

TEST(ReadIndex, AFollowersReadIsNotLostForever) {
  Cluster group;
  group.SetDrop([](const Group::Packet& packet) {
    return std::holds_alternative<ReadRequest>(packet.message.body);
  });
  group.Read(3, 7);
  group.Deliver();
  group.SetDrop(nullptr);
  group.Run(100);
  EXPECT_THAT(group.reads(3), testing::SizeIs(1)) << "answered or failed";
}

TEST(ReadIndex, ALearnerReadsToo) {
  Cluster group;
  group.AddEmpty(4);
  ConfigurationChange change;
  change.add_learners[NodeId(4)] = "m4";
  group.Change(1, change);
  group.Run(10);
  group.Read(4, 7);
  group.Deliver();
  group.Run(4);
  EXPECT_THAT(Reads(group, 4), ElementsAre("7@3"));
}

TEST(ReadIndex, WithoutAKnownLeaderAFollowerRefuses) {
  Group group;
  const std::optional<Refused> refused = group.Read(2, 7);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->why, Refused::Why::kNotLeader);
  group.Run(50);
  EXPECT_THAT(Reads(group, 2), IsEmpty()) << "it was refused already";
}

TEST(ReadIndex, ReadsThatWaitAreBounded) {
  Group::Options options;
  options.node.reads_max = 10;
  Cluster group(options);
  for (const std::uint64_t id : {1U, 3U}) {
    for (ReadId read = 1; read <= 10; ++read) EXPECT_EQ(group.Read(id, read), std::nullopt);
    const std::optional<Refused> refused = group.Read(id, 11);
    ASSERT_TRUE(refused) << id;
    EXPECT_EQ(refused->why, Refused::Why::kTooManyReads) << id;
  }
  group.Deliver();
  group.Run(4);
  EXPECT_EQ(group.reads(1).size(), 10U);
  EXPECT_EQ(group.reads(3).size(), 10U);
  EXPECT_EQ(group.Read(1, 12), std::nullopt);
}

TEST(ReadIndex, ALeaderThatStepsDownFailsItsReads) {
  Cluster group;
  group.Read(1, 7);
  group.Take();
  group.Inject(2, 1, AppendAnswer(9, false, At(0, 0)));
  EXPECT_THAT(Reads(group, 1), ElementsAre("7-"));
}

TEST(ReadIndex, OfAFollowerIsAnsweredByTheLeaderInOffice) {
  Cluster group;
  group.Isolate(1);
  group.Elect(2);
  group.Propose(2, "b");
  group.DeliverAmong({2, 3});
  group.Take();
  group.Inject(3, 1, {group[1].term(), ReadRequest{.batch = 5}});
  for (const Group::Packet& packet : group.Take(1)) {
    const auto* answer = std::get_if<ReadResponse>(&packet.message.body);
    EXPECT_FALSE(answer != nullptr && answer->index) << "1 is deposed and may not say an index";
  }
}

TEST(ReadIndex, OfAStateThatASnapshotReplacesWaitsForThatSnapshot) {
  Cluster group;
  group.Isolate(3);
  for (int i = 0; i < 5; ++i) group.Propose(1, "x");
  group.Deliver();
  group.Compact(1);
  group.Heal();
  group.SetAutomatic(3, false);
  for (int tick = 0; tick < 100 && group[3].applied() < LogIndex(7); ++tick) {
    group.Run(1);
    while (group[3].applied() < LogIndex(7) && group.unwritten(3) > 0) group.MakeDurable(3, 1);
  }
  ASSERT_EQ(group[3].applied(), LogIndex(7));
  group.Read(3, 7);
  group.Deliver();
  group.MakeDurable(3);
  group.Deliver();
  EXPECT_THAT(Reads(group, 3), ElementsAre("7@7"));
}

// §6.4.1

TEST(Lease, AReadIsAnsweredWithoutARound) {
  Cluster group(Leases());
  ASSERT_TRUE(group[1].HasLease());
  group.Take();
  group.Read(1, 7);
  EXPECT_THAT(Reads(group, 1), ElementsAre("7@2"));
  EXPECT_EQ(Rounds(group, 2), 0U);
}

TEST(Lease, EndsBeforeAnybodyCouldBeElected) {
  Cluster group(Leases());
  group.Tick(1, 3);
  group.Deliver();
  ASSERT_TRUE(group[1].HasLease());
  std::uint64_t ticks = 0;
  while (group[1].HasLease() && ticks < 100) {
    group.Tick(1);
    group.Take();
    ++ticks;
  }
  EXPECT_GE(ticks, 2U);
  // Followers are free after 10 ticks of their clocks: 10 / 1.1 * 0.9 of the leader's at worst.
  EXPECT_LE(ticks, 8U);
  group.Read(1, 7);
  EXPECT_THAT(Reads(group, 1), IsEmpty()) << "a round is needed";
}

TEST(Lease, APauseEndsIt) {
  Cluster group(Leases());
  group.Tick(1, 3);
  group.Deliver();
  ASSERT_TRUE(group[1].HasLease());
  ASSERT_LT(LeaseTicks() + 1, Leases().node.election_timeout_max_ticks);
  group.Tick(1, LeaseTicks() + 1);
  ASSERT_EQ(group[1].role(), Role::kLeader) << "it is the lease that has ended";
  EXPECT_FALSE(group[1].HasLease());
  group.Take();
  group.Read(1, 7);
  EXPECT_THAT(Reads(group, 1), IsEmpty()) << "a round is needed";
  EXPECT_EQ(Rounds(group, 2), 1U);
}

/// The answers to a round, on their way.
std::vector<Group::Packet> AnswersToARound(Cluster& group) {
  group.Tick(1, 3);
  group.DeliverFrom(1, 2);
  group.DeliverFrom(1, 3);
  return group.Take();
}

TEST(Lease, IsCountedFromTheRequestNotFromTheAnswer) {
  Cluster group(Leases());
  const std::vector<Group::Packet> answers = AnswersToARound(group);
  group.Tick(1, LeaseTicks() - 2);
  group.Take();
  ASSERT_FALSE(group[1].HasLease()) << "the one before has ended";
  ASSERT_EQ(answers.size(), 2U);
  for (const Group::Packet& answer : answers) group.Inject(answer.from, 1, answer.message);
  EXPECT_TRUE(group[1].HasLease()) << "late as they are, they count";
  group.Tick(1, 2);
  EXPECT_EQ(group[1].role(), Role::kLeader);
  EXPECT_FALSE(group[1].HasLease());
}

TEST(Lease, IsAsGoodForReadsThatWaited) {
  Cluster group(Leases());
  const std::vector<Group::Packet> answers = AnswersToARound(group);
  group.Tick(1, LeaseTicks() - 2);
  group.Read(1, 7);
  group.Take();
  ASSERT_THAT(Reads(group, 1), IsEmpty()) << "its round is lost";
  for (const Group::Packet& answer : answers) group.Inject(answer.from, 1, answer.message);
  group.Read(1, 8);
  EXPECT_THAT(Reads(group, 1), ElementsAre("7@2", "8@2"));
}

TEST(Lease, ATransferEndsIt) {
  Cluster group(Leases());
  ASSERT_TRUE(group[1].HasLease());
  group.Transfer(1, 2);
  EXPECT_FALSE(group[1].HasLease());
  group.Read(1, 7);
  EXPECT_THAT(Reads(group, 1), IsEmpty());
}

TEST(Lease, ANewLeaderHasNoneBeforeAMajorityAnswered) {
  Cluster group(Leases());
  group.Crash(1);
  group.Tick(3, group[3].TicksToNext() - 1);
  group.Campaign(2);
  while (group[2].role() != Role::kLeader && group.DeliverOne()) {
  }
  ASSERT_EQ(group[2].role(), Role::kLeader);
  ASSERT_LT(group[2].committed(), group[2].last().index) << "nobody has answered it yet";
  EXPECT_FALSE(group[2].HasLease());
  group.Deliver();
  ASSERT_EQ(group[2].committed(), group[2].last().index);
  EXPECT_TRUE(group[2].HasLease());
}

TEST(Lease, OnlyAnswersThatPromiseItCount) {
  Cluster group(Leases());
  for (int tick = 0; tick < 12; ++tick) {
    group.Tick(1);
    for (Group::Packet& packet : group.Take(1)) {
      const auto* append = std::get_if<AppendRequest>(&packet.message.body);
      if (append == nullptr) continue;
      Message answer = AppendAnswer(group[1].term().value(), true, group[1].last(), append->round);
      std::get<AppendResponse>(answer.body).honours_lease = false;
      group.Inject(packet.to, 1, answer);
    }
  }
  EXPECT_EQ(group[1].role(), Role::kLeader);
  EXPECT_FALSE(group[1].HasLease());
}

TEST(Lease, AFollowerPromisesItOnlyIfItKeepsIt) {
  for (const bool leases : {true, false}) {
    Group::Options options;
    options.node.lease_reads = leases;
    Group group(options);
    group.Inject(2, 1, Append(1, At(0, 0)));
    const auto answer = LastSaid<AppendResponse>(group, 1, 2);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->body.honours_lease, leases);
    group.Tick(1, 9);
    group.Inject(3, 1, Vote(5, At(9, 9)));
    const auto vote = LastSaid<VoteResponse>(group, 1, 3);
    EXPECT_FALSE(vote && vote->body.granted);
  }
}

TEST(Lease, ARestartedMemberKeepsWhatItPromised) {
  Cluster group(Leases());
  group.Crash(2);
  group.Restart(2);
  group.Tick(2, 5);
  group.Inject(3, 2, Vote(5, At(9, 9)));
  const auto vote = LastSaid<VoteResponse>(group, 2, 3);
  EXPECT_FALSE(vote && vote->body.granted)
      << "it cannot know whether a leader holds a lease with its promise";
}

TEST(Lease, IsShorterThanThePromiseByTheTicksThatCannotBeSeen) {  // thesis §6.4.1
  Group::Options options = Leases();
  options.node.clock_drift = 0;
  Cluster group(options);
  group.Tick(1, 3);
  group.Deliver();
  group.Tick(1, 7);
  EXPECT_TRUE(group[1].HasLease());
  group.Tick(1, 1);
  EXPECT_FALSE(group[1].HasLease()) << "either clock may be a tick further than it shows";
}

TEST(Lease, WithoutTheOptionThereIsNone) {
  Cluster group;
  EXPECT_FALSE(group[1].HasLease());
}

}  // namespace
}  // namespace ds::raft
