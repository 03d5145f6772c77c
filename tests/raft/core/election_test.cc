// Elections: paper §5.1, §5.2, §5.4.1 and Figure 2; thesis §4.2.3, §6.2, §9.6.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/raft/core/group.h"

namespace ds::raft {
namespace {

using Role = Node::Role;

Group::Options WithoutPreVote(std::uint64_t voters = 3) {
  Group::Options options;
  options.voters = voters;
  options.node.pre_vote = false;
  return options;
}

/// One member that hears nothing but what a test says; its log has these terms.
Group::Options WithLog(std::initializer_list<std::uint64_t> terms) {
  Group::Options options = WithoutPreVote();
  options.logs[1] = LogOf(terms);
  return options;
}

bool Grants(Group& group, Message request, std::uint64_t candidate = 2) {
  group.Take();
  group.Inject(candidate, 1, std::move(request));
  const auto answer = LastSaid<VoteResponse>(group, 1, candidate);
  return answer && answer->body.granted;
}

// §5.1

TEST(Election, MembersStartAsFollowersOfTermZero) {
  Group group;
  for (const std::uint64_t id : group.ids()) {
    EXPECT_EQ(group[id].role(), Role::kFollower);
    EXPECT_EQ(group[id].term(), Term(0));
    EXPECT_EQ(group[id].vote(), std::nullopt);
    EXPECT_EQ(group[id].leader(), std::nullopt);
  }
}

TEST(Election, AMessageOfALargerTermMakesAFollowerOfThatTerm) {
  std::vector<Message> messages = {Vote(9, At(0, 0)), Denied(9), Append(9, At(0, 0)),
                                   AppendAnswer(9, false, At(0, 0))};
  SnapshotMeta meta;
  meta.last = At(1, 1);
  meta.configuration = VotersOnly({1, 2, 3});
  messages.push_back(Part(9, meta, 0, ""));
  messages.push_back({Term(9), SnapshotPartResponse{}});
  messages.push_back({Term(9), ReadRequest{}});
  for (const Message& message : messages) {
    Group group(WithoutPreVote());
    group.Campaign(1);
    ASSERT_EQ(group[1].role(), Role::kCandidate);
    group.Inject(2, 1, message);
    EXPECT_EQ(group[1].role(), Role::kFollower) << ToString(message);
    EXPECT_EQ(group[1].term(), Term(9)) << ToString(message);
    EXPECT_EQ(group.disk(1).hard_state.term, Term(9)) << ToString(message);
  }
}

TEST(Election, ALeaderStepsDownBeforeALargerTerm) {
  Group group;
  group.Elect(1);
  group.Inject(2, 1, AppendAnswer(9, false, At(0, 0)));
  EXPECT_EQ(group[1].role(), Role::kFollower);
  EXPECT_EQ(group[1].term(), Term(9));
  EXPECT_EQ(group[1].vote(), std::nullopt);
  EXPECT_EQ(group[1].leader(), std::nullopt);
}

TEST(Election, ARequestOfAnOldTermIsRefusedWithTheOwnTerm) {
  Group group(WithLog({1, 5}));
  group.Inject(2, 1, Vote(3, At(9, 9)));
  const auto vote = LastSaid<VoteResponse>(group, 1, 2);
  ASSERT_TRUE(vote);
  EXPECT_FALSE(vote->body.granted);
  EXPECT_EQ(vote->term, 5U);
  group.Inject(2, 1, Append(3, At(1, 1), LogOf({3}, 2)));
  const auto append = LastSaid<AppendResponse>(group, 1, 2);
  ASSERT_TRUE(append);
  EXPECT_FALSE(append->body.accepted);
  EXPECT_EQ(append->term, 5U);
  EXPECT_EQ(group[1].last(), At(5, 2));
  EXPECT_EQ(group[1].leader(), std::nullopt);
}

// §5.2, Rules for Servers: followers

TEST(Election, TheTimerIsDrawnFromItsRange) {
  std::set<std::uint64_t> drawn;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Group::Options options = WithoutPreVote();
    options.seed = seed;
    Group group(options);
    drawn.insert(group[1].TicksToNext());
  }
  EXPECT_EQ(*drawn.begin(), 10U);
  EXPECT_EQ(*drawn.rbegin(), 20U);
  EXPECT_EQ(drawn.size(), 11U);
}

TEST(Election, AFollowerThatHearsNothingBecomesACandidateWhenItsTimerEnds) {
  Group group(WithoutPreVote());
  const std::uint64_t timer = group[1].TicksToNext();
  group.Tick(1, timer - 1);
  EXPECT_EQ(group[1].role(), Role::kFollower);
  EXPECT_TRUE(group.under_way().empty());
  group.Tick(1);
  EXPECT_EQ(group[1].role(), Role::kCandidate);
}

TEST(Election, TicksToNextNamesTheTickBeforeWhichNothingHappens) {
  Group group;
  for (int step = 0; step < 50; ++step) {
    const std::uint64_t ticks = group[1].TicksToNext();
    ASSERT_GT(ticks, 0U);
    group.Take();
    for (std::uint64_t tick = 1; tick < ticks; ++tick) {
      group.Tick(1);
      ASSERT_TRUE(group.under_way().empty());
      ASSERT_EQ(group[1].TicksToNext(), ticks - tick);
    }
    group.Tick(1);
  }
}

TEST(Election, AnAppendOfTheLeaderStartsTheTimerAgainWithTheSameValue) {
  Group group;
  const std::uint64_t timer = group[1].TicksToNext();
  group.Tick(1, timer - 1);
  group.Inject(2, 1, Append(1, At(0, 0)));
  EXPECT_EQ(group[1].TicksToNext(), timer);
  EXPECT_EQ(group[1].leader(), NodeId(2));
}

TEST(Election, AnAppendOfAnOldLeaderLeavesTheTimerAlone) {
  Group group(WithLog({5}));
  group.Tick(1, group[1].TicksToNext() - 1);
  group.Inject(2, 1, Append(4, At(0, 0)));
  EXPECT_EQ(group[1].TicksToNext(), 1U);
}

TEST(Election, AGrantedVoteStartsTheTimerAgainAndARefusedOneDoesNot) {
  Group group(WithLog({1}));
  const std::uint64_t timer = group[1].TicksToNext();
  group.Tick(1, timer - 1);
  EXPECT_FALSE(Grants(group, Vote(2, At(0, 0))));
  EXPECT_EQ(group[1].TicksToNext(), 1U);
  EXPECT_TRUE(Grants(group, Vote(2, At(1, 1))));
  EXPECT_EQ(group[1].TicksToNext(), timer);
}

// §5.2, Rules for Servers: candidates

TEST(Election, ACandidateRaisesItsTermVotesForItselfAndAsksAllOthers) {
  Group group(WithLog({1, 3}));
  group.Campaign(1);
  EXPECT_EQ(group[1].role(), Role::kCandidate);
  EXPECT_EQ(group[1].term(), Term(4));
  EXPECT_EQ(group[1].vote(), NodeId(1));
  EXPECT_EQ(group[1].leader(), std::nullopt);
  EXPECT_EQ(group.disk(1).hard_state, (HardState{Term(4), NodeId(1)}));
  std::set<std::uint64_t> asked;
  for (const Group::Packet& packet : group.Take(1)) {
    const auto& request = std::get<VoteRequest>(packet.message.body);
    EXPECT_EQ(request, (VoteRequest{.pre = false, .transfer = false, .last = At(3, 2)}));
    EXPECT_EQ(packet.message.term, Term(4));
    asked.insert(packet.to);
  }
  EXPECT_EQ(asked, (std::set<std::uint64_t>{2, 3}));
  EXPECT_THAT(group.events(1),
              testing::IsSupersetOf({Event{Event::Kind::kLeaderDead, Term(3), std::nullopt},
                                     Event{Event::Kind::kCandidate, Term(4), std::nullopt},
                                     Event{Event::Kind::kVoted, Term(4), NodeId(1)}}));
}

TEST(Election, VotesAreAskedForOnlyWhenTheOwnVoteIsDurable) {
  Group group(WithoutPreVote());
  group.SetAutomatic(1, false);
  group.Campaign(1);
  EXPECT_TRUE(group.under_way().empty());
  EXPECT_EQ(group.unwritten(1), 1U);
  group.MakeDurable(1);
  EXPECT_EQ(group.under_way().size(), 2U);
}

TEST(Election, AMajorityOfVotesMakesALeader) {
  Group group(WithoutPreVote(5));
  group.Campaign(1);
  group.Inject(2, 1, Granted(1));
  EXPECT_EQ(group[1].role(), Role::kCandidate);
  group.Inject(3, 1, Granted(1));
  EXPECT_EQ(group[1].role(), Role::kLeader);
  EXPECT_EQ(group[1].leader(), NodeId(1));
  EXPECT_EQ(group.Count(1, Event::Kind::kVotesReceived), 1U);
  EXPECT_EQ(group.Count(1, Event::Kind::kLeader), 1U);
}

TEST(Election, OnlyOneVoteOfEachMemberCounts) {
  Group group(WithoutPreVote(5));
  group.Campaign(1);
  for (int copy = 0; copy < 5; ++copy) group.Inject(2, 1, Granted(1));
  EXPECT_EQ(group[1].role(), Role::kCandidate);
}

TEST(Election, VotesOfStrangersOldTermsAndTrialsDoNotCount) {
  Group group(WithoutPreVote());
  group.Campaign(1);
  group.Campaign(1);
  ASSERT_EQ(group[1].term(), Term(2));
  group.Inject(77, 1, Granted(2));
  group.Inject(1, 1, Granted(2));
  group.Inject(2, 1, Granted(1));
  group.Inject(2, 1, PreGranted(2));
  group.Inject(2, 1, PreGranted(3));
  EXPECT_EQ(group[1].role(), Role::kCandidate);
  EXPECT_EQ(group[1].term(), Term(2));
}

TEST(Election, ARefusalIsNoVote) {
  Group group(WithoutPreVote());
  group.Campaign(1);
  group.Inject(2, 1, Denied(1));
  group.Inject(3, 1, Denied(1));
  EXPECT_NE(group[1].role(), Role::kLeader);
}

TEST(Election, ACandidateFollowsTheLeaderOfItsTerm) {
  Group group(WithoutPreVote());
  group.Campaign(1);
  group.Inject(2, 1, Append(1, At(0, 0)));
  EXPECT_EQ(group[1].role(), Role::kFollower);
  EXPECT_EQ(group[1].term(), Term(1));
  EXPECT_EQ(group[1].leader(), NodeId(2));
  EXPECT_EQ(group[1].vote(), NodeId(1)) << "the vote of the term stays";
}

TEST(Election, ACandidateIgnoresALeaderOfAnOlderTerm) {
  Group group(WithLog({3}));
  group.Campaign(1);
  group.Inject(2, 1, Append(3, At(3, 1)));
  EXPECT_EQ(group[1].role(), Role::kCandidate);
  EXPECT_EQ(group[1].leader(), std::nullopt);
}

TEST(Election, AnElectionWithoutAWinnerIsFollowedByTheNextWithANewTimer) {
  std::set<std::uint64_t> timers;
  Group group(WithoutPreVote());
  for (std::uint64_t term = 1; term <= 20; ++term) {
    group.Campaign(1);
    ASSERT_EQ(group[1].term(), Term(term));
    std::uint64_t timer = 0;
    for (; group[1].role() == Role::kCandidate; ++timer) group.Tick(1);
    EXPECT_GE(timer, 10U);
    EXPECT_LE(timer, 20U);
    EXPECT_EQ(group[1].role(), Role::kFollower);
    timers.insert(timer);
  }
  EXPECT_GT(timers.size(), 3U);
}

TEST(Election, ASplitVoteIsResolvedByLaterElections) {
  Group group(WithoutPreVote(4));
  group.Campaign(1);
  group.Campaign(4);
  group.DeliverFrom(1, 2);
  group.DeliverFrom(4, 3);
  group.Deliver();
  EXPECT_EQ(group.Leader(), std::nullopt);
  group.Run(200);
  EXPECT_TRUE(group.Leader());
}

TEST(Election, ASingleMemberElectsItself) {
  Group group(1);
  group.Campaign(1);
  EXPECT_EQ(group[1].role(), Role::kLeader);
  EXPECT_EQ(group[1].term(), Term(1));
  EXPECT_EQ(group.Count(1, Event::Kind::kVoted), 1U);
  EXPECT_TRUE(group.under_way().empty());
}

TEST(Election, TheOwnVoteCountsWhenItIsDurable) {
  Group group(1);
  group.SetAutomatic(1, false);
  group.Campaign(1);
  EXPECT_NE(group[1].role(), Role::kLeader);
  group.MakeDurable(1);
  EXPECT_EQ(group[1].role(), Role::kLeader);
}

TEST(Election, WhoHasNoVoteDoesNotCampaign) {
  Group::Options options;
  Configuration configuration = VotersOnly({1, 2});
  configuration.learners = {NodeId(3)};
  configuration.contexts[NodeId(3)] = "m3";
  options.configuration = configuration;
  Group group(options);
  group.AddEmpty(4);
  group.Tick(3, 1000);
  group.Tick(4, 1000);
  EXPECT_EQ(group[3].role(), Role::kFollower);
  EXPECT_EQ(group[4].role(), Role::kFollower);
  EXPECT_TRUE(group.under_way().empty());
}

// Rules for Servers: leaders

TEST(Election, ALeaderSendsAppendsAtOnceAndInEachIdlePeriod) {
  Group group;
  group.Elect(1);
  group.Run(1);
  group.Take();
  const std::uint64_t ticks = group[1].TicksToNext();
  EXPECT_LE(ticks, 3U);
  group.Tick(1, ticks);
  std::set<std::uint64_t> sent;
  for (const Group::Packet& packet : group.Take(1)) {
    if (std::holds_alternative<AppendRequest>(packet.message.body)) sent.insert(packet.to);
  }
  EXPECT_EQ(sent, (std::set<std::uint64_t>{2, 3}));
}

TEST(Election, HeartbeatsKeepALeaderInOffice) {
  Group group(5);
  group.Elect(2);
  group.Run(1000);
  EXPECT_EQ(group.Leader(), 2U);
  EXPECT_EQ(group[1].term(), group[5].term());
  EXPECT_EQ(group[2].term(), Term(1));
}

// Figure 2, RequestVote; §5.4.1

TEST(Election, OneVoteIsGivenInATerm) {
  Group group(WithoutPreVote());
  EXPECT_TRUE(Grants(group, Vote(1, At(0, 0)), 2));
  EXPECT_FALSE(Grants(group, Vote(1, At(0, 0)), 3));
  EXPECT_TRUE(Grants(group, Vote(1, At(0, 0)), 2)) << "the answer may have been lost";
  EXPECT_TRUE(Grants(group, Vote(2, At(0, 0)), 3)) << "a new term";
}

TEST(Election, AVoteOutlivesACrash) {
  Group group(WithoutPreVote());
  EXPECT_TRUE(Grants(group, Vote(1, At(0, 0)), 2));
  group.Crash(1);
  group.Restart(1);
  EXPECT_EQ(group[1].term(), Term(1));
  EXPECT_FALSE(Grants(group, Vote(1, At(0, 0)), 3));
}

TEST(Election, AVoteIsSaidWhenItIsDurable) {
  Group group(WithoutPreVote());
  group.SetAutomatic(1, false);
  group.Inject(2, 1, Vote(1, At(0, 0)));
  EXPECT_TRUE(group.under_way().empty());
  group.MakeDurable(1);
  const auto answer = LastSaid<VoteResponse>(group, 1, 2);
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->body.granted);
}

