#include "raft/sim/invariants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace ds::raft {
namespace {

using ::testing::HasSubstr;
using ::testing::Optional;
using ::testing::StartsWith;

EntryPtr Command(std::uint64_t term, std::uint64_t index, std::string data = "c") {
  return std::make_shared<const Entry>(
      Entry{{Term(term), LogIndex(index)}, Entry::Kind::kCommand, std::move(data)});
}

Configuration Voters(std::uint64_t count) {
  Configuration configuration;
  for (std::uint64_t i = 0; i < count; ++i) {
    configuration.voters.insert(NodeId(i));
    configuration.contexts[NodeId(i)] = "n";
  }
  return configuration;
}

/// Three members that begin, and the steps of them that a test tells the invariants of. What a
/// healthy cluster does is no violation; each test then adds one step that is.
class InvariantsTest : public ::testing::Test {
 protected:
  InvariantsTest() {
    for (std::uint64_t i = 0; i < 3; ++i) {
      Restored restored;
      restored.snapshot.configuration = configuration_;
      views_[i].id = NodeId(i);
      views_[i].configuration = &configuration_;
      invariants_.Started(views_[i], restored);
      invariants_.Loaded(NodeId(i), restored.snapshot, 0);
    }
  }

  void Take(std::uint64_t i, Output output) {
    if (!output.entries.empty()) views_[i].last = output.entries.back()->position;
    output.batch = output.entries.empty() && !output.hard_state ? 0 : ++batch_;
    invariants_.Took(views_[i], output);
  }
  /// Durable at once.
  void Write(std::uint64_t i, Output output) {
    Take(i, std::move(output));
    invariants_.Wrote(NodeId(i), batch_);
  }
  void Lead(std::uint64_t i, std::uint64_t term) {
    views_[i].term = Term(term);
    views_[i].role = Node::Role::kLeader;
    Take(i, {});
  }
  void Follow(std::uint64_t i, std::uint64_t term) {
    views_[i].term = Term(term);
    views_[i].role = Node::Role::kFollower;
    Take(i, {});
  }
  void Commit(std::uint64_t i, std::uint64_t index) {
    views_[i].committed = LogIndex(index);
    Take(i, {});
  }
  /// Node 0 leads term 1, and its entry 1 is at 0 and 1, committed.
  void CommitOne() {
    Lead(0, 1);
    Write(0, {.entries = {Command(1, 1)}});
    Follow(1, 1);
    Write(1, {.entries = {Command(1, 1)}});
    Commit(0, 1);
    ASSERT_EQ(invariants_.violation(), std::nullopt);
  }

  const Configuration configuration_ = Voters(3);
  Invariants::View views_[3];
  std::uint64_t batch_ = 0;
  Invariants invariants_;
};

TEST_F(InvariantsTest, AHealthyClusterViolatesNone) {
  CommitOne();
  invariants_.Applied(NodeId(0), *Command(1, 1), 7);
  invariants_.Acknowledged({Term(1), LogIndex(1)});
  Commit(1, 1);
  invariants_.Applied(NodeId(1), *Command(1, 1), 7);
  EXPECT_EQ(invariants_.violation(), std::nullopt);
  EXPECT_EQ(invariants_.committed(), LogIndex(1));
  EXPECT_EQ(invariants_.acknowledged(), LogIndex(1));
}

TEST_F(InvariantsTest, TwoLeadersOfOneTermViolateElectionSafety) {
  Lead(0, 1);
  Lead(1, 1);
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("election safety")));
}

TEST_F(InvariantsTest, ATermThatFallsViolatesElectionSafety) {
  Follow(0, 2);
  Follow(0, 1);
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("election safety")));
}

TEST_F(InvariantsTest, ALeaderThatReplacesAnEntryViolatesAppendOnly) {
  Lead(0, 1);
  Write(0, {.entries = {Command(1, 1)}});
  Write(0, {.entries = {Command(1, 1, "other")}});
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("leader append-only")));
}

TEST_F(InvariantsTest, OnePositionWithTwoContentsViolatesLogMatching) {
  Follow(0, 1);
  Write(0, {.entries = {Command(1, 1)}});
  Follow(1, 1);
  Write(1, {.entries = {Command(1, 1, "other")}});
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("log matching")));
}

