// Snapshots: paper §7 and Figure 13; thesis §5.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <utility>

#include "tests/raft/core/group.h"

namespace ds::raft {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

Group::Options SmallParts() {
  Group::Options options;
  options.node.snapshot_part_bytes = 10;
  return options;
}

/// 1 leads and has a snapshot that 3 needs: it was away.
void LeaveBehind(Group& group, int commands = 10) {
  group.Elect(1);
  group.Run(4);
  group.Isolate(3);
  for (int i = 0; i < commands; ++i) group.Propose(1, fmt::format("c{}", i));
  group.Run(4);
  group.Compact(1);
  group.Take();
}

std::vector<SnapshotPart> Parts(const Group& group, std::uint64_t to) {
  std::vector<SnapshotPart> parts;
  for (const Group::Packet& packet : group.under_way()) {
    const auto* part = std::get_if<SnapshotPart>(&packet.message.body);
    if (part != nullptr && packet.to == to) parts.push_back(*part);
  }
  return parts;
}

/// The snapshot that the test sends to member 1 as leader 2: bytes "a\nb\n" after 5/9.
SnapshotMeta Meta(std::uint64_t term = 5, std::uint64_t index = 9) {
  SnapshotMeta meta;
  meta.last = At(term, index);
  meta.configuration = VotersOnly({1, 2, 3});
  meta.bytes = 4;
  return meta;
}
constexpr const char* kState = "a\nb\n";

SnapshotPartResponse AnswerTo(Group& group, Message part) {
  group.Take();
  group.Inject(2, 1, std::move(part));
  const auto answer = LastSaid<SnapshotPartResponse>(group, 1, 2);
  EXPECT_TRUE(answer);
  return answer ? answer->body : SnapshotPartResponse{};
}

TEST(Snapshot, CompactionForgetsEntriesAndKeepsTheirEnd) {
  Group group;
  group.Elect(1);
  for (const char* command : {"a", "b", "c"}) group.Propose(1, command);
  group.Run(4);
  group.Compact(1);
  EXPECT_EQ(group[1].snapshot(), At(1, 4));
  EXPECT_EQ(group[1].last(), At(1, 4));
  EXPECT_EQ(group[1].entry(LogIndex(4)), nullptr);
  group.Propose(1, "d");
  group.Run(4);
  EXPECT_THAT(group.state(2), ElementsAre("a", "b", "c", "d"));
}

TEST(Snapshot, EntriesMayBeKeptForSlowMembers) {
  Group group;
  group.Elect(1);
  group.Run(4);
  group.Isolate(3);
  for (const char* command : {"a", "b", "c"}) group.Propose(1, command);
  group.Run(4);
  group.Compact(1, 1);
  EXPECT_NE(group[1].entry(LogIndex(2)), nullptr);
  group.Heal();
  group.SetDrop([](const Group::Packet& packet) {
    EXPECT_FALSE(std::holds_alternative<SnapshotPart>(packet.message.body));
    return false;
  });
  group.Run(20);
  EXPECT_EQ(group.state(3), group.state(1));
  // They need no newer snapshot to go.
  const LogIndex last = group[1].snapshot().index;
  ASSERT_NE(group[1].entry(last), nullptr);
  group[1].Compact(*group[1].SnapshotAt(last), last);
  EXPECT_EQ(group[1].entry(last), nullptr);
}

TEST(Snapshot, AMemberRestartsFromItsSnapshot) {
  Group group;
  group.Elect(1);
  group.Propose(1, "a");
  group.Run(4);
  group.Compact(2);
  group.Propose(1, "b");
  group.Run(4);
  group.Crash(2);
  group.Restart(2);
  EXPECT_EQ(group[2].snapshot(), At(1, 2));
  EXPECT_EQ(group[2].applied(), LogIndex(2));
  EXPECT_EQ(group[2].committed(), LogIndex(2));
  EXPECT_EQ(group[2].configuration(), group[1].configuration());
  group.Run(20);
  EXPECT_THAT(group.state(2), ElementsAre("a", "b"));
}

TEST(Snapshot, OfWhatIsAppliedHasItsPositionAndConfiguration) {
  Group group;
  group.Elect(1);
  group.Propose(1, "a");
  group.Run(4);
  const std::optional<SnapshotMeta> meta = group[2].SnapshotAt(LogIndex(2));
  ASSERT_TRUE(meta);
  EXPECT_EQ(meta->last, At(1, 2));
  EXPECT_EQ(meta->configuration, VotersOnly({1, 2, 3}));
}

TEST(Snapshot, OfAnEarlierIndexHasTheConfigurationOfThen) {
  Group group;
  group.Elect(1);
  group.AddEmpty(4);
  ConfigurationChange change;
  change.add_learners[NodeId(4)] = "m4";
  group.Change(1, change);
  group.Propose(1, "a");
  group.Run(10);
  ASSERT_EQ(group[1].applied(), LogIndex(3));
  ASSERT_TRUE(group[1].SnapshotAt(LogIndex(1)));
  EXPECT_EQ(group[1].SnapshotAt(LogIndex(1))->last, At(1, 1));
  EXPECT_EQ(group[1].SnapshotAt(LogIndex(1))->configuration, VotersOnly({1, 2, 3}));
  EXPECT_EQ(group[1].SnapshotAt(LogIndex(2))->configuration, group[1].configuration());
  EXPECT_EQ(group[1].SnapshotAt(LogIndex(4)), std::nullopt) << "has not been given out";
}

TEST(Snapshot, IsNoneOfTheOldStateWhileANewOneIsBeingInstalled) {
  Group group;
  LeaveBehind(group);
  ASSERT_EQ(group[3].applied(), LogIndex(1));
  group.SetAutomatic(3, false);
  group.Heal();
  for (int tick = 0; tick < 100 && group[3].applied() == LogIndex(1); ++tick) {
    group.Run(1);
    while (group[3].applied() == LogIndex(1) && group.unwritten(3) > 0) group.MakeDurable(3, 1);
  }
  ASSERT_EQ(group[3].applied(), group[1].snapshot().index) << "given out, and not durable yet";
  EXPECT_EQ(group[3].SnapshotAt(LogIndex(1)), std::nullopt)
      << "the state machine is still at 1: nothing may call that a later state";
  group.MakeDurable(3);
  EXPECT_TRUE(group[3].SnapshotAt(group[1].snapshot().index));
}

TEST(Snapshot, AMemberWhoseEntriesAreForgottenIsSentTheState) {  // §7
  Group group;
  LeaveBehind(group);
  group.Propose(1, "after");
  group.Heal();
  group.Run(10);
  EXPECT_EQ(group[3].snapshot(), At(1, 11));
  EXPECT_EQ(group.state(3), group.state(1));
  EXPECT_EQ(group.state(3).back(), "after");
  group.Crash(3);
  group.Restart(3);
  group.Run(20);
  EXPECT_EQ(group.state(3), group.state(1));
}

TEST(Snapshot, GoesInPartsOfBoundedSize) {  // Figure 13: offset, data, done
  Group group(SmallParts());
  LeaveBehind(group, 30);
  group.Heal();
  std::uint64_t parts = 0;
  group.SetDrop([&parts](const Group::Packet& packet) {
    if (const auto* part = std::get_if<SnapshotPart>(&packet.message.body)) {
      ++parts;
      EXPECT_LE(part->length, 10U);
      EXPECT_EQ(part->data.size(), part->length);
    }
    return false;
  });
  group.Run(40);
  EXPECT_EQ(group.state(3), group.state(1));
  EXPECT_GE(parts, 11U);
  EXPECT_LE(parts, 30U);
}

TEST(Snapshot, MeanwhileNoEntriesAreSent) {
  Group group(SmallParts());
  LeaveBehind(group);
  group.Heal();
  for (int i = 0; i < 20 && !group[1].followers()[1].receives_snapshot; ++i) {
    group.Tick(1);
    group.DeliverAmong({1, 2});
    group.DeliverFrom(1, 3);
    group.DeliverFrom(3, 1);
  }
  ASSERT_TRUE(group[1].followers()[1].receives_snapshot);
  group.Propose(1, "x");
  for (const Group::Packet& packet : group.under_way()) {
    const auto* append = std::get_if<AppendRequest>(&packet.message.body);
    EXPECT_FALSE(packet.to == 3 && append != nullptr && !append->entries.empty());
  }
  group.Run(20);
  EXPECT_FALSE(group[1].followers()[1].receives_snapshot);
  EXPECT_EQ(group.state(3), group.state(1));
}

TEST(Snapshot, ALostPartIsSentAgain) {
  Group group(SmallParts());
  LeaveBehind(group);
  group.Heal();
  Rng rng(3);
  group.SetDrop([&rng](const Group::Packet& packet) {
    const bool snapshot = std::holds_alternative<SnapshotPart>(packet.message.body) ||
                          std::holds_alternative<SnapshotPartResponse>(packet.message.body);
    return snapshot && rng.Bernoulli(0.5);
  });
  group.Run(1500);
  EXPECT_EQ(group.state(3), group.state(1));
}

TEST(Snapshot, ANewerOneTakesThePlaceOfTheOneUnderWay) {
  Group group(SmallParts());
  LeaveBehind(group);
  group.Heal();
  for (int i = 0; i < 20 && Parts(group, 3).empty(); ++i) {
    group.Tick(1);
    group.DeliverAmong({1, 2});
    if (!Parts(group, 3).empty()) break;
    group.DeliverFrom(1, 3);
    group.DeliverFrom(3, 1);
  }
  group.DeliverFrom(1, 3);
  group.Propose(1, "newer");
  group.DeliverAmong({1, 2});
  group.Compact(1);
  group.Run(100);
  EXPECT_EQ(group.state(3), group.state(1));
  EXPECT_EQ(group.state(3).back(), "newer");
}

TEST(Snapshot, IsThrottled) {
  Group::Options options = SmallParts();
  options.node.snapshot_bytes_per_tick = 2;
  Group group(options);
  LeaveBehind(group, 40);
  const std::uint64_t bytes = group.disk(1).snapshot.bytes;
  ASSERT_GT(bytes, 100U);
  group.Heal();
  std::uint64_t sent = 0;
  group.SetDrop([&sent](const Group::Packet& packet) {
    if (const auto* part = std::get_if<SnapshotPart>(&packet.message.body)) sent += part->length;
    return false;
  });
  group.Run(30);
  EXPECT_GT(sent, 0U);
  EXPECT_LE(sent, 30U * 2U + 10U);
  group.Run(bytes);
  EXPECT_EQ(group.state(3), group.state(1));
}

TEST(Snapshot, WithoutItsBytesTheLeaderTriesAgainLater) {
  Group group;
  LeaveBehind(group);
  group.SetSnapshotUnreadable(1, true);
  group.Heal();
  group.Run(30);
  EXPECT_EQ(group.state(3).size(), 0U);
  group.SetSnapshotUnreadable(1, false);
  group.Run(100);
  EXPECT_EQ(group.state(3), group.state(1));
}

TEST(Snapshot, AMemberThatCrashesInTheMiddleIsSentItAnew) {
  Group group(SmallParts());
  LeaveBehind(group, 30);
  group.Heal();
  int parts = 0;
  group.SetDrop([&parts](const Group::Packet& packet) {
    return std::holds_alternative<SnapshotPart>(packet.message.body) && ++parts > 3;
  });
  group.Run(20);
  ASSERT_GT(parts, 3);
  group.Crash(3);
  group.SetDrop(nullptr);
  group.Restart(3);
  group.Run(200);
  EXPECT_EQ(group.state(3), group.state(1));
}

// §5.3: the probe of a new leader, which knows nothing of a member that is away, goes on from where
// it was when its connection breaks.
TEST(Snapshot, IsNotSentWhereTheEndOfTheLogWillDo) {
  Group group;
  group.Elect(1);
  for (int i = 0; i < 10; ++i) group.Propose(1, fmt::format("c{}", i));
  group.Run(4);
  group.Crash(3);
  group.Transfer(1, 2);
  group.Run(4);
  ASSERT_EQ(group[2].role(), Node::Role::kLeader);
  group.Propose(2, "d");
  group.Run(4);
  group.Compact(2, 8);
  group.Unreachable(2, 3);
  group.Run(30);
  group.Restart(3);
  group.SetDrop([](const Group::Packet& packet) {
    EXPECT_FALSE(std::holds_alternative<SnapshotPart>(packet.message.body));
    return false;
  });
  group.Run(30);
  EXPECT_EQ(group.state(3), group.state(2));
}

// §5.3: what is under way to a member that crashes is lost, and nobody refuses what follows it
// while no more may be under way.
TEST(Snapshot, IsSentWhenWhatWasUnderWayIsForgotten) {
  Group::Options options;
  options.node.append_in_flight_max = 1;
  Group group(options);
  group.Elect(1);
  group.Run(4);
  group.Propose(1, "a");
  group.Crash(3);
  for (const char* command : {"b", "c", "d"}) group.Propose(1, command);
  group.Run(4);
  group.Compact(1);
  ASSERT_GT(group[1].snapshot().index, group[1].followers()[1].next);
  group.Restart(3);
  group.Run(60);
  EXPECT_EQ(group[3].snapshot(), group[1].snapshot());
  EXPECT_EQ(group.state(3), group.state(1));
}

TEST(Snapshot, OfTheSamePositionDoesNotReplaceWhatIsThere) {
  Group group;
  LeaveBehind(group);
  SnapshotMeta other = group[1].SnapshotAt(group[1].applied()).value();
  other.bytes = 9999;
  group[1].Compact(other, other.last.index);
  group.Heal();
  group.Run(60);
  EXPECT_EQ(group.disk(3).snapshot.bytes, group.disk(1).snapshot.bytes);
  EXPECT_EQ(group.state(3), group.state(1));
}

TEST(Snapshot, WithoutAConfigurationIsNone) {
  Group group;
  group.AddEmpty(4);
  group.Inject(1, 4, Append(3, At(0, 0), LogOf({1, 3}), 2));
  ASSERT_EQ(group[4].applied(), LogIndex(2));
  EXPECT_EQ(group[4].SnapshotAt(LogIndex(2)), std::nullopt);
  SnapshotMeta meta;
  meta.last = At(3, 2);
  group[4].Compact(meta, LogIndex(2));
  EXPECT_EQ(group[4].snapshot(), At(0, 0));
  EXPECT_NE(group[4].entry(LogIndex(1)), nullptr);
}

// §7: a transfer that lasts longer than the time between two snapshots.

/// Ticks until 3 has the leader's state, while there is a proposal each 5 ticks and the leader
/// makes snapshots whenever it may.
std::optional<int> TicksOfTransfer(bool puts_off) {
  Group::Options options = SmallParts();
  options.node.snapshot_bytes_per_tick = 2;
  Group group(options);
  LeaveBehind(group, 40);
  group.Heal();
  for (int tick = 1; tick <= 1000; ++tick) {
    group.Run(1);
    if (tick % 5 == 0) group.Propose(1, "x");
    group.Deliver();
    if (!puts_off || !group[1].SnapshotInTransfer()) group.Compact(1);
    if (group.state(3).size() >= 40) return tick;
  }
  return std::nullopt;
}

TEST(SnapshotInTransfer, ASlowTransferEndsUnderSteadyCompaction) {
  EXPECT_EQ(TicksOfTransfer(false), std::nullopt) << "each new snapshot begins anew";
  EXPECT_TRUE(TicksOfTransfer(true));
}

TEST(SnapshotInTransfer, IsSaidOfALeaderWhoseFollowerTakesParts) {
  Group::Options options = SmallParts();
  options.node.snapshot_bytes_per_tick = 2;
  Group group(options);
  LeaveBehind(group, 40);
  EXPECT_FALSE(group[1].SnapshotInTransfer()) << "it does not answer";
  group.Heal();
  group.Run(20);
  ASSERT_TRUE(group[1].followers()[1].receives_snapshot);
  EXPECT_TRUE(group[1].SnapshotInTransfer());
  EXPECT_FALSE(group[3].SnapshotInTransfer());
  group.Run(400);
  ASSERT_EQ(group.state(3), group.state(1));
  EXPECT_FALSE(group[1].SnapshotInTransfer());
}

/// From when 3 begins to be sent a snapshot until it has it, 1 says so; the number of ticks.
int TicksInTransfer(Group& group, Group::Predicate drop = nullptr) {
  LeaveBehind(group, 200);
  group.Heal();
  group.SetDrop(std::move(drop));
  int ticks = 0;
  while (!group[1].followers()[1].receives_snapshot && ++ticks < 50) group.Run(1);
  ticks = 0;
  for (; group[1].followers()[1].receives_snapshot && ticks < 5000; ++ticks) {
    EXPECT_TRUE(group[1].SnapshotInTransfer()) << "after " << ticks << " ticks";
    if (!group[1].SnapshotInTransfer()) break;
    group.Run(1);
  }
  EXPECT_EQ(group.state(3), group.state(1));
  return ticks;
}

// 1 would lose its patience with a follower that takes nothing within 200 ticks.
TEST(SnapshotInTransfer, IsSaidAsLongAsPartsAreTaken) {
  Group::Options options = SmallParts();
  options.node.snapshot_bytes_per_tick = 2;
  Group group(options);
  EXPECT_GT(TicksInTransfer(group), 300);
}

TEST(SnapshotInTransfer, IsSaidWhileTheThrottleHoldsAPartBack) {
  Group::Options options;
  options.node.snapshot_part_bytes = 200;
  options.node.snapshot_bytes_per_tick = 1;
  Group group(options);
  EXPECT_GT(TicksInTransfer(group), 600);
}

TEST(SnapshotInTransfer, IsSaidWhileALostPartIsSentAgain) {
  Group::Options options = SmallParts();
  options.node.snapshot_part_bytes = 100;
  Group group(options);
  int parts = 0;
  const int ticks = TicksInTransfer(group, [&parts](const Group::Packet& packet) {
    return std::holds_alternative<SnapshotPart>(packet.message.body) && ++parts % 3 != 0;
  });
  EXPECT_GT(ticks, 300);
}

TEST(SnapshotInTransfer, EndsWhenNoPartIsTaken) {
  Group group(SmallParts());
  LeaveBehind(group, 40);
  group.Heal();
  int parts = 0;
  group.SetDrop([&parts](const Group::Packet& packet) {
    return std::holds_alternative<SnapshotPart>(packet.message.body) && ++parts > 3;
  });
  group.Run(10);
  ASSERT_GT(parts, 3);
  EXPECT_TRUE(group[1].SnapshotInTransfer());
  group.Run(200);
  ASSERT_TRUE(group[1].followers()[1].active);
  ASSERT_TRUE(group[1].followers()[1].receives_snapshot);
  EXPECT_FALSE(group[1].SnapshotInTransfer());
}

TEST(SnapshotInTransfer, EndsWhenTheFollowerIsGone) {
  Group::Options options = SmallParts();
  options.node.snapshot_bytes_per_tick = 2;
  Group group(options);
  LeaveBehind(group, 40);
  group.Heal();
  group.Run(20);
  ASSERT_TRUE(group[1].SnapshotInTransfer());
  group.Crash(3);
  group.Run(21);
  EXPECT_FALSE(group[1].SnapshotInTransfer());
}

// Figure 13, the receiver

TEST(InstallSnapshot, OfAnOldTermIsRefusedWithTheOwnTerm) {
  Group::Options options;
  options.hard_states[1] = HardState{Term(7), std::nullopt};
  Group group(options);
  group.Inject(2, 1, Part(6, Meta(), 0, kState));
  EXPECT_EQ(group[1].snapshot(), At(0, 0));
  EXPECT_EQ(group[1].leader(), std::nullopt);
  bool told = false;
  for (const Group::Packet& packet : group.Take(1)) told = told || packet.message.term == Term(7);
  EXPECT_TRUE(told);
}

TEST(InstallSnapshot, PartsAreWrittenWhereTheyBelongAndTheLastOneInstalls) {
  Group group;
  SnapshotPartResponse answer = AnswerTo(group, Part(6, Meta(), 0, "a\n"));
  EXPECT_EQ(answer.next_offset, 2U);
  EXPECT_FALSE(answer.installed);
  EXPECT_EQ(answer.last, At(5, 9));
  answer = AnswerTo(group, Part(6, Meta(), 2, "b\n"));
  EXPECT_TRUE(answer.installed);
  EXPECT_THAT(group.state(1), ElementsAre("a", "b"));
  EXPECT_EQ(group[1].last(), At(5, 9));
  EXPECT_EQ(group[1].committed(), LogIndex(9));
  EXPECT_EQ(group[1].applied(), LogIndex(9));
  EXPECT_EQ(group[1].leader(), NodeId(2));
}

TEST(InstallSnapshot, IsAnsweredWhenItIsDurable) {
  Group group;
  group.SetAutomatic(1, false);
  group.Inject(2, 1, Part(6, Meta(), 0, kState));
  for (const Group::Packet& packet : group.Take(1)) {
    const auto* answer = std::get_if<SnapshotPartResponse>(&packet.message.body);
    EXPECT_FALSE(answer != nullptr && answer->installed);
  }
  group.MakeDurable(1);
  const auto answer = LastSaid<SnapshotPartResponse>(group, 1, 2);
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->body.installed);
}

