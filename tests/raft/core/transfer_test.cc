// Transfer of leadership: thesis §3.10.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/raft/core/group.h"

namespace ds::raft {
namespace {

using Role = Node::Role;
using testing::ElementsAre;

struct Cluster : Group {
  explicit Cluster(std::uint64_t voters = 3) : Group(voters) {
    Elect(1);
    Run(4);
  }
};

TEST(Transfer, TheTargetLeadsWithoutWaitingForATimer) {
  Cluster group;
  EXPECT_TRUE(std::holds_alternative<Accepted>(group.Transfer(1, 3)));
  group.Deliver();
  EXPECT_EQ(group.Leader(), 3U);
  EXPECT_EQ(group[1].role(), Role::kFollower);
  EXPECT_EQ(group[1].leader(), NodeId(3));
  EXPECT_EQ(group[3].term(), Term(2));
}

TEST(Transfer, TheTargetIsBroughtUpToDateFirst) {
  Cluster group;
  group.Isolate(3);
  for (const char* command : {"a", "b"}) group.Propose(1, command);
  group.Deliver();
  group.Heal();
  group.Transfer(1, 3);
  for (const Group::Packet& packet : group.under_way()) {
    EXPECT_FALSE(std::holds_alternative<TimeoutNow>(packet.message.body)) << "it is behind";
  }
  group.Run(8);
  EXPECT_EQ(group.Leader(), 3U);
  EXPECT_THAT(group.state(3), ElementsAre("a", "b"));
}

TEST(Transfer, ProposalsAreRefusedMeanwhile) {
  Cluster group;
  group.Isolate(3);
  group.Transfer(1, 3);
  EXPECT_EQ(ToString(group.Propose(1, "x")), "transferring");
  ConfigurationChange change;
  change.remove = {NodeId(2)};
  EXPECT_EQ(ToString(group.Change(1, change)), "transferring");
}

TEST(Transfer, AfterAnElectionTimeoutTheLeaderGoesOn) {
  Cluster group;
  group.Isolate(3);
  group.Transfer(1, 3);
  group.Run(20);
  EXPECT_EQ(group[1].role(), Role::kLeader);
  EXPECT_EQ(ToString(group.Propose(1, "x")), "1/2");
  group.Run(4);
  EXPECT_THAT(group.state(2), ElementsAre("x"));
}

TEST(Transfer, ToWhoHasNoVoteIsRefused) {
  Cluster group;
  group.AddEmpty(4);
  ConfigurationChange change;
  change.add_learners[NodeId(4)] = "m4";
  group.Change(1, change);
  group.Run(10);
  for (const std::uint64_t target : {1U, 4U, 9U}) {
    EXPECT_EQ(ToString(group.Transfer(1, target)), "invalid target") << target;
  }
  EXPECT_EQ(ToString(group.Transfer(2, 3)), "not leader");
  EXPECT_EQ(group[1].role(), Role::kLeader);
}

TEST(Transfer, TheCallIsHeardOnlyInTheTermItWasMadeIn) {
  Cluster group;
  group.Inject(2, 3, {Term(0), TimeoutNow{}});
  EXPECT_EQ(group[3].role(), Role::kFollower);
  EXPECT_EQ(group[3].term(), Term(1));
}

TEST(Transfer, TheCallOfAnotherThanTheLeaderIsIgnored) {
  Cluster group;
  group.Inject(2, 3, {Term(1), TimeoutNow{}});
  EXPECT_EQ(group[3].role(), Role::kFollower);
}

TEST(Transfer, ALearnerIgnoresTheCall) {
  Cluster group;
  group.AddEmpty(4);
  ConfigurationChange change;
  change.add_learners[NodeId(4)] = "m4";
  group.Change(1, change);
  group.Run(10);
  group.Inject(1, 4, {Term(1), TimeoutNow{}});
  EXPECT_EQ(group[4].role(), Role::kFollower);
  EXPECT_EQ(group[4].term(), Term(1));
}

TEST(Transfer, ToAMemberThatIsDeadEndsWithTheLeaderInOffice) {
  Cluster group(5);
  group.Crash(5);
  group.Transfer(1, 5);
  group.Run(40);
  EXPECT_EQ(group.Leader(), 1U);
  EXPECT_TRUE(std::holds_alternative<Accepted>(group.Propose(1, "x")));
}

TEST(Transfer, ALostCallIsRepeated) {
  Cluster group;
  int calls = 0;
  group.SetDrop([&calls](const Group::Packet& packet) {
    return std::holds_alternative<TimeoutNow>(packet.message.body) && ++calls == 1;
  });
  group.Transfer(1, 3);
  group.Run(6);
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(group.Leader(), 3U);
  EXPECT_EQ(group.Count(1, Event::Kind::kTransferFailed), 0U);
}

TEST(Transfer, ThatFailedIsSaid) {
  Cluster group;
  group.Isolate(3);
  group.Transfer(1, 3);
  group.Run(19);
  EXPECT_EQ(group.Count(1, Event::Kind::kTransferFailed), 0U);
  group.Run(1);
  ASSERT_EQ(group.Count(1, Event::Kind::kTransferFailed), 1U);
  EXPECT_EQ(group.events(1).back(), (Event{Event::Kind::kTransferFailed, Term(1), NodeId(3)}));
  group.Run(40);
  EXPECT_EQ(group.Count(1, Event::Kind::kTransferFailed), 1U);
}

TEST(Transfer, NothingCommittedIsLost) {
  Cluster group(5);
  for (std::uint64_t round = 0; round < 10; ++round) {
    const std::uint64_t leader = *group.Leader();
    group.Propose(leader, std::to_string(round));
    group.Transfer(leader, leader % 5 + 1);
    group.Run(8);
    ASSERT_EQ(group.Leader(), leader % 5 + 1);
  }
  EXPECT_EQ(group.state(1).size(), 10U);
}

}  // namespace
}  // namespace ds::raft