TEST_F(InvariantsTest, OnePositionBehindDifferentEntriesViolatesLogMatching) {
  Follow(0, 2);
  Write(0, {.entries = {Command(1, 1), Command(2, 2)}});
  Follow(1, 2);
  Write(1, {.entries = {Command(2, 1), Command(2, 2)}});
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("log matching")));
}

TEST_F(InvariantsTest, ALogThatChangesUnseenViolatesLogMatching) {
  Follow(0, 1);
  Write(0, {.entries = {Command(1, 1)}});
  views_[0].last = {};
  Take(0, {});
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("log matching")));
}

TEST_F(InvariantsTest, ALeaderWithoutACommittedEntryViolatesCompleteness) {
  CommitOne();
  Lead(2, 2);
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("leader completeness")));
}

TEST_F(InvariantsTest, ALateLeaderOfAnEarlierTermNeedNotHaveWhatCameAfterIt) {
  Follow(0, 2);
  Follow(1, 2);
  Lead(0, 2);
  Write(0, {.entries = {Command(2, 1)}});
  Write(1, {.entries = {Command(2, 1)}});
  Commit(0, 1);
  Lead(2, 1);
  EXPECT_EQ(invariants_.violation(), std::nullopt);
}

TEST_F(InvariantsTest, AnotherCommittedEntryViolatesStateMachineSafety) {
  CommitOne();
  Follow(2, 2);
  Write(2, {.entries = {Command(2, 1)}});
  Commit(2, 1);
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("state machine safety")));
}

TEST_F(InvariantsTest, ACommittedEntryThatIsReplacedViolatesStateMachineSafety) {
  CommitOne();
  Commit(1, 1);
  Follow(1, 2);
  Write(1, {.entries = {Command(2, 1)}});
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("state machine safety")));
}

TEST_F(InvariantsTest, ApplyingWhatIsNotCommittedViolatesStateMachineSafety) {
  Follow(0, 1);
  Write(0, {.entries = {Command(1, 1)}});
  invariants_.Applied(NodeId(0), *Command(1, 1), 7);
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("state machine safety")));
}

TEST_F(InvariantsTest, ApplyingOutOfOrderOrTwiceViolatesStateMachineSafety) {
  CommitOne();
  invariants_.Applied(NodeId(0), *Command(1, 1), 7);
  invariants_.Applied(NodeId(0), *Command(1, 1), 7);
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("state machine safety")));
}

TEST_F(InvariantsTest, StatesThatDifferViolateStateMachineSafety) {
  CommitOne();
  Commit(1, 1);
  invariants_.Applied(NodeId(0), *Command(1, 1), 7);
  invariants_.Applied(NodeId(1), *Command(1, 1), 8);
  EXPECT_THAT(invariants_.violation(), Optional(HasSubstr("another state")));
}

TEST_F(InvariantsTest, CommittingWhatAMajorityHasNotWrittenViolatesDurability) {
  Lead(0, 1);
  Write(0, {.entries = {Command(1, 1)}});
  Follow(1, 1);
  Take(1, {.entries = {Command(1, 1)}});  // not durable
  Commit(0, 1);
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("durability")));
}

TEST_F(InvariantsTest, CommittingAnEntryOfAnEarlierTermViolatesTheCommitRule) {
  Follow(0, 1);
  Write(0, {.entries = {Command(1, 1)}});
  Follow(1, 1);
  Write(1, {.entries = {Command(1, 1)}});
  Lead(0, 2);
  Commit(0, 1);
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("commit rule")));
}

TEST_F(InvariantsTest, AVoteBeforeItIsDurableViolatesDurability) {
  views_[1].term = Term(1);
  Take(1, {.hard_state = HardState{Term(1), NodeId(0)}});
  const Message vote{Term(1), VoteResponse{.granted = true}};
  invariants_.Sending(NodeId(1), NodeId(0), vote);
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("durability")));
}

TEST_F(InvariantsTest, AVoteForAnotherThanTheDurableOneViolatesDurability) {
  views_[1].term = Term(1);
  Write(1, {.hard_state = HardState{Term(1), NodeId(0)}});
  const Message vote{Term(1), VoteResponse{.granted = true}};
  invariants_.Sending(NodeId(1), NodeId(0), vote);
  EXPECT_EQ(invariants_.violation(), std::nullopt);
  invariants_.Sending(NodeId(1), NodeId(2), vote);
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("durability")));
}