TEST(InstallSnapshot, ThePartsOfAnotherSnapshotBeginAnew) {
  Group group;
  AnswerTo(group, Part(6, Meta(), 0, "a\n"));
  const SnapshotPartResponse answer = AnswerTo(group, Part(6, Meta(5, 11), 0, "c\n"));
  EXPECT_EQ(answer.last, At(5, 11));
  EXPECT_EQ(answer.next_offset, 2U);
  EXPECT_TRUE(AnswerTo(group, Part(6, Meta(5, 11), 2, "d\n")).installed);
  EXPECT_THAT(group.state(1), ElementsAre("c", "d"));
}

TEST(InstallSnapshot, ThePartsOfTwoLeadersAreNotPutTogether) {
  Group group;
  AnswerTo(group, Part(6, Meta(), 0, "a\n"));
  group.Inject(3, 1, Part(7, Meta(), 2, "y\n"));
  const auto answer = LastSaid<SnapshotPartResponse>(group, 1, 3);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->body.next_offset, 0U) << "their bytes may differ";
  EXPECT_FALSE(answer->body.installed);
  group.Inject(3, 1, Part(7, Meta(), 0, "x\n"));
  group.Inject(3, 1, Part(7, Meta(), 2, "y\n"));
  EXPECT_THAT(group.state(1), ElementsAre("x", "y"));
}

