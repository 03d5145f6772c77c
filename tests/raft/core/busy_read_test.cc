// Reads (thesis §6.4) beside writes, under load, and on broken streams.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/raft/core/group.h"

namespace ds::raft {
namespace {

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

std::size_t Requests(const Group& group, std::uint64_t to) {
  std::size_t requests = 0;
  for (const Group::Packet& packet : group.under_way()) {
    requests += packet.to == to && std::holds_alternative<AppendRequest>(packet.message.body);
  }
  return requests;
}

/// 1 leads, "a" is applied at 2 everywhere.
struct Cluster : Group {
  Cluster() : Group(3) {
    Elect(1);
    Run(4);
    Propose(1, "a");
    Run(4);
    Take();
  }
};

TEST(BusyRead, DoesNotWaitForTheDisksOfFollowers) {
  Cluster group;
  group.SetAutomatic(2, false);
  group.SetAutomatic(3, false);
  group[1].Propose("b");
  group[1].Read(7);
  group.Pump(1);
  EXPECT_EQ(Requests(group, 2), 2U) << "the entries, and a heartbeat that is answered at once";
  group.Deliver();
  EXPECT_THAT(Reads(group, 1), ElementsAre("7@2"));
  ASSERT_EQ(group[1].committed(), LogIndex(2));
  group.Propose(1, "c");
  EXPECT_EQ(Requests(group, 2), 1U) << "no read waits";
}

TEST(BusyRead, AnAnsweredHeartbeatAcceptsOnlyWhatIsDurable) {
  Cluster group;
  group.SetAutomatic(2, false);
  group[1].Propose("b");
  group[1].Read(7);
  group.Pump(1);
  group.DeliverFrom(1, 2);
  const auto answer = LastSaid<AppendResponse>(group, 2, 1);
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->body.accepted);
  EXPECT_EQ(answer->body.match, At(1, 2));
}

TEST(BusyRead, AtMostTwoRoundsAreUnderWay) {
  Cluster group;
  for (ReadId read = 1; read <= 100; ++read) group.Read(1, read);
  EXPECT_EQ(Requests(group, 2), 2U);
  EXPECT_THAT(Reads(group, 1), IsEmpty());
  group.Deliver();
  EXPECT_EQ(group.reads(1).size(), 100U);
  EXPECT_EQ(Reads(group, 1).back(), "100@2");
}

TEST(BusyRead, LostRoundsAreRepeatedWithTheNextHeartbeat) {
  Cluster group;
  for (ReadId read = 1; read <= 4; ++read) group.Read(1, read);
  group.Take();
  group.Tick(1, 3);
  group.Deliver();
  EXPECT_EQ(group.reads(1).size(), 4U) << "also those that were in no round";
}

TEST(BusyRead, OfAFollowerFailsWhenTheStreamToItsLeaderBreaks) {
  Cluster group;
  group.Read(3, 7);
  group.Take();
  group.Unreachable(3, 2);
  EXPECT_THAT(Reads(group, 3), IsEmpty()) << "another's stream";
  group.Unreachable(3, 1);
  EXPECT_THAT(Reads(group, 3), ElementsAre("7-"));
  EXPECT_EQ(group[3].leader(), NodeId(1));
  group.Read(3, 8);
  group.Deliver();
  group.Run(4);
  EXPECT_THAT(Reads(group, 3), ElementsAre("7-", "8@2"));
}

}  // namespace
}  // namespace ds::raft
