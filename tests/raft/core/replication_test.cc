// Log replication: paper §5.3, §5.5, §5.6, §8 and Figure 2; thesis §10.2.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/raft/core/group.h"

namespace ds::raft {
namespace {

using testing::ElementsAre;
using Role = Node::Role;

/// Member 1 follows whoever the test plays; its log has these terms.
Group::Options WithLog(std::initializer_list<std::uint64_t> terms) {
  Group::Options options;
  options.logs[1] = LogOf(terms);
  return options;
}

AppendResponse AnswerTo(Group& group, Message request, std::uint64_t from = 2) {
  group.Take();
  group.Inject(from, 1, std::move(request));
  const auto answer = LastSaid<AppendResponse>(group, 1, from);
  EXPECT_TRUE(answer);
  return answer ? answer->body : AppendResponse{};
}

/// The append requests under way to a member.
std::vector<AppendRequest> Appends(Group& group, std::uint64_t to) {
  std::vector<AppendRequest> appends;
  for (const Group::Packet& packet : group.under_way()) {
    const auto* append = std::get_if<AppendRequest>(&packet.message.body);
    if (append != nullptr && packet.to == to) appends.push_back(*append);
  }
  return appends;
}

std::vector<std::string> Commands(const std::vector<EntryPtr>& entries) {
  std::vector<std::string> commands;
  for (const EntryPtr& entry : entries) commands.push_back(entry->data);
  return commands;
}

// §5.3, the ordinary course

TEST(Replication, ALeaderBeginsItsTermWithANoop) {  // §8
  Group group;
  group.Elect(1);
  ASSERT_EQ(group[1].last(), At(1, 1));
  EXPECT_EQ(group[1].entry(LogIndex(1))->kind, Entry::Kind::kNoop);
  EXPECT_EQ(group[1].committed(), LogIndex(1));
}

TEST(Replication, ACommandIsCommittedByAMajorityAndAppliedByAll) {
  Group group(5);
  group.Elect(1);
  EXPECT_EQ(ToString(group.Propose(1, "a")), "1/2");
  EXPECT_EQ(ToString(group.Propose(1, "b")), "1/3");
  group.Deliver();
  EXPECT_EQ(group[1].committed(), LogIndex(3));
  group.Run(4);
  for (const std::uint64_t id : group.ids()) {
    EXPECT_THAT(group.state(id), ElementsAre("a", "b")) << id;
    EXPECT_EQ(group[id].applied(), LogIndex(3)) << id;
  }
}

TEST(Replication, ACommandIsNotCommittedByAMinority) {
  Group group(5);
  group.Elect(1);
  for (const std::uint64_t id : {3U, 4U, 5U}) group.Isolate(id);
  group.Propose(1, "a");
  group.Deliver();
  EXPECT_EQ(group[2].last(), At(1, 2));
  EXPECT_EQ(group[1].committed(), LogIndex(1));
  EXPECT_THAT(group.state(1), ElementsAre());
}

TEST(Replication, ASlowMemberHoldsNobodyUp) {
  Group group;
  group.Elect(1);
  group.Isolate(3);
  group.Propose(1, "a");
  group.Deliver();
  EXPECT_THAT(group.state(1), ElementsAre("a"));
}

TEST(Replication, OnlyTheLeaderTakesCommandsAndOthersNameIt) {
  Group group;
  EXPECT_EQ(ToString(group.Propose(2, "a")), "not leader");
  group.Elect(1);
  const ProposeResult result = group.Propose(2, "a");
  ASSERT_EQ(ToString(result), "not leader");
  EXPECT_EQ(std::get<Refused>(result).leader, NodeId(1));
  EXPECT_EQ(group[2].last(), At(1, 1));
}

TEST(Replication, ASingleMemberCommitsWhatItsDiskHas) {
  Group group(1);
  group.Elect(1);
  group.SetAutomatic(1, false);
  group.Propose(1, "a");
  EXPECT_EQ(group[1].committed(), LogIndex(1));
  group.MakeDurable(1);
  EXPECT_EQ(group[1].committed(), LogIndex(2));
  EXPECT_THAT(group.state(1), ElementsAre("a"));
}

// Figure 2, volatile state on leaders
TEST(Replication, NextBeginsBehindTheLogAndMatchAtZeroAndGrowsWithAnswers) {
  Group::Options options;
  options.node.pre_vote = false;
  for (const std::uint64_t id : {1U, 2U, 3U}) options.logs[id] = LogOf({1, 1, 2});
  Group group(options);
  group.Campaign(1);
  group.DeliverFrom(1, 2);
  group.DeliverFrom(2, 1);
  ASSERT_EQ(group[1].role(), Role::kLeader);
  ASSERT_EQ(group[1].followers().size(), 2U);
  EXPECT_EQ(group[1].followers()[0].id, NodeId(2));
  EXPECT_EQ(group[1].followers()[0].match, LogIndex(0));
  EXPECT_GE(group[1].followers()[0].next, LogIndex(4));
  group.DeliverAmong({1, 2});
  EXPECT_EQ(group[1].followers()[0].match, LogIndex(4));
  EXPECT_EQ(group[1].followers()[1].match, LogIndex(0));
}

// Figure 2, AppendEntries at the receiver

TEST(Append, IsRefusedWhenThePreviousEntryIsMissing) {
  Group group(WithLog({1, 1}));
  const AppendResponse answer = AnswerTo(group, Append(2, At(2, 5), LogOf({2}, 6)));
  EXPECT_FALSE(answer.accepted);
  EXPECT_EQ(answer.match, At(1, 2));
  EXPECT_EQ(group.Log(1), "1 1");
}

TEST(Append, IsRefusedWhenThePreviousEntryHasAnotherTerm) {
  Group group(WithLog({1, 2, 2}));
  const AppendResponse answer = AnswerTo(group, Append(3, At(3, 3), LogOf({3}, 4)));
  EXPECT_FALSE(answer.accepted);
  EXPECT_EQ(group.Log(1), "1 2 2");
}

TEST(Append, ARefusalNamesTheLastPlaceThatCouldMatch) {  // §5.3, end
  Group group(WithLog({1, 1, 3, 3, 3}));
  EXPECT_EQ(AnswerTo(group, Append(4, At(2, 5))).match, At(1, 2));
  EXPECT_EQ(AnswerTo(group, Append(4, At(4, 4))).match, At(3, 4));
  EXPECT_EQ(AnswerTo(group, Append(4, At(4, 9))).match, At(3, 5));
}

TEST(Append, CutsAConflictingEntryAndAllThatFollow) {
  Group group(WithLog({1, 1, 2, 2, 2}));
  const AppendResponse answer = AnswerTo(group, Append(3, At(1, 2), LogOf({3}, 3)));
  EXPECT_TRUE(answer.accepted);
  EXPECT_EQ(answer.match, At(3, 3));
  EXPECT_EQ(group.Log(1), "1 1 3");
  EXPECT_EQ(Terms(group.disk(1).Log()), "1 1 3");
}

TEST(Append, AppendsOnlyWhatIsNew) {
  Group group(WithLog({1, 1}));
  AnswerTo(group, Append(1, At(1, 1), LogOf({1, 1, 1}, 2)));
  EXPECT_EQ(group.Log(1), "1 1 1 1");
}

TEST(Append, AnOldRequestThatComesLateCutsNothing) {
  Group group(WithLog({1}));
  AnswerTo(group, Append(1, At(1, 1), LogOf({1, 1, 1}, 2)));
  const AppendResponse answer = AnswerTo(group, Append(1, At(1, 1), LogOf({1}, 2)));
  EXPECT_TRUE(answer.accepted);
  EXPECT_EQ(group.Log(1), "1 1 1 1");
  AnswerTo(group, Append(1, At(0, 0)));
  EXPECT_EQ(group.Log(1), "1 1 1 1");
}

TEST(Append, CommitsUpToTheLastNewEntryAndNotBeyond) {
  Group group(WithLog({1, 1, 1}));
  AnswerTo(group, Append(2, At(1, 1), {}, 3));
  EXPECT_EQ(group[1].committed(), LogIndex(1)) << "what follows may differ from the leader's";
  AnswerTo(group, Append(2, At(1, 1), LogOf({2}, 2), 9));
  EXPECT_EQ(group[1].committed(), LogIndex(2));
  EXPECT_THAT(group.state(1), ElementsAre("t1i1", "t2i2"));
}

TEST(Append, TheCommitIndexNeverFalls) {
  Group group(WithLog({1, 1, 1}));
  AnswerTo(group, Append(2, At(1, 3), {}, 3));
  AnswerTo(group, Append(2, At(1, 3), {}, 1));
  EXPECT_EQ(group[1].committed(), LogIndex(3));
}

TEST(Append, IsAcceptedWhenTheEntriesAreDurable) {
  Group group;
  group.SetAutomatic(1, false);
  group.Inject(2, 1, Append(1, At(0, 0), LogOf({1}), 1));
  for (const Group::Packet& packet : group.Take()) {
    const auto* answer = std::get_if<AppendResponse>(&packet.message.body);
    EXPECT_FALSE(answer != nullptr && answer->match.index > LogIndex(0));
  }
  EXPECT_THAT(group.state(1), ElementsAre());
  group.MakeDurable(1);
  const auto answer = LastSaid<AppendResponse>(group, 1, 2);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->body.match, At(1, 1));
  EXPECT_THAT(group.state(1), ElementsAre("t1i1"));
}

TEST(Append, ACopyIsAnsweredLikeTheFirst) {  // §5.5: requests are idempotent
  Group group(WithLog({1}));
  const Message request = Append(2, At(1, 1), LogOf({2, 2}, 2), 2);
  const AppendResponse first = AnswerTo(group, request);
  EXPECT_EQ(AnswerTo(group, request), first);
  EXPECT_EQ(group.Log(1), "1 2 2");
  EXPECT_THAT(group.state(1), ElementsAre("t1i1", "t2i2"));
}

TEST(Append, TheAnswerRepeatsTheRound) {  // thesis §6.4
  Group group(WithLog({1}));
  EXPECT_EQ(AnswerTo(group, Append(1, At(1, 1), {}, 0, 41)).round, 41U);
  EXPECT_EQ(AnswerTo(group, Append(1, At(1, 9), {}, 0, 42)).round, 42U);
}

// §5.3, the repair of logs

TEST(Repair, AllLogsOfFigure7BecomeTheLeaders) {
  Group::Options options;
  options.voters = 7;
  options.node.pre_vote = false;
  options.logs[1] = LogOf({1, 1, 1, 4, 4, 5, 5, 6, 6, 6});
  options.logs[2] = LogOf({1, 1, 1, 4, 4, 5, 5, 6, 6});           // a
  options.logs[3] = LogOf({1, 1, 1, 4});                          // b
  options.logs[4] = LogOf({1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6});     // c
  options.logs[5] = LogOf({1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7});  // d
  options.logs[6] = LogOf({1, 1, 1, 4, 4, 4, 4});                 // e
  options.logs[7] = LogOf({1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3});     // f
  options.hard_states[1] = HardState{Term(7), std::nullopt};
  Group group(options);
  std::map<std::uint64_t, int> refusals;
  group.SetDrop([&refusals](const Group::Packet& packet) {
    const auto* answer = std::get_if<AppendResponse>(&packet.message.body);
    if (answer != nullptr && !answer->accepted) ++refusals[packet.from];
    return false;
  });
  group.Campaign(1);
  group.Deliver();
  ASSERT_EQ(group.Leader(), 1U) << "by the votes of a, b, e and f";
  ASSERT_EQ(group[1].term(), Term(8));
  group.Run(4);
  for (const std::uint64_t id : group.ids()) {
    EXPECT_EQ(group.Log(id), "1 1 1 4 4 5 5 6 6 6 8") << id;
    EXPECT_EQ(group[id].applied(), LogIndex(11)) << id;
    EXPECT_LE(refusals[id], 3) << id << ": a refusal for each term, not for each entry";
  }
}

TEST(Repair, ALostRequestIsSentAgain) {
  Group group;
  group.Elect(1);
  group.Run(4);
  group.Isolate(2);
  group.Propose(1, "a");
  group.Propose(1, "b");
  group.Deliver();
  group.Heal();
  EXPECT_EQ(group[2].last(), At(1, 1));
  group.Run(8);
  EXPECT_THAT(group.state(2), ElementsAre("a", "b"));
}

TEST(Repair, AMemberThatWasAwayIsSentEverything) {  // §5.5
  Group group;
  group.Elect(1);
  group.Run(4);
  group.Crash(3);
  for (int i = 0; i < 200; ++i) {
    group.Propose(1, std::to_string(i));
    group.Deliver();
  }
  group.Run(100);
  group.Restart(3);
  group.Run(20);
  EXPECT_EQ(group.state(3), group.state(1));
  EXPECT_EQ(group.state(3).size(), 200U);
}

TEST(Repair, AllMembersCrashAndComeBack) {
  Group group;
  group.Elect(1);
  group.Propose(1, "a");
  group.Run(4);
  for (const std::uint64_t id : group.ids()) group.Crash(id);
  for (const std::uint64_t id : group.ids()) group.Restart(id);
  group.Run(100);
  ASSERT_TRUE(group.Leader());
  for (const std::uint64_t id : group.ids()) EXPECT_THAT(group.state(id), ElementsAre("a")) << id;
}

TEST(Repair, EntriesThatWereNotDurableAreLostInACrashAndSentAgain) {
  Group group;
  group.Elect(1);
  group.SetAutomatic(2, false);
  group.Propose(1, "a");
  group.Run(1);
  EXPECT_THAT(group.state(1), ElementsAre("a"));
  group.Crash(2);
  EXPECT_EQ(Terms(group.disk(2).Log()), "1");
  group.SetAutomatic(2, true);
  group.Restart(2);
  group.Run(10);
  EXPECT_THAT(group.state(2), ElementsAre("a"));
}

TEST(Repair, AMinoritysEntriesAreOverwritten) {  // Figure 2 of §5.3: the leader's log wins
  Group group(5);
  group.Elect(1);
  group.Run(4);
  for (const std::uint64_t id : {3U, 4U, 5U}) {
    group.Cut(1, id);
    group.Cut(2, id);
  }
  group.Propose(1, "lost");
  group.Propose(1, "also");
  group.Deliver();
  group.Elect(3);
  group.Propose(3, "kept");
  group.Deliver();
  group.Heal();
  group.Run(30);
  for (const std::uint64_t id : group.ids()) {
    EXPECT_THAT(group.state(id), ElementsAre("kept")) << id;
  }
}

// Thesis §10.2.1: the leader writes while its followers do

TEST(ParallelWrite, FollowersAreSentEntriesThatAreNotDurableAtTheLeader) {
  Group group;
  group.Elect(1);
  group.Deliver();
  group.SetAutomatic(1, false);
  group.Propose(1, "a");
  EXPECT_EQ(group.unwritten(1), 1U);
  EXPECT_THAT(Appends(group, 2), testing::SizeIs(1));
  group.Deliver();
  EXPECT_EQ(group[1].committed(), LogIndex(2)) << "two of three disks have it";
  EXPECT_EQ(group[1].applied(), LogIndex(1)) << "not yet on this one";
  group.MakeDurable(1);
  EXPECT_THAT(group.state(1), ElementsAre("a"));
}

TEST(ParallelWrite, ALeadersOwnLogCountsWhenItIsDurable) {
  Group group;
  group.Elect(1);
  group.Deliver();
  group.Isolate(3);
  group.SetAutomatic(1, false);
  group.Propose(1, "a");
  group.Deliver();
  EXPECT_EQ(group[1].committed(), LogIndex(1));
  group.MakeDurable(1);
  EXPECT_EQ(group[1].committed(), LogIndex(2));
}

TEST(ParallelWrite, BatchesFollowWithoutWaitingForOneAnother) {
  Group group;
  group.Elect(1);
  group.SetAutomatic(1, false);
  group.Propose(1, "a");
  group.Propose(1, "b");
  EXPECT_EQ(group.unwritten(1), 2U);
  group.MakeDurable(1, 1);
  group.DeliverAmong({1, 2});
  EXPECT_EQ(group[1].applied(), LogIndex(2));
  EXPECT_THAT(group.state(1), ElementsAre("a"));
}

// Thesis §10.2.2: pipelining and batching

TEST(Pipelining, RequestsFollowWithoutWaitingForAnswers) {
  Group group;
  group.Elect(1);
  group.Deliver();
  for (const char* command : {"a", "b", "c"}) group.Propose(1, command);
  const std::vector<AppendRequest> appends = Appends(group, 2);
  ASSERT_EQ(appends.size(), 3U);
  EXPECT_EQ(appends[2].previous, At(1, 3));
  EXPECT_THAT(Commands(appends[2].entries), ElementsAre("c"));
}

TEST(Pipelining, ProposalsBeforeAnOutputShareARequestAndABatch) {
  Group group;
  group.Elect(1);
  group.Deliver();
  group.SetAutomatic(1, false);
  for (const char* command : {"a", "b", "c"}) group[1].Propose(command);
  group.Pump(1);
  EXPECT_EQ(group.unwritten(1), 1U);
  ASSERT_EQ(Appends(group, 2).size(), 1U);
  EXPECT_THAT(Commands(Appends(group, 2)[0].entries), ElementsAre("a", "b", "c"));
}

TEST(Pipelining, RequestsUnderWayAreBounded) {
  Group::Options options;
  options.node.append_in_flight_max = 4;
  Group group(options);
  group.Elect(1);
  group.Deliver();
  for (int i = 0; i < 50; ++i) group.Propose(1, "x");
  EXPECT_LE(Appends(group, 2).size(), 4U);
  group.Deliver();
  group.Run(10);
  EXPECT_EQ(group.state(2).size(), 50U);
}

TEST(Pipelining, BytesUnderWayAreBounded) {
  Group::Options options;
  options.node.append_bytes_max = 1000;
  options.node.append_in_flight_bytes_max = 3000;
  Group group(options);
  group.Elect(1);
  group.Deliver();
  for (int i = 0; i < 50; ++i) group.Propose(1, std::string(500, 'x'));
  std::size_t bytes = 0;
  for (const AppendRequest& append : Appends(group, 2)) {
    for (const EntryPtr& entry : append.entries) bytes += entry->data.size();
  }
  EXPECT_GE(bytes, 500U);
  EXPECT_LE(bytes, 4000U);
  group.Deliver();
  group.Run(10);
  EXPECT_EQ(group.state(2).size(), 50U);
}

TEST(Pipelining, ARequestIsBoundedButForOneLargeEntry) {
  Group::Options options;
  options.node.append_bytes_max = 1000;
  Group group(options);
  group.Elect(1);
  group.Deliver();
  group.Isolate(2);
  for (int i = 0; i < 20; ++i) group.Propose(1, std::string(300, 'x'));
  group.Propose(1, std::string(5000, 'y'));
  group.Deliver();
  group.Heal();
  group.SetDrop([](const Group::Packet& packet) {
    const auto* append = std::get_if<AppendRequest>(&packet.message.body);
    if (append != nullptr && append->entries.size() > 1) {
      std::size_t bytes = 0;
      for (const EntryPtr& entry : append->entries) bytes += entry->data.size();
      EXPECT_LE(bytes, 1000U);
    }
    return false;
  });
  group.Run(20);
  EXPECT_EQ(group.state(2).size(), 21U);
}

TEST(Pipelining, AfterABrokenStreamItBeginsAnew) {
  Group group;
  group.Elect(1);
  group.Run(4);
  for (int i = 0; i < 3; ++i) group.Propose(1, std::to_string(i));
  group.Take();
  group.Unreachable(1, 2);
  group.Run(4);
  EXPECT_THAT(group.state(2), ElementsAre("0", "1", "2"));
}

TEST(Pipelining, ANewStreamIsUsedAtOnce) {
  Group group;
  group.Elect(1);
  group.Run(4);
  for (int i = 0; i < 3; ++i) group.Propose(1, std::to_string(i));
  group.Take();
  group.Unreachable(1, 2);
  EXPECT_TRUE(group.Take().empty()) << "nobody would hear it";
  group.Connected(1, 2);
  group.DeliverAmong({1, 2});
  EXPECT_THAT(group.state(2), ElementsAre("0", "1", "2")) << "without a heartbeat";
  group.Take();
  group.Connected(1, 9);
  group.Connected(2, 1);
  EXPECT_TRUE(group.Take().empty()) << "of strangers, and on a follower, it means nothing";
}

TEST(Pipelining, AReorderedStreamLosesNothing) {
  Group group;
  group.Elect(1);
  group.Run(4);
  for (int i = 0; i < 5; ++i) group.Propose(1, std::to_string(i));
  std::vector<Group::Packet> packets = group.Take();
  for (auto packet = packets.rbegin(); packet != packets.rend(); ++packet) {
    group.Inject(packet->from, packet->to, packet->message);
  }
  group.Run(10);
  EXPECT_THAT(group.state(2), ElementsAre("0", "1", "2", "3", "4"));
  EXPECT_EQ(group.state(3), group.state(2));
}

TEST(FlowControl, BeyondTheUncommittedBytesProposalsAreRefused) {
  Group::Options options;
  options.node.uncommitted_bytes_max = 1000;
  Group group(options);
  group.Elect(1);
  group.Deliver();
  int taken = 0;
  while (taken < 100 &&
         ToString(group.Propose(1, std::string(100, 'x'))) != "too much uncommitted") {
    ++taken;
  }
  EXPECT_GE(taken, 5);
  EXPECT_LE(taken, 11);
  group.Deliver();
  EXPECT_EQ(std::holds_alternative<Accepted>(group.Propose(1, "x")), true)
      << "room again after the commit";
}

TEST(FlowControl, ATooLargeProposalIsRefused) {
  Group::Options options;
  options.node.proposal_bytes_max = 100;
  Group group(options);
  group.Elect(1);
  EXPECT_EQ(ToString(group.Propose(1, std::string(101, 'x'))), "too large");
  EXPECT_EQ(ToString(group.Propose(1, std::string(100, 'x'))), "1/2");
}

TEST(FlowControl, AnUnreachableMemberIsNotSentTheSameAgainAndAgain) {
  Group group;
  group.Elect(1);
  group.Run(4);
  group.Isolate(3);
  for (int i = 0; i < 100; ++i) group.Propose(1, std::string(100, 'x'));
  std::size_t bytes = 0;
  group.SetDrop([&bytes](const Group::Packet& packet) {
    const auto* append = std::get_if<AppendRequest>(&packet.message.body);
    if (packet.to == 3 && append != nullptr) {
      for (const EntryPtr& entry : append->entries) bytes += entry->data.size();
    }
    return false;
  });
  group.Run(3000);
  EXPECT_EQ(group[1].role(), Role::kLeader);
  EXPECT_LE(bytes, 100'000U) << "ten times what it lacks, in a thousand heartbeats";
}

TEST(Options, ImpossibleOnesAreRefused) {
  EXPECT_TRUE(NodeOptions{}.Validate().ok());
  EXPECT_TRUE(QuickOptions().Validate().ok());
  const auto invalid = [](auto change) {
    NodeOptions options = QuickOptions();
    change(options);
    return !options.Validate().ok();
  };
  EXPECT_TRUE(invalid([](NodeOptions& o) { o.election_timeout_min_ticks = 0; }));
  EXPECT_TRUE(invalid([](NodeOptions& o) { o.election_timeout_max_ticks = 9; }));
  EXPECT_TRUE(invalid([](NodeOptions& o) { o.heartbeat_ticks = 0; }));
  EXPECT_TRUE(invalid([](NodeOptions& o) { o.heartbeat_ticks = 10; }));
  EXPECT_TRUE(invalid([](NodeOptions& o) {
    o.lease_reads = true;
    o.check_quorum = false;
  }));
  EXPECT_TRUE(invalid([](NodeOptions& o) { o.clock_drift = 1.0; }));
  EXPECT_TRUE(invalid([](NodeOptions& o) { o.clock_drift = -0.1; }));
  EXPECT_TRUE(invalid([](NodeOptions& o) { o.append_in_flight_max = 0; }));
  EXPECT_TRUE(invalid([](NodeOptions& o) { o.snapshot_part_bytes = 0; }));
}

}  // namespace
}  // namespace ds::raft