TEST(InstallSnapshot, APartOutOfItsOrderIsAnsweredWithTheOneThatIsWanted) {
  Group group;
  AnswerTo(group, Part(6, Meta(), 0, "a\n"));
  EXPECT_EQ(AnswerTo(group, Part(6, Meta(), 3, "\n")).next_offset, 2U);
  EXPECT_EQ(AnswerTo(group, Part(6, Meta(), 0, "a\n")).installed, false);
  EXPECT_EQ(group[1].snapshot(), At(0, 0));
}

TEST(InstallSnapshot, EntriesBehindItStayIfTheyAreGood) {  // step 6
  Group::Options options;
  options.logs[1] = LogOf({5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5});
  Group group(options);
  ASSERT_EQ(group[1].last(), At(5, 11));
  EXPECT_TRUE(AnswerTo(group, Part(6, Meta(5, 9), 0, kState)).installed);
  EXPECT_EQ(group[1].last(), At(5, 11));
  EXPECT_GE(group[1].committed(), LogIndex(9));
  group.Inject(2, 1, Append(6, At(5, 11), {}, 11));
  ASSERT_GE(group.state(1).size(), 2U);
  EXPECT_EQ(group.state(1).back(), "t5i11");
}

TEST(InstallSnapshot, AnotherLogIsForgottenWhole) {  // step 7
  Group::Options options;
  options.logs[1] = LogOf({1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1});
  Group group(options);
  EXPECT_TRUE(AnswerTo(group, Part(6, Meta(5, 9), 0, kState)).installed);
  EXPECT_EQ(group[1].last(), At(5, 9));
  EXPECT_THAT(group.disk(1).entries, SizeIs(0));
  EXPECT_THAT(group.state(1), ElementsAre("a", "b"));
}