TEST(Election, AVoteGoesOnlyToACandidateWhoseLogIsAtLeastAsUpToDate) {
  const struct {
    LogPosition last;
    bool granted;
  } cases[] = {
      {At(3, 3), true},  {At(3, 4), true},  {At(4, 1), true},  {At(4, 3), true},
      {At(3, 2), false}, {At(2, 9), false}, {At(0, 0), false}, {At(2, 3), false},
  };
  for (const auto& test : cases) {
    Group group(WithLog({1, 2, 3}));
    EXPECT_EQ(Grants(group, Vote(9, test.last)), test.granted)
        << test.last.term.value() << "/" << test.last.index.value();
    EXPECT_EQ(group[1].term(), Term(9)) << "also the refused candidate's term counts";
  }
}

TEST(Election, VoteIsRefusedWhenCandidateLogIsShorter) {
  Group::Options options = WithoutPreVote();
  options.logs[1] = LogOf({1, 1, 1});
  options.logs[2] = LogOf({1, 1, 1});
  options.logs[3] = LogOf({1, 1});
  Group group(options);
  group.Campaign(3);
  group.Deliver();
  EXPECT_EQ(group.Leader(), std::nullopt);
  group.Elect(1);
  EXPECT_EQ(group.Log(3), group.Log(1));
}

