// Peers may say anything: no CHECK fails, what is to be written stays in order, memory is bounded.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <limits>

#include "tests/raft/core/group.h"
#include "tests/raft/core/random_message.h"

namespace ds::raft {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

/// What a member that is told anything by anybody does wrong by itself; the other rules need honest
/// members.
std::vector<std::string> Wrongs(std::uint64_t seed, PlantedBug bug = PlantedBug::kNone) {
  Rng rng(seed);
  Group::Options options;
  options.seed = seed;
  options.node.lease_reads = seed % 3 == 0;
  options.node.pre_vote = seed % 2 == 0;
  options.node.snapshot_part_bytes = 8;
  options.node.planted_bug = bug;
  if (seed % 4 == 0) options.logs[1] = LogOf({1, 1, 2, 3, 3});
  Group group(options);
  RandomMessages messages(rng, seed % 3 == 1 ? 0.0 : seed % 3 == 2 ? 0.01 : 0.3);
  if (seed % 5 == 0) group.Elect(1);
  for (int step = 0; step < 2000; ++step) {
    const std::uint64_t from = rng.Below(6) == 0 ? messages.Number(group[1]) : rng.Below(5);
    group.Inject(from, 1, messages.Any(group[1]));
    if (rng.Bernoulli(0.1)) group.Tick(1, 1 + rng.Below(20));
    if (rng.Bernoulli(0.05)) group.Propose(1, "x");
    if (rng.Bernoulli(0.05)) group.Read(1, static_cast<ReadId>(step));
    if (rng.Bernoulli(0.01)) group.SetAutomatic(1, rng.Bernoulli(0.5));
    if (rng.Bernoulli(0.01)) group.Transfer(1, rng.Below(5));
    if (rng.Bernoulli(0.01) && group[1].applied() > group[1].snapshot().index) group.Compact(1);
    if (rng.Bernoulli(0.005)) {
      group.Crash(1);
      group.Restart(1);
    }
    group.Take();
  }
  std::vector<std::string> wrongs;
  for (Group::Breach& breach : group.TakeBreaches()) {
    if (breach.rule == Group::Rule::kOwn) wrongs.push_back(std::move(breach.what));
  }
  return wrongs;
}

TEST(Hostile, AnyMessageFromAnybodyIsSurvived) {
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    ASSERT_THAT(Wrongs(seed), IsEmpty()) << "seed " << seed;
  }
}

TEST(Hostile, WhoAnswersBeforeItsDiskHasItIsSeenAmongThem) {
  std::string wrongs;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    for (const std::string& wrong : Wrongs(seed, PlantedBug::kAckBeforeDurable)) {
      wrongs += wrong + "\n";
    }
  }
  EXPECT_THAT(wrongs, HasSubstr("votes for"));
  EXPECT_THAT(wrongs, HasSubstr("accepts entries"));
}

TEST(Hostile, MessagesOfManySendersDoNotFillTheMemory) {
  Rng rng(7);
  Rng node_rng(8);
  NodeOptions options = QuickOptions();
  options.reads_max = 100;
  Restored restored;
  restored.snapshot.configuration = VotersOnly({1, 2, 3});
  Node node(NodeId(1), options, restored, node_rng);
  RandomMessages messages(rng, 0.0);
  std::size_t first = 0;
  constexpr int kSteps = 200'000;
  for (int step = 0; step < kSteps; ++step) {
    node.Step(NodeId(rng.Next()), messages.Any(node));
    if (step % 50 == 0) node.Tick(1 + rng.Below(10));
    if (step % 3 == 0) node.Step(NodeId(2), messages.Any(node));
    if (node.last().index > node.committed() + 50) {
      // What a true leader would commit; so the log does not grow by right.
      node.Step(NodeId(3), Append(node.term().value(), node.last(), {}, node.last().index.value()));
    }
    for (int outputs = 0; node.HasOutput(); ++outputs) {
      ASSERT_LT(outputs, 100) << "output without end";
      const Output output = node.TakeOutput();
      ASSERT_LT(output.messages.size(), 1000U);
      if (output.batch != 0) node.Persisted(output.batch);
    }
    if (node.applied() > node.snapshot().index + 20) {
      if (const auto meta = node.SnapshotAt(node.applied())) node.Compact(*meta, node.applied());
    }
    if (step == kSteps / 4) first = mallinfo2().uordblks;
  }
  const std::size_t last = mallinfo2().uordblks;
  // The sanitizers' allocators say nothing here, so both are 0 there.
  EXPECT_LE(last, first + (std::size_t{1} << 20));
}

TEST(Hostile, TheLastTermIsNotFollowedByTermZero) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  for (const bool pre_vote : {true, false}) {
    Group::Options options;
    options.node.pre_vote = pre_vote;
    Group group(options);
    group.Inject(2, 1, Append(kMax, At(0, 0)));
    const Term term = group[1].term();
    group.Tick(1, 1000);
    EXPECT_GE(group[1].term(), term);
    group.Inject(2, 1, {Term(kMax), TimeoutNow{}});
    EXPECT_GE(group[1].term(), term);
  }
}