TEST_F(InvariantsTest, AnAcknowledgementBeforeTheEntryIsDurableViolatesDurability) {
  Follow(1, 1);
  Take(1, {.entries = {Command(1, 1)}});
  invariants_.Sending(NodeId(1), NodeId(0),
                      {Term(1), AppendResponse{.accepted = true, .match = {Term(1), LogIndex(1)}}});
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("durability")));
}

TEST_F(InvariantsTest, AVoteThatIsForgottenAtTheRestartViolatesDurability) {
  views_[1].term = Term(1);
  Write(1, {.hard_state = HardState{Term(1), NodeId(0)}});
  Restored restored;
  restored.snapshot.configuration = configuration_;
  restored.hard_state.term = Term(1);
  invariants_.Started(views_[1], restored);
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("durability")));
}

TEST_F(InvariantsTest, AnEntryThatIsLostAtTheRestartViolatesDurability) {
  Follow(1, 1);
  Write(1, {.entries = {Command(1, 1)}});
  views_[1].term = Term(0);
  Restored restored;
  restored.snapshot.configuration = configuration_;
  invariants_.Started(views_[1], restored);
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("durability")));
}

TEST_F(InvariantsTest, AnEntryThatWasNotDurableMayBeLostOrKept) {
  for (const bool kept : {false, true}) {
    Invariants invariants;
    Restored restored;
    restored.snapshot.configuration = configuration_;
    Invariants::View view{.id = NodeId(0), .configuration = &configuration_};
    invariants.Started(view, restored);
    view.last = {Term(1), LogIndex(1)};
    view.term = Term(1);
    invariants.Took(view, {.batch = 1, .entries = {Command(1, 1)}});
    if (kept) restored.entries = {Command(1, 1)};
    view.term = Term(0);
    invariants.Started(view, restored);
    EXPECT_EQ(invariants.violation(), std::nullopt);
  }
}

TEST_F(InvariantsTest, AnAcknowledgementOfWhatIsNotCommittedViolatesDurability) {
  Lead(0, 1);
  Write(0, {.entries = {Command(1, 1)}});
  invariants_.Acknowledged({Term(1), LogIndex(1)});
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("durability")));
}

EntryPtr ConfigurationEntry(std::uint64_t term, std::uint64_t index, const Configuration& to) {
  return std::make_shared<const Entry>(
      Entry{{Term(term), LogIndex(index)}, Entry::Kind::kConfiguration, EncodeConfiguration(to)});
}

TEST_F(InvariantsTest, AConfigurationBeforeTheTermHasCommittedViolatesConfigurationSafety) {
  Configuration next = configuration_;
  next.learners.insert(NodeId(3));
  next.contexts[NodeId(3)] = "n";
  Lead(0, 1);
  views_[0].configuration = &next;
  Write(0, {.entries = {ConfigurationEntry(1, 1, next)}});
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("configuration safety")));
}

TEST_F(InvariantsTest, AConfigurationWithoutTheJointOneBeforeItViolatesConfigurationSafety) {
  CommitOne();
  const Configuration next = Voters(4);
  views_[0].configuration = &next;
  Write(0, {.entries = {ConfigurationEntry(1, 2, next)}});
  EXPECT_THAT(invariants_.violation(), Optional(HasSubstr("goes from")));
}

TEST_F(InvariantsTest, AConfigurationOtherThanTheNewestInTheLogViolatesConfigurationSafety) {
  CommitOne();
  Configuration next = configuration_;
  next.learners.insert(NodeId(3));
  next.contexts[NodeId(3)] = "n";
  Write(0, {.entries = {ConfigurationEntry(1, 2, next)}});  // the view still has the old one
  EXPECT_THAT(invariants_.violation(), Optional(HasSubstr("the newest in its log")));
}

TEST_F(InvariantsTest, ASnapshotWithAnotherConfigurationViolatesConfigurationSafety) {
  CommitOne();
  SnapshotMeta meta{{Term(1), LogIndex(1)}, Voters(2), 0};
  invariants_.Saved(NodeId(0), meta, 7);
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("configuration safety")));
}

TEST_F(InvariantsTest, ASnapshotOfWhatIsNotCommittedViolatesStateMachineSafety) {
  CommitOne();
  invariants_.Took(
      views_[2], {.batch = 9, .install = SnapshotMeta{{Term(1), LogIndex(2)}, configuration_, 0}});
  EXPECT_THAT(invariants_.violation(), Optional(StartsWith("state machine safety")));
}

}  // namespace
}  // namespace ds::raft