// Thesis §9.6

// §5.1: a request that is not answered is sent again.
TEST(Election, ACandidateAsksAgainWhoHasNotAnswered) {
  Group group(WithoutPreVote(5));
  group.SetAutomatic(1, false);
  group.Campaign(1);
  group.Tick(1, 1);
  EXPECT_TRUE(group.Take().empty()) << "its own vote is not durable";
  group.MakeDurable(1);
  group.Take();
  group.Inject(2, 1, Denied(1));
  group.Inject(3, 1, Granted(1));
  ASSERT_EQ(group[1].role(), Role::kCandidate);
  ASSERT_EQ(group[1].TicksToNext(), 1U);
  group.Tick(1, 1);
  std::set<std::uint64_t> asked;
  for (const Group::Packet& packet : group.Take()) {
    EXPECT_EQ(ToString(packet.message), ToString(Vote(1, At(0, 0))));
    asked.insert(packet.to);
  }
  EXPECT_EQ(asked, (std::set<std::uint64_t>{4, 5}));
}

TEST(Election, AVoteThatIsAskedForAgainDoesNotHoldTheTimerUp) {
  Group group(WithoutPreVote());
  EXPECT_TRUE(Grants(group, Vote(1, At(0, 0))));
  const std::uint64_t ticks = group[1].TicksToNext();
  group.Tick(1, 5);
  EXPECT_TRUE(Grants(group, Vote(1, At(0, 0))));
  EXPECT_EQ(group[1].TicksToNext(), ticks - 5);
}

