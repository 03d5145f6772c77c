// Safety: paper Figure 3, §5.4.2 and Figure 8, §5.4.3. Group checks the properties of Figure 3 at
// each step of all tests; here they are put under stress.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/raft/core/group.h"
#include "tests/raft/core/random_run.h"

namespace ds::raft {
namespace {

using testing::ElementsAre;

// Figure 8, (a) to (c): server 1 led term 2 and came back as the leader of term 4; its entry of
// term 2 is on a majority, and may still be lost to server 5's of term 3.
Group::Options Figure8() {
  Group::Options options;
  options.voters = 5;
  options.node.pre_vote = false;
  options.logs[1] = LogOf({1, 2});
  options.logs[2] = LogOf({1, 2});
  options.logs[3] = LogOf({1});
  options.logs[4] = LogOf({1});
  options.logs[5] = LogOf({1, 3});
  for (const std::uint64_t id : {1U, 2U, 3U, 4U}) {
    options.hard_states[id] = HardState{Term(3), std::nullopt};
  }
  return options;
}

/// The leader's own entries of term 4 stay on the way; those before them arrive.
bool CarriesTerm4(const Group::Packet& packet) {
  const auto* append = std::get_if<AppendRequest>(&packet.message.body);
  return append != nullptr && !append->entries.empty() &&
         append->entries.back()->position.term == Term(4);
}

TEST(Figure8, AnEntryOfAnEarlierTermIsNotCommittedByCountingCopies) {
  Group group(Figure8());
  group.Isolate(5);
  group.Campaign(1);
  group.DeliverFrom(1, 2);
  group.DeliverFrom(1, 3);
  group.DeliverFrom(2, 1);
  group.DeliverFrom(3, 1);
  ASSERT_EQ(group.Leader(), 1U);
  group.Take();
  group.Inject(2, 1, AppendAnswer(4, true, At(2, 2)));
  group.Inject(3, 1, AppendAnswer(4, true, At(2, 2)));
  EXPECT_EQ(group[1].committed(), LogIndex(0)) << "on three of five, and of term 2";
}

TEST(Figure8, AnEntryOfTheOwnTermCommitsAllBeforeIt) {  // (e)
  Group group(Figure8());
  group.Isolate(5);
  group.Isolate(4);
  group.Campaign(1);
  group.Deliver();
  ASSERT_EQ(group.Leader(), 1U);
  EXPECT_EQ(group[1].committed(), LogIndex(3));
  EXPECT_THAT(group.state(1), ElementsAre("t1i1", "t2i2"));
  group.Heal();
  group.Crash(1);
  group.Campaign(5);
  group.Deliver();
  EXPECT_NE(group.Leader(), 5U) << "its log is not up to date";
}

TEST(Figure8, TheEntryOfTheEarlierTermMayBeOverwritten) {  // (d)
  Group group(Figure8());
  group.Isolate(5);
  group.SetDrop(CarriesTerm4);
  group.Campaign(1);
  group.Deliver();
  ASSERT_EQ(group.Leader(), 1U);
  EXPECT_EQ(group[1].committed(), LogIndex(0));
  group.Crash(1);
  group.Heal();
  for (int attempt = 0; attempt < 3 && group.Leader() != 5U; ++attempt) {
    group.Campaign(5);
    group.Deliver();
  }
  ASSERT_EQ(group.Leader(), 5U);
  group.Restart(1);
  group.Run(20);
  for (const std::uint64_t id : group.ids()) {
    EXPECT_THAT(group.state(id), ElementsAre("t1i1", "t3i2")) << id;
  }
}

// Figure 3, Leader Completeness

TEST(Safety, ANewLeaderHasEveryCommittedEntry) {
  for (std::uint64_t next = 2; next <= 5; ++next) {
    Group group(5);
    group.Elect(1);
    group.Run(4);
    group.Isolate(4);
    group.Isolate(5);
    group.Propose(1, "kept");
    group.Deliver();
    ASSERT_THAT(group.state(1), ElementsAre("kept"));
    group.Heal();
    group.Crash(1);
    group.Campaign(next);
    group.Run(100);
    ASSERT_TRUE(group.Leader()) << next;
    EXPECT_THAT(group.state(*group.Leader()), ElementsAre("kept")) << next;
  }
}

TEST(Safety, AnOldLeaderCannotCommitBesideTheNewOne) {
  Group group(5);
  group.Elect(1);
  group.Run(4);
  for (const std::uint64_t id : {3U, 4U, 5U}) {
    group.Cut(1, id);
    group.Cut(2, id);
  }
  group.Elect(3);
  group.Propose(1, "old");
  group.Propose(3, "new");
  group.Deliver();
  EXPECT_THAT(group.state(1), ElementsAre());
  EXPECT_THAT(group.state(3), ElementsAre("new"));
}

TEST(Safety, EachEntryIsGivenToTheStateMachineOnce) {
  Group group;
  group.Elect(1);
  for (int i = 0; i < 20; ++i) group.Propose(1, std::to_string(i));
  group.Run(10);
  ASSERT_EQ(group.state(2).size(), 20U);
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(group.state(2)[static_cast<std::size_t>(i)], std::to_string(i));
}

// §5.4.3 and Figure 3 by trial: loss, copies, other orders, cuts, crashes that lose what was not
// durable, compaction, changes of the membership, transfers and reads, by the seed.

TEST(Safety, HoldsInRandomRuns) {
  RandomRunCounts counts;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RandomRun(seed, RandomRunOptions{}, counts);
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(counts.leaders, 400U);
  EXPECT_GT(counts.applied, 10'000U);
  EXPECT_GT(counts.crashes, 500U);
  EXPECT_GT(counts.installs, 100U);
  EXPECT_GT(counts.changes, 100U);
  EXPECT_GT(counts.reads, 1000U);
}

}  // namespace
}  // namespace ds::raft
