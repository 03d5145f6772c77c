// A leader whose disk finishes nothing: it could answer nobody, and its heartbeats need no disk.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/raft/core/group.h"

namespace ds::raft {
namespace {

using Role = Node::Role;
using testing::ElementsAre;

Group::Options Patience(std::uint32_t ticks, std::uint64_t voters = 3) {
  Group::Options options;
  options.voters = voters;
  options.node.disk_stall_max_ticks = ticks;
  return options;
}

struct Cluster : Group {
  explicit Cluster(Options options) : Group(std::move(options)) {
    Elect(1);
    Run(4);
  }
};

TEST(StalledDisk, TheLeaderHandsOver) {
  Cluster group(Patience(40));
  group.SetAutomatic(1, false);
  group.Propose(1, "a");
  group.Deliver();
  ASSERT_EQ(group[1].committed(), LogIndex(2));
  ASSERT_EQ(group[1].applied(), LogIndex(1)) << "nobody can be answered";
  group.Run(39);
  EXPECT_EQ(group[1].role(), Role::kLeader);
  EXPECT_EQ(group[1].TicksToNext(), 1U);
  group.Run(1);
  EXPECT_EQ(group.Count(1, Event::Kind::kDiskStalled), 1U);
  const std::optional<std::uint64_t> next = group.Leader();
  ASSERT_TRUE(next);
  ASSERT_NE(*next, 1U) << "at once, without a timer";
  EXPECT_THAT(group.state(*next), ElementsAre("a"));
  group.Read(*next, 7);
  group.Propose(*next, "b");
  group.Run(200);
  EXPECT_EQ(group.reads(*next).size(), 1U);
  EXPECT_EQ(group.Leader(), next) << "1 does not come back while its disk stalls";
  EXPECT_THAT(group.state(*next), ElementsAre("a", "b"));
  group.SetAutomatic(1, true);
  group.Run(20);
  EXPECT_EQ(group.state(1), group.state(*next));
}

TEST(StalledDisk, ALostOrderIsMadeUpForByTheTimers) {
  Cluster group(Patience(40));
  group.SetAutomatic(1, false);
  group.SetDrop([](const Group::Packet& packet) {
    return std::holds_alternative<TimeoutNow>(packet.message.body);
  });
  group.Propose(1, "a");
  group.Run(140);
  ASSERT_TRUE(group.Leader());
  EXPECT_NE(*group.Leader(), 1U);
}

TEST(StalledDisk, OneThatIsMerelySlowKeepsItsLeader) {
  Cluster group(Patience(40));
  group.SetAutomatic(1, false);
  for (int tick = 1; tick <= 600; ++tick) {
    if (tick % 5 == 0) group.Propose(1, std::to_string(tick));
    if (tick % 35 == 0) group.MakeDurable(1, 1);
    group.Run(1);
  }
  EXPECT_EQ(group.Count(1, Event::Kind::kDiskStalled), 0U);
  EXPECT_EQ(group[1].role(), Role::kLeader);
  EXPECT_EQ(group[1].term(), Term(1));
}

TEST(StalledDisk, WhereAllStallNobodyWouldBeBetter) {
  Cluster group(Patience(40));
  for (const std::uint64_t id : group.ids()) group.SetAutomatic(id, false);
  group.Propose(1, "a");
  group.Run(400);
  EXPECT_EQ(group.Leader(), 1U);
  EXPECT_EQ(group[1].term(), Term(1));
  for (const std::uint64_t id : group.ids()) group.SetAutomatic(id, true);
  group.Run(10);
  EXPECT_THAT(group.state(1), ElementsAre("a"));
}

TEST(StalledDisk, WithoutAMajorityOfOthersTheLeaderStays) {
  Cluster group(Patience(40));
  group.Crash(3);
  group.SetAutomatic(1, false);
  group.Propose(1, "a");
  group.Run(400);
  EXPECT_EQ(group.Leader(), 1U) << "2 alone could not be elected";
}

TEST(StalledDisk, IsWaitedForWithoutLimitIfThatIsAskedFor) {
  Cluster group(Patience(0));
  group.SetAutomatic(1, false);
  group.Propose(1, "a");
  group.Run(2000);
  EXPECT_EQ(group.Leader(), 1U);
}

TEST(StalledDisk, WhatTheOthersCommitMeanwhileIsBounded) {
  Group::Options options = Patience(0);
  options.node.uncommitted_bytes_max = 1000;
  Cluster group(options);
  group.SetAutomatic(1, false);
  int taken = 0;
  while (taken < 100 &&
         ToString(group.Propose(1, std::string(100, 'x'))) != "too much uncommitted") {
    ++taken;
    group.Run(4);
  }
  EXPECT_EQ(taken, 10);
  ASSERT_EQ(group[1].committed(), group[1].last().index) << "by the others";
  group.MakeDurable(1);
  EXPECT_TRUE(std::holds_alternative<Accepted>(group.Propose(1, "x"))) << "room again";
}

TEST(StalledDisk, ALeadersConfirmedReadsFailInTime) {
  Cluster group(Patience(0));
  group.SetAutomatic(1, false);
  group.Propose(1, "a");
  group.Deliver();
  group.Read(1, 7);
  group.Deliver();
  group.Run(19);
  ASSERT_TRUE(group.reads(1).empty());
  EXPECT_EQ(group[1].TicksToNext(), 1U);
  group.Run(1);
  ASSERT_EQ(group.reads(1).size(), 1U);
  EXPECT_EQ(group.reads(1).front().index, std::nullopt);
  group.MakeDurable(1);
  EXPECT_EQ(group.reads(1).size(), 1U) << "once";
}

}  // namespace
}  // namespace ds::raft