TEST(PreVote, ATrialChangesNeitherTermNorVote) {
  Group group;
  group.Campaign(1);
  EXPECT_EQ(group[1].role(), Role::kPreCandidate);
  EXPECT_EQ(group[1].term(), Term(0));
  EXPECT_EQ(group[1].vote(), std::nullopt);
  EXPECT_EQ(group.Count(1, Event::Kind::kCandidate), 0U);
  ASSERT_EQ(group.under_way().size(), 2U);
  for (const Group::Packet& packet : group.under_way()) {
    EXPECT_TRUE(std::get<VoteRequest>(packet.message.body).pre);
    EXPECT_EQ(packet.message.term, Term(1));
  }
  group.DeliverFrom(1, 2);
  EXPECT_EQ(group[2].term(), Term(0));
  EXPECT_EQ(group[2].vote(), std::nullopt);
  EXPECT_EQ(group.disk(2).hard_state, HardState{});
}

// Thesis §9.6: a trial harms nobody, so it must not keep the only one that can win from office.
TEST(PreVote, AMemberThatCannotWinDoesNotRefuseForEverWhoCan) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Group::Options options;
    options.voters = 5;
    options.seed = seed;
    Group group(options);
    group.Crash(4);
    group.Crash(5);
    group.Cut(1, 2);
    group.Run(600);
    EXPECT_EQ(group.Leader(), 3U) << "seed " << seed << ": only 3 hears two others";
  }
}

