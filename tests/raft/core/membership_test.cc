// Changes of the membership: paper §6; thesis §4.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "tests/raft/core/group.h"

namespace ds::raft {
namespace {

using testing::ElementsAre;
using Role = Node::Role;

ConfigurationChange AddVoter(std::uint64_t id) {
  ConfigurationChange change;
  change.add_voters[NodeId(id)] = "m" + std::to_string(id);
  return change;
}
ConfigurationChange AddLearner(std::uint64_t id) {
  ConfigurationChange change;
  change.add_learners[NodeId(id)] = "m" + std::to_string(id);
  return change;
}
ConfigurationChange Remove(std::uint64_t id) {
  ConfigurationChange change;
  change.remove.insert(NodeId(id));
  return change;
}

std::set<std::uint64_t> Ids(const std::set<NodeId>& members) {
  std::set<std::uint64_t> ids;
  for (const NodeId member : members) ids.insert(member.value());
  return ids;
}

/// 1 leads three voters; the others know it.
struct Cluster : Group {
  explicit Cluster(std::uint64_t voters = 3) : Group(voters) {
    Elect(1);
    Run(4);
  }
  explicit Cluster(Options options) : Group(std::move(options)) {
    Elect(1);
    Run(4);
  }
};

// §6: joint consensus

TEST(Membership, AVoterIsAddedThroughAJointConfiguration) {
  Cluster group;
  group.AddEmpty(4);
  EXPECT_EQ(ToString(group.Change(1, AddVoter(4))), "1/2");
  EXPECT_TRUE(group[1].configuration().joint());
  EXPECT_EQ(Ids(group[1].configuration().voters), (std::set<std::uint64_t>{1, 2, 3, 4}));
  EXPECT_EQ(Ids(group[1].configuration().outgoing), (std::set<std::uint64_t>{1, 2, 3}));
  group.Run(10);
  for (const std::uint64_t id : group.ids()) {
    EXPECT_FALSE(group[id].configuration().joint()) << id;
    EXPECT_EQ(group[id].configuration(), VotersOnly({1, 2, 3, 4})) << id;
    EXPECT_EQ(group[id].applied(), LogIndex(3)) << id << ": C-old,new and C-new";
  }
  EXPECT_GE(group.Count(4, Event::Kind::kConfiguration), 1U);
}

TEST(Membership, AConfigurationIsUsedAsSoonAsItIsInTheLog) {
  Cluster group;
  group.AddEmpty(4);
  group.SetAutomatic(1, false);
  group.Change(1, AddVoter(4));
  EXPECT_TRUE(group[1].configuration().joint()) << "neither committed nor durable";
  group.MakeDurable(1);
  group.DeliverFrom(1, 2);
  EXPECT_TRUE(group[2].configuration().joint());
  EXPECT_LT(group[2].committed(), LogIndex(2));
}

TEST(Membership, AJointConfigurationNeedsBothMajoritiesToCommit) {
  Cluster group;
  ConfigurationChange change = AddVoter(4);
  change.add_voters[NodeId(5)] = "m5";
  change.remove = {NodeId(2), NodeId(3)};
  group.AddEmpty(4);
  group.AddEmpty(5);
  group.Cut(1, 2);
  group.Cut(1, 3);
  ASSERT_EQ(ToString(group.Change(1, change)), "1/2");
  for (int round = 0; round < 3; ++round) {
    group.Tick(1, 3);
    group.Deliver();
  }
  EXPECT_EQ(group[4].last(), At(1, 2));
  EXPECT_EQ(group[1].committed(), LogIndex(1)) << "only the new majority has it";
  group.Heal();
  group.Run(10);
  EXPECT_EQ(Ids(group[1].configuration().voters), (std::set<std::uint64_t>{1, 4, 5}));
  EXPECT_FALSE(group[1].configuration().joint());
}

TEST(Membership, TheOldMajorityAloneDoesNotCommitEither) {
  Cluster group;
  ConfigurationChange change = AddVoter(4);
  change.add_voters[NodeId(5)] = "m5";
  change.remove = {NodeId(2), NodeId(3)};
  group.AddEmpty(4);
  group.AddEmpty(5);
  group.Isolate(4);
  group.Isolate(5);
  ASSERT_EQ(ToString(group.Change(1, change)), "1/2");
  group.Run(4);
  EXPECT_EQ(group[2].last(), At(1, 2));
  EXPECT_EQ(group[1].committed(), LogIndex(1));
}

TEST(Membership, AJointConfigurationNeedsBothMajoritiesToElect) {
  Group::Options options;
  options.node.pre_vote = false;
  Configuration joint = VotersOnly({1, 4, 5});
  joint.outgoing = {NodeId(1), NodeId(2), NodeId(3)};
  joint.contexts[NodeId(2)] = "m2";
  joint.contexts[NodeId(3)] = "m3";
  options.configuration = joint;
  for (const bool with_old : {false, true}) {
    Group group(options);
    group.Campaign(1);
    group.Inject(4, 1, Granted(1));
    group.Inject(5, 1, Granted(1));
    EXPECT_EQ(group[1].role(), Role::kCandidate);
    if (with_old) group.Inject(3, 1, Granted(1));
    EXPECT_EQ(group[1].role() == Role::kLeader, with_old);
  }
}

TEST(Membership, ANewLeaderEndsAJointConfigurationThatItFinds) {
  Cluster group(5);
  group.SetDrop([&group](const Group::Packet& packet) {  // C-new is never sent
    const auto* append = std::get_if<AppendRequest>(&packet.message.body);
    return append != nullptr && group[1].role() == Role::kLeader && packet.from == 1 &&
           !append->entries.empty() && append->entries.back()->position.index >= LogIndex(3);
  });
  group.Change(1, Remove(5));
  group.Deliver();
  ASSERT_TRUE(group[2].configuration().joint());
  group.Crash(1);
  group.SetDrop(nullptr);
  group.Run(200);
  ASSERT_TRUE(group.Leader());
  EXPECT_EQ(group[*group.Leader()].configuration(), VotersOnly({1, 2, 3, 4}));
}

TEST(Membership, AnUncommittedConfigurationIsLeftWithItsEntry) {
  Cluster group;
  group.Isolate(1);
  group.Change(1, Remove(3));
  EXPECT_TRUE(group[1].configuration().joint());
  group.Run(40);
  ASSERT_TRUE(group.Leader());
  group.Propose(*group.Leader(), "x");
  group.Heal();
  group.Run(40);
  EXPECT_EQ(group[1].configuration(), VotersOnly({1, 2, 3}));
}

TEST(Membership, ArbitraryChangesAreOne) {  // thesis §4.3
  Cluster group;
  for (const std::uint64_t id : {4U, 5U, 6U}) group.AddEmpty(id);
  ConfigurationChange change = AddVoter(4);
  change.add_voters[NodeId(5)] = "m5";
  change.add_learners[NodeId(6)] = "m6";
  change.remove = {NodeId(3)};
  group.Propose(1, "before");
  ASSERT_TRUE(std::holds_alternative<Accepted>(group.Change(1, change)));
  group.Run(20);
  const Configuration& now = group[1].configuration();
  EXPECT_EQ(Ids(now.voters), (std::set<std::uint64_t>{1, 2, 4, 5}));
  EXPECT_EQ(Ids(now.learners), (std::set<std::uint64_t>{6}));
  EXPECT_FALSE(now.joint());
  for (const std::uint64_t id : {1U, 2U, 4U, 5U, 6U}) {
    EXPECT_THAT(group.state(id), ElementsAre("before")) << id;
  }
}

TEST(Membership, CommandsAreTakenDuringAChange) {
  Cluster group;
  group.AddEmpty(4);
  group.Change(1, AddVoter(4));
  EXPECT_EQ(ToString(group.Propose(1, "x")), "1/3");
  group.Run(10);
  EXPECT_THAT(group.state(4), ElementsAre("x"));
}

// Thesis §4.1

TEST(Membership, OnlyOneChangeIsUnderWay) {
  Cluster group;
  group.AddEmpty(4);
  group.AddEmpty(5);
  group.Change(1, AddVoter(4));
  EXPECT_EQ(ToString(group.Change(1, AddVoter(5))), "change under way");
  group.Run(10);
  EXPECT_TRUE(std::holds_alternative<Accepted>(group.Change(1, AddVoter(5))));
}

TEST(Membership, AChangeWaitsForAnEntryOfTheLeadersTerm) {  // the bug of §4.1 and its mend
  Group::Options options;
  options.node.pre_vote = false;
  Group group(options);
  group.Campaign(1);
  group.DeliverFrom(1, 2);
  group.DeliverFrom(2, 1);
  ASSERT_EQ(group[1].role(), Role::kLeader);
  ASSERT_EQ(group[1].committed(), LogIndex(0));
  EXPECT_EQ(ToString(group.Change(1, Remove(3))), "change under way");
  group.Deliver();
  EXPECT_TRUE(std::holds_alternative<Accepted>(group.Change(1, Remove(3))));
}

TEST(Membership, AFollowerTakesNoChange) {
  Cluster group;
  const ProposeResult result = group.Change(2, AddVoter(4));
  ASSERT_EQ(ToString(result), "not leader");
  EXPECT_EQ(std::get<Refused>(result).leader, NodeId(1));
}

TEST(Membership, AChangeThatDoesNotFitIsRefusedWithAReason) {
  Cluster group;
  for (const ConfigurationChange& change : {ConfigurationChange{}, Remove(9), AddVoter(2)}) {
    const ProposeResult result = group.Change(1, change);
    ASSERT_EQ(ToString(result), "invalid change");
    EXPECT_FALSE(std::get<Refused>(result).detail.empty());
  }
  ConfigurationChange all;
  all.remove = {NodeId(1), NodeId(2), NodeId(3)};
  EXPECT_EQ(ToString(group.Change(1, all)), "invalid change");
  EXPECT_EQ(group[1].last(), At(1, 1));
}

// Thesis §4.2.1: learners

TEST(Learner, IsSentTheLogAndDoesNotCount) {
  Cluster group;
  group.AddEmpty(4);
  group.Change(1, AddLearner(4));
  EXPECT_FALSE(group[1].configuration().joint()) << "the voters stay the same";
  group.Run(10);
  group.Propose(1, "a");
  group.Run(10);
  EXPECT_THAT(group.state(4), ElementsAre("a"));
  group.Isolate(2);
  group.Isolate(3);
  group.Propose(1, "b");
  group.Deliver();
  EXPECT_EQ(group[4].last(), At(1, 4));
  EXPECT_EQ(group[1].committed(), LogIndex(3)) << "1 and a learner are no majority";
}

TEST(Learner, IsNotAskedForItsVoteAndDoesNotCampaign) {
  Cluster group;
  group.AddEmpty(4);
  group.Change(1, AddLearner(4));
  group.Run(10);
  group.Crash(1);
  group.SetDrop([](const Group::Packet& packet) {
    EXPECT_FALSE(packet.to == 4 && std::holds_alternative<VoteRequest>(packet.message.body));
    return false;
  });
  group.Run(100);
  ASSERT_TRUE(group.Leader());
  EXPECT_EQ(group.Count(4, Event::Kind::kCandidate), 0U);
}

TEST(Learner, BecomesAVoter) {
  Cluster group;
  group.AddEmpty(4);
  group.Change(1, AddLearner(4));
  group.Run(10);
  ASSERT_TRUE(std::holds_alternative<Accepted>(group.Change(1, AddVoter(4))));
  group.Run(10);
  EXPECT_EQ(group[1].configuration(), VotersOnly({1, 2, 3, 4}));
}

TEST(Learner, AVoterBecomesOneAfterTheJointConfiguration) {
  Cluster group;
  group.Change(1, AddLearner(3));
  EXPECT_TRUE(group[1].configuration().joint());
  EXPECT_TRUE(group[1].configuration().IsVoter(NodeId(3))) << "until the old one is left";
  group.Run(10);
  EXPECT_EQ(Ids(group[3].configuration().learners), (std::set<std::uint64_t>{3}));
  EXPECT_EQ(Ids(group[3].configuration().voters), (std::set<std::uint64_t>{1, 2}));
}

TEST(Learner, AVotesRequestOfAMemberItDoesNotKnowIsAnsweredByTheLog) {
  // §6: servers take requests of members that are not in their configuration, or a new voter that
  // has not been told yet would hold up its own cluster.
  Group group;
  group.AddEmpty(4);
  group.Inject(1, 4, Vote(3, At(1, 1)));
  const auto answer = LastSaid<VoteResponse>(group, 4, 1);
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->body.granted);
  group.Inject(1, 4, Append(3, At(0, 0), LogOf({1, 3}), 2));
  EXPECT_THAT(group.state(4), ElementsAre("t1i1", "t3i2"));
}

// Thesis §4.2.2: removal of the leader

TEST(Removal, ALeaderThatRemovesItselfLeadsUntilThatIsCommitted) {
  Cluster group;
  ASSERT_EQ(ToString(group.Change(1, Remove(1))), "1/2");
  EXPECT_EQ(group[1].role(), Role::kLeader);
  group.Run(10);
  EXPECT_NE(group[1].role(), Role::kLeader);
  group.Run(100);
  ASSERT_TRUE(group.Leader());
  EXPECT_NE(group.Leader(), 1U);
  EXPECT_EQ(group[*group.Leader()].configuration(), VotersOnly({2, 3}));
  group.Propose(*group.Leader(), "x");
  group.Run(10);
  EXPECT_THAT(group.state(2), ElementsAre("x"));
  EXPECT_THAT(group.state(1), ElementsAre());
}

TEST(Removal, ALeaderThatIsRemovedDoesNotCountItselfInTheNewMajority) {
  Cluster group;
  group.Change(1, Remove(1));
  group.DeliverFrom(1, 2);
  group.DeliverFrom(1, 3);
  group.DeliverFrom(2, 1);
  EXPECT_EQ(group[1].committed(), LogIndex(1)) << "1 and 2 of the old one, but only 2 of {2, 3}";
  group.DeliverFrom(3, 1);
  EXPECT_GE(group[1].committed(), LogIndex(2));
}

TEST(Removal, ARemovedFollowerIsNotSentEntriesAnyMore) {
  Cluster group;
  group.Change(1, Remove(3));
  group.Run(10);
  ASSERT_EQ(group[1].configuration(), VotersOnly({1, 2}));
  EXPECT_EQ(group[1].followers().size(), 1U);
  group.Propose(1, "x");
  group.Run(10);
  EXPECT_THAT(group.state(2), ElementsAre("x"));
  EXPECT_THAT(group.state(3), ElementsAre());
}

TEST(Removal, WhoIsLeavingIsAPeerUntilItKnows) {
  Cluster group;
  group.Isolate(3);
  group.Change(1, Remove(3));
  group.DeliverAmong({1, 2});
  ASSERT_EQ(group[1].configuration(), VotersOnly({1, 2}));
  const std::map<NodeId, std::string> both = {{NodeId(2), "m2"}, {NodeId(3), "m3"}};
  EXPECT_EQ(group[1].Peers(), both) << "it is sent messages, so its address is needed";
  EXPECT_EQ(group[2].Peers(), (std::map<NodeId, std::string>{{NodeId(1), "m1"}}));
  group.Take();
  group.Heal();
  group.Run(10);
  EXPECT_EQ(group[1].Peers(), (std::map<NodeId, std::string>{{NodeId(2), "m2"}}));
}

TEST(Removal, WhoLeavesWithTheLeaderIsAPeerOfItsLastWord) {
  Cluster group(5);
  ConfigurationChange change = Remove(1);
  change.remove.insert(NodeId(3));
  group.Change(1, change);
  group.Run(10);
  ASSERT_EQ(group[1].role(), Role::kFollower);
  EXPECT_EQ(group[3].configuration(), VotersOnly({2, 4, 5}));
  EXPECT_TRUE(group[1].Peers().contains(NodeId(3)));
}

TEST(Removal, WhoHasRemovedNobodyKeepsNoPeersOfItsTimeAsLeader) {
  Cluster group;
  group.Transfer(1, 2);
  group.Run(5);
  ASSERT_EQ(group[2].role(), Role::kLeader);
  group.Change(2, Remove(3));
  group.Run(10);
  EXPECT_EQ(group[1].configuration(), VotersOnly({1, 2}));
  EXPECT_EQ(group[1].Peers(), (std::map<NodeId, std::string>{{NodeId(2), "m2"}}));
}

TEST(Removal, ARemovedFollowerLearnsThatItIs) {  // thesis §4.2.2, §4.2.3
  Cluster group;
  group.Change(1, Remove(3));
  group.Run(10);
  ASSERT_EQ(group[1].configuration(), VotersOnly({1, 2}));
  EXPECT_EQ(group[3].configuration(), VotersOnly({1, 2}));
  EXPECT_EQ(group[3].committed(), LogIndex(3));
  group.Run(60);
  EXPECT_EQ(group[3].role(), Role::kFollower);
  EXPECT_EQ(group.Count(3, Event::Kind::kLeaderDead), 1U) << "then it waits in silence";
  group.Take();
  group.Run(60);
  EXPECT_EQ(group[3].TicksToNext(), std::numeric_limits<std::uint64_t>::max());
}

TEST(Removal, TheOnlyFollowerLearnsThatItIsRemoved) {
  Cluster group(2);
  group.Change(1, Remove(2));
  group.Run(40);
  EXPECT_EQ(group[2].configuration(), VotersOnly({1}));
  EXPECT_EQ(group[2].committed(), LogIndex(3));
}

TEST(Removal, WhoDoesNotAnswerIsNotToldForEver) {
  Cluster group;
  group.Isolate(3);
  group.Change(1, Remove(3));
  const auto told = [&group](std::uint64_t ticks) {
    int messages = 0;
    for (std::uint64_t tick = 0; tick < ticks; ++tick) {
      group.Tick(1);
      for (const Group::Packet& packet : group.under_way()) messages += packet.to == 3 ? 1 : 0;
      group.Deliver();
    }
    return messages;
  };
  EXPECT_GT(told(10), 0);
  ASSERT_EQ(group[1].configuration(), VotersOnly({1, 2}));
  told(15);
  EXPECT_EQ(told(20), 0);
}

TEST(Removal, WhoIsLeavingIsNotCountedAndDoesNotDepose) {  // thesis §4.2.3
  Cluster group;
  group.Isolate(3);
  group.Change(1, Remove(3));
  group.Run(4);
  ASSERT_EQ(group[1].configuration(), VotersOnly({1, 2}));
  group.Isolate(2);
  group.Propose(1, "x");
  group.Inject(3, 1, AppendAnswer(1, true, group[1].last()));
  EXPECT_LT(group[1].committed(), group[1].last().index);
  group.Inject(3, 1, AppendAnswer(9, false, At(0, 0)));
  EXPECT_EQ(group[1].role(), Role::kLeader);
  EXPECT_EQ(group[1].term(), Term(1));
}

TEST(Removal, DownToASingleMember) {
  Cluster group;
  ConfigurationChange change;
  change.remove = {NodeId(2), NodeId(3)};
  group.Change(1, change);
  group.Run(10);
  group.Crash(2);
  group.Crash(3);
  group.Propose(1, "x");
  EXPECT_THAT(group.state(1), ElementsAre("x"));
}

// Thesis §4.2.3: disruptive servers

TEST(Removal, ARemovedMemberDoesNotDisturb) {
  for (const bool pre_vote : {true, false}) {
    Group::Options options;
    options.node.pre_vote = pre_vote;
    Cluster group(options);
    group.Isolate(3);
    group.Change(1, Remove(3));
    group.Run(25);  // nobody tells it any more
    group.Heal();
    const Term term = group[1].term();
    for (int round = 0; round < 10; ++round) {
      group.Campaign(3);
      group.Run(3);
    }
    EXPECT_EQ(group.node(1).role(), Role::kLeader) << pre_vote;
    EXPECT_EQ(group[1].term(), term) << pre_vote;
  }
}

// A configuration outlives restarts and snapshots.

TEST(Membership, OutlivesACrash) {
  Cluster group;
  group.AddEmpty(4);
  group.Change(1, AddVoter(4));
  group.Run(10);
  for (const std::uint64_t id : group.ids()) group.Crash(id);
  for (const std::uint64_t id : group.ids()) {
    group.Restart(id);
    EXPECT_EQ(group[id].configuration(), VotersOnly({1, 2, 3, 4})) << id;
  }
}

TEST(Membership, OutlivesCompaction) {
  Cluster group;
  group.AddEmpty(4);
  group.Change(1, AddVoter(4));
  group.Run(10);
  group.Compact(2);
  EXPECT_EQ(group.disk(2).snapshot.configuration, VotersOnly({1, 2, 3, 4}));
  group.Crash(2);
  group.Restart(2);
  EXPECT_EQ(group[2].configuration(), VotersOnly({1, 2, 3, 4}));
}

TEST(Membership, ANewMemberIsBroughtUpByASnapshot) {
  Cluster group;
  for (int i = 0; i < 10; ++i) group.Propose(1, std::to_string(i));
  group.Run(4);
  group.Compact(1);
  group.AddEmpty(4);
  group.Change(1, AddVoter(4));
  group.Run(20);
  EXPECT_EQ(group.state(4), group.state(1));
  EXPECT_EQ(group[4].configuration(), VotersOnly({1, 2, 3, 4}));
}

}  // namespace
}  // namespace ds::raft