TEST(Hostile, TheLastIndexIsNotFollowedByIndexZero) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  for (const std::uint64_t index : {kMax, kMax - 1}) {
    Group group;
    SnapshotMeta meta;
    meta.last = At(1, index);
    meta.configuration = VotersOnly({1, 2, 3});
    meta.bytes = 2;
    group.Inject(2, 1, Part(1, meta, 0, "a\n"));
    group.Inject(2, 1, Append(1, At(1, index), {Command(1, index + 1, "x")}));
    group.Inject(2, 1, Append(1, At(1, index), {}, kMax));
    group.Campaign(1);
    group.Inject(2, 1, PreGranted(2));
    group.Inject(2, 1, Granted(2));
    group.Propose(1, "x");
    EXPECT_GE(group[1].last().index, group[1].snapshot().index);
    group.TakeBreaches();
  }
}

TEST(Hostile, EntriesThatAreNullOrMisplacedAreNotTaken) {
  const std::vector<std::vector<EntryPtr>> lists = {
      {nullptr},
      {Command(1, 1, "a"), nullptr},
      {Command(1, 2, "a")},
      {Command(1, 1, "a"), Command(1, 3, "b")},
      {Command(1, 1, "a"), Command(1, 1, "b")},
      {Command(0, 1, "a")},
      {Command(3, 1, "a")},                      // of a term that its sender does not know yet
      {Command(2, 1, "a"), Command(1, 2, "b")},  // terms fall
  };
  for (std::size_t i = 0; i < lists.size(); ++i) {
    Group group;
    group.Inject(2, 1, Append(2, At(0, 0), lists[i], 9));
    EXPECT_EQ(group[1].last(), At(0, 0)) << i;
    EXPECT_EQ(group[1].committed(), LogIndex(0)) << i;
  }
}

TEST(Hostile, AConfigurationEntryThatCannotBeReadDoesNoHarm) {
  for (const std::string& bytes : {std::string("garbage"), std::string()}) {
    Group group;
    auto entry = std::make_shared<Entry>();
    entry->position = At(1, 1);
    entry->kind = Entry::Kind::kConfiguration;
    entry->data = bytes;
    group.Inject(2, 1, Append(1, At(0, 0), {entry}, 1));
    EXPECT_EQ(group[1].configuration(), VotersOnly({1, 2, 3}));
  }
}

TEST(Hostile, EntriesThatAreCommittedAreNotCut) {
  Group::Options options;
  options.logs[1] = LogOf({1, 1, 1});
  Group group(options);
  group.Inject(2, 1, Append(2, At(1, 3), {}, 3));
  ASSERT_EQ(group[1].committed(), LogIndex(3));
  group.Inject(2, 1, Append(2, At(1, 1), {Command(2, 2, "other")}, 3));
  EXPECT_EQ(group.Log(1), "1 1 1");
  group.Inject(3, 1, Append(9, At(0, 0), {Command(9, 1, "other")}, 1));
  EXPECT_EQ(group.Log(1), "1 1 1");
}

TEST(Hostile, AnswersCannotCommitWhatTheLeaderDoesNotHave) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  Group group;
  group.Elect(1);
  group.Take();
  for (const std::uint64_t index : {std::uint64_t{2}, std::uint64_t{1000}, kMax}) {
    for (const std::uint64_t from : {2U, 3U}) {
      group.Inject(from, 1, AppendAnswer(1, true, At(1, index), kMax));
      group.Inject(from, 1, AppendAnswer(1, false, At(1, index), kMax));
    }
  }
  EXPECT_EQ(group[1].committed(), LogIndex(1));
  for (const Node::Follower& follower : group[1].followers()) {
    EXPECT_LE(follower.match, LogIndex(1));
  }
  group.Propose(1, "a");
  group.Run(10);
  EXPECT_EQ(group.state(2).size(), 1U);
}

TEST(Hostile, ASnapshotThatSaysItIsHugeCostsNothing) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  Group group;
  SnapshotMeta meta;
  meta.last = At(1, 5);
  meta.configuration = VotersOnly({1, 2, 3});
  meta.bytes = kMax;
  group.Inject(2, 1, Part(1, meta, 0, "a\n"));
  group.Inject(2, 1, Part(1, meta, kMax - 1, "b\n"));
  group.Inject(2, 1, Part(1, meta, kMax, "b\n"));
  EXPECT_EQ(group[1].snapshot(), At(0, 0));
  meta.bytes = 1;  // shorter than what comes
  group.Inject(2, 1, Part(1, meta, 0, "abcd\n"));
  EXPECT_EQ(group[1].snapshot(), At(0, 0));
}

TEST(Hostile, ASnapshotWithAConfigurationOfNobodyIsNotInstalled) {
  Group group;
  SnapshotMeta meta;
  meta.last = At(1, 5);
  meta.bytes = 2;
  group.Inject(2, 1, Part(1, meta, 0, "a\n"));
  EXPECT_EQ(group[1].snapshot(), At(0, 0));
  EXPECT_EQ(group[1].configuration(), VotersOnly({1, 2, 3}));
}

}  // namespace
}  // namespace ds::raft