TEST(PreVote, OfTwoFirstTrialsTheLowerIdGoesOn) {
  Group group;
  group.Campaign(1);
  group.Take();
  group.Inject(2, 1, PreVote(1, At(0, 0)));
  auto answer = LastSaid<VoteResponse>(group, 1, 2);
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->body.granted);
  group.Campaign(1);  // the trial has failed
  ASSERT_EQ(group[1].role(), Role::kPreCandidate);
  group.Inject(2, 1, PreVote(1, At(0, 0)));
  answer = LastSaid<VoteResponse>(group, 1, 2);
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->body.granted);
}

TEST(PreVote, AMajorityOfTrialVotesBeginsTheElection) {
  Group group;
  group.Campaign(1);
  group.DeliverFrom(1, 2);
  group.DeliverFrom(2, 1);
  EXPECT_EQ(group[1].role(), Role::kCandidate);
  EXPECT_EQ(group[1].term(), Term(1));
  group.Deliver();
  EXPECT_EQ(group[1].role(), Role::kLeader);
}

TEST(PreVote, TrialVotesBindNobody) {
  Group group;
  EXPECT_TRUE(Grants(group, PreVote(1, At(0, 0)), 2));
  EXPECT_TRUE(Grants(group, PreVote(1, At(0, 0)), 3));
  EXPECT_TRUE(Grants(group, PreVote(7, At(0, 0)), 3));
  EXPECT_TRUE(Grants(group, Vote(1, At(0, 0)), 2));
}

