// Each rule that a node can be told to break: its scenario sees the rule kept without the bug and
// broken with it, so the tests of these rules can fail.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "tests/raft/core/group.h"

namespace ds::raft {
namespace {

Group::Options With(PlantedBug bug) {
  Group::Options options;
  options.node.planted_bug = bug;
  return options;
}

bool GrantsVote(Group& group, std::uint64_t term, std::uint64_t candidate) {
  group.Take();
  group.Inject(candidate, 1, Vote(term, At(9, 9)));
  const auto answer = LastSaid<VoteResponse>(group, 1, candidate);
  return answer && answer->body.granted;
}

bool Answered(const Group& group, std::uint64_t id) {
  const auto& reads = group.reads(id);
  return std::any_of(reads.begin(), reads.end(), [](const auto& read) { return read.index; });
}

// Each says whether the rule was kept.

bool OneVoteIsGivenInATerm(PlantedBug bug) {
  Group group(With(bug));
  EXPECT_TRUE(GrantsVote(group, 1, 2));
  return !GrantsVote(group, 1, 3);
}

bool AnOldTermIsNotCommittedByCountingCopies(PlantedBug bug) {
  Group::Options options = With(bug);
  options.node.pre_vote = false;
  for (const std::uint64_t id : {1U, 2U, 3U}) options.logs[id] = LogOf({1, 2});
  Group group(options);
  group.Campaign(1);
  group.DeliverFrom(1, 2);
  group.DeliverFrom(2, 1);
  EXPECT_EQ(group.Leader(), 1U);
  group.Take();
  group.Inject(2, 1, AppendAnswer(3, true, At(2, 2)));
  group.Inject(3, 1, AppendAnswer(3, true, At(2, 2)));
  group.TakeBreaches();
  return group[1].committed() == LogIndex(0);
}

bool AVoteOutlivesARestart(PlantedBug bug) {
  Group group(With(bug));
  EXPECT_TRUE(GrantsVote(group, 1, 2));
  group.Crash(1);
  group.Restart(1);
  return !GrantsVote(group, 1, 3);
}

bool APauseEndsTheLease(PlantedBug bug) {
  Group::Options options = With(bug);
  options.node.lease_reads = true;
  Group group(options);
  group.Elect(1);
  group.Run(6);
  EXPECT_TRUE(group[1].HasLease());
  group[1].Tick(1000);
  group.Read(1, 7);
  return !Answered(group, 1);
}

bool ARefusedConnectionDoesNotEndALease(PlantedBug bug) {
  Group::Options options = With(bug);
  options.node.lease_reads = true;
  Group group(options);
  group.Elect(1);
  group.Run(6);
  group.ConnectionRefused(2, 1);
  group.ConnectionRefused(3, 1);
  group.Tick(2, 5);  // less than any timer
  group.DeliverAmong({2, 3});
  return group.Leader() == 1U;
}

bool AChangeWaitsForAnEntryOfTheTerm(PlantedBug bug) {
  Group::Options options = With(bug);
  options.node.pre_vote = false;
  Group group(options);
  group.Campaign(1);
  group.DeliverFrom(1, 2);
  group.DeliverFrom(2, 1);
  EXPECT_EQ(group.Leader(), 1U);
  ConfigurationChange change;
  change.remove = {NodeId(3)};
  return ToString(group.Change(1, change)) == "change under way";
}

bool APreviousEntryOfAnotherTermIsNoMatch(PlantedBug bug) {
  Group::Options options = With(bug);
  options.logs[1] = LogOf({1, 2, 2});
  Group group(options);
  group.Inject(2, 1, Append(3, At(3, 3), LogOf({3}, 4)));
  const auto answer = LastSaid<AppendResponse>(group, 1, 2);
  EXPECT_TRUE(answer);
  group.TakeBreaches();
  return answer && !answer->body.accepted && group.Log(1) == "1 2 2";
}

bool ASnapshotsConfigurationIsUsed(PlantedBug bug) {
  Group group(With(bug));
  group.Elect(1);
  group.AddEmpty(4);
  group.AddEmpty(5);
  ConfigurationChange change;
  change.add_voters = {{NodeId(4), "m4"}, {NodeId(5), "m5"}};
  group.Change(1, change);
  group.Run(10);
  group.Compact(2);
  group.Crash(2);
  group.Restart(2);
  group.Run(10);
  group.TakeBreaches();
  return group[2].configuration() == VotersOnly({1, 2, 3, 4, 5});
}

bool AReadWaitsForARound(PlantedBug bug) {
  Group group(With(bug));
  group.Elect(1);
  group.Run(4);
  group.Isolate(1);
  group.Read(1, 7);
  group.Deliver();
  return !Answered(group, 1);
}

bool AnswersFollowTheDisk(PlantedBug bug) {
  Group group(With(bug));
  group.SetAutomatic(1, false);
  group.Inject(2, 1, Append(1, At(0, 0), LogOf({1})));
  const auto answer = LastSaid<AppendResponse>(group, 1, 2);
  group.TakeBreaches();
  return !answer || !answer->body.accepted || answer->body.match.index == LogIndex(0);
}

struct Case {
  PlantedBug bug;
  std::function<bool(PlantedBug)> kept;
};

const std::vector<Case>& Cases() {
  static const std::vector<Case> cases = {
      {PlantedBug::kVoteTwice, OneVoteIsGivenInATerm},
      {PlantedBug::kCommitOldTerm, AnOldTermIsNotCommittedByCountingCopies},
      {PlantedBug::kForgetVote, AVoteOutlivesARestart},
      {PlantedBug::kLeaseAfterPause, APauseEndsTheLease},
      {PlantedBug::kRefusedIsDead, ARefusedConnectionDoesNotEndALease},
      {PlantedBug::kChangeWithoutNoop, AChangeWaitsForAnEntryOfTheTerm},
      {PlantedBug::kTruncateCommitted, APreviousEntryOfAnotherTermIsNoMatch},
      {PlantedBug::kSnapshotForgetsConfiguration, ASnapshotsConfigurationIsUsed},
      {PlantedBug::kReadWithoutRound, AReadWaitsForARound},
      {PlantedBug::kAckBeforeDurable, AnswersFollowTheDisk},
  };
  return cases;
}

TEST(BrokenRule, EachHasItsScenario) {
  for (const PlantedBug bug : kPlantedBugs) {
    EXPECT_EQ(std::count_if(Cases().begin(), Cases().end(),
                            [bug](const Case& test) { return test.bug == bug; }),
              1)
        << Name(bug);
  }
}

TEST(BrokenRule, WithoutItTheRuleIsKept) {
  for (const Case& test : Cases()) EXPECT_TRUE(test.kept(PlantedBug::kNone)) << Name(test.bug);
}

TEST(BrokenRule, WithItTheRuleIsBroken) {
  for (const Case& test : Cases()) EXPECT_FALSE(test.kept(test.bug)) << Name(test.bug);
}

}  // namespace
}  // namespace ds::raft