TEST(InstallSnapshot, OfWhatIsAppliedAlreadyChangesNothing) {
  Group::Options options;
  options.logs[1] = LogOf({5, 5, 5, 5, 5, 5, 5, 5, 5, 5});
  Group group(options);
  group.Inject(2, 1, Append(6, At(5, 10), {}, 10));
  ASSERT_THAT(group.state(1), SizeIs(10));
  EXPECT_TRUE(AnswerTo(group, Part(6, Meta(5, 9), 0, "a\n")).installed);
  EXPECT_THAT(group.state(1), SizeIs(10));
  EXPECT_EQ(group[1].applied(), LogIndex(10));
}

TEST(InstallSnapshot, TakesItsConfigurationIntoUse) {  // step 8
  Group group;
  SnapshotMeta meta = Meta();
  meta.configuration = VotersOnly({1, 2, 4, 5, 6});
  EXPECT_TRUE(AnswerTo(group, Part(6, meta, 0, kState)).installed);
  EXPECT_EQ(group[1].configuration(), meta.configuration);
  group.Crash(1);
  group.Restart(1);
  EXPECT_EQ(group[1].configuration(), meta.configuration);
}

TEST(InstallSnapshot, KeepsALeaderInOfficeLikeAnAppend) {
  Group group;
  const std::uint64_t timer = group[1].TicksToNext();
  group.Tick(1, timer - 1);
  AnswerTo(group, Part(6, Meta(), 0, "a\n"));
  EXPECT_EQ(group[1].TicksToNext(), timer);
  EXPECT_EQ(group[1].term(), Term(6));
}

}  // namespace
}  // namespace ds::raft