TEST(PreVote, ATrialIsRefusedToAShorterLogAndToAnOldTerm) {
  Group group(WithLog({1, 3}));
  EXPECT_FALSE(Grants(group, PreVote(4, At(3, 1))));
  EXPECT_FALSE(Grants(group, PreVote(4, At(2, 9))));
  EXPECT_FALSE(Grants(group, PreVote(2, At(3, 2))));
  EXPECT_TRUE(Grants(group, PreVote(4, At(3, 2))));
}

TEST(PreVote, ATrialIsRefusedWhileALeaderIsHeard) {
  Group group(WithLog({1}));
  group.Inject(2, 1, Append(1, At(1, 1)));
  EXPECT_FALSE(Grants(group, PreVote(2, At(1, 1)), 3));
  group.Tick(1, 9);
  EXPECT_FALSE(Grants(group, PreVote(2, At(1, 1)), 3));
}

TEST(PreVote, AMemberThatWasCutOffDoesNotDeposeTheLeader) {
  Group group;
  group.Elect(1);
  group.Run(5);
  group.Isolate(3);
  group.Run(500);
  EXPECT_EQ(group[3].term(), Term(1));
  group.Heal();
  group.Run(50);
  EXPECT_EQ(group.Leader(), 1U);
  EXPECT_EQ(group[1].term(), Term(1));
  EXPECT_EQ(group[3].role(), Role::kFollower);
  EXPECT_EQ(group[3].leader(), NodeId(1));
}

TEST(PreVote, ARefusalOfALargerTermBringsThatTerm) {
  Group group;
  group.Campaign(1);
  group.Inject(2, 1, {Term(6), VoteResponse{.pre = true, .granted = false}});
  EXPECT_EQ(group[1].term(), Term(6));
  EXPECT_EQ(group[1].role(), Role::kFollower);
}

TEST(PreVote, AGrantOfAnotherTermsTrialDoesNotCount) {
  Group group;
  group.Campaign(1);
  group.Inject(2, 1, PreGranted(9));
  EXPECT_EQ(group[1].role(), Role::kPreCandidate);
  EXPECT_EQ(group[1].term(), Term(0)) << "a granted trial says the asker's term";
}

// Thesis §6.2: a leader that cannot reach a majority

TEST(CheckQuorum, ALeaderWithoutAMajorityStepsDown) {
  Group group(5);
  group.Elect(1);
  group.Run(5);
  for (const std::uint64_t lost : {3U, 4U, 5U}) group.Cut(1, lost);
  group.Cut(2, 3);
  group.Cut(2, 4);
  group.Cut(2, 5);
  group.Run(45);
  EXPECT_EQ(group[1].role() == Role::kLeader, false);
  EXPECT_EQ(ToString(group.Propose(1, "x")), "not leader");
  EXPECT_TRUE(group.Leader());
}

TEST(CheckQuorum, ALeaderThatHearsAMajorityStays) {
  Group group(5);
  group.Elect(1);
  group.Isolate(4);
  group.Isolate(5);
  group.Run(500);
  EXPECT_EQ(group[1].role(), Role::kLeader);
  EXPECT_EQ(group[1].term(), Term(1));
}

TEST(CheckQuorum, ALeaderThatOnlySendsStepsDown) {
  Group group;
  group.Elect(1);
  group.Run(5);
  group.CutOneWay(2, 1);
  group.CutOneWay(3, 1);
  group.Run(200);
  EXPECT_NE(group[1].role(), Role::kLeader);
}

// Thesis §4.2.3

TEST(Stickiness, WhoHearsALeaderIgnoresCandidates) {
  Group group(WithLog({1}));
  group.Inject(2, 1, Append(1, At(1, 1)));
  group.Take();
  group.Inject(3, 1, Vote(7, At(9, 9)));
  EXPECT_EQ(group[1].term(), Term(1));
  EXPECT_EQ(group[1].leader(), NodeId(2));
  const auto answer = LastSaid<VoteResponse>(group, 1, 3);
  EXPECT_FALSE(answer && answer->body.granted);
}

TEST(Stickiness, ALeaderOfALivingMajorityIgnoresCandidates) {
  Group group;
  group.Elect(1);
  group.Run(5);
  group.Inject(3, 1, Vote(7, At(9, 9)));
  EXPECT_EQ(group[1].role(), Role::kLeader);
  EXPECT_EQ(group[1].term(), Term(1));
}

TEST(Stickiness, TheLeadersOwnCandidateIsHeard) {
  Group group(WithLog({1}));
  group.Inject(2, 1, Append(1, At(1, 1)));
  EXPECT_TRUE(Grants(group, TransferVote(2, At(1, 1)), 3));
}

TEST(Stickiness, AnElectionTimeoutLaterCandidatesAreHeardAgain) {
  Group::Options options = WithLog({1});
  for (options.seed = 1; Group(options)[1].TicksToNext() < 15; ++options.seed) {
  }
  Group group(options);
  group.Inject(2, 1, Append(1, At(1, 1)));
  group.Tick(1, 10);
  EXPECT_TRUE(Grants(group, Vote(2, At(1, 1)), 3));
}

// A dead process refuses connections.

TEST(ConnectionRefused, AFollowerNeedNotWaitForItsTimer) {
  int sooner = 0;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Group::Options options;
    options.seed = seed;
    options.node = NodeOptions{};
    Group group(options);
    group.Elect(1);
    group.Run(60);
    group.Crash(1);
    group.ConnectionRefused(2, 1);
    group.ConnectionRefused(3, 1);
    EXPECT_EQ(group.Count(2, Event::Kind::kLeaderDead), 1U);
    EXPECT_EQ(group[2].leader(), std::nullopt);
    group.Run(40);
    sooner += group.Leader() ? 1 : 0;
  }
  EXPECT_GE(sooner, 35) << "of 50; the rest split their votes";
}

TEST(ConnectionRefused, OfAnotherThanTheLeaderItMeansNothing) {
  Group group;
  group.Elect(1);
  group.Run(5);
  const std::uint64_t ticks = group[2].TicksToNext();
  group.ConnectionRefused(2, 3);
  group.ConnectionRefused(2, 77);
  EXPECT_EQ(group[2].role(), Role::kFollower);
  EXPECT_EQ(group[2].leader(), NodeId(1));
  EXPECT_EQ(group[2].TicksToNext(), ticks);
}

TEST(ConnectionRefused, WithLeasesTheTimerIsWaitedFor) {
  Group::Options options;
  options.node.lease_reads = true;
  Group group(options);
  group.Elect(1);
  group.Run(5);
  group.ConnectionRefused(2, 1);
  group.ConnectionRefused(3, 1);
  group.Deliver();
  EXPECT_EQ(group[2].role(), Role::kFollower);
  EXPECT_EQ(group[3].role(), Role::kFollower);
  EXPECT_EQ(group[1].role(), Role::kLeader);
}

}  // namespace
}  // namespace ds::raft
