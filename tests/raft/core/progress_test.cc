#include "raft/core/progress.h"

#include <gtest/gtest.h>

namespace ds::raft {
namespace {

using State = Progress::State;

constexpr Progress::Limits kLimits{.requests = 3, .bytes = 100};

/// Its log is known to be equal up to 10.
Progress Replicating() {
  Progress progress(LogIndex(11), 0);
  progress.Sent(LogIndex(10), 0);
  progress.Accepted(LogIndex(10));
  return progress;
}

TEST(Progress, AProbeWaitsForItsAnswerOrAHeartbeat) {
  Progress progress(LogIndex(11), 0);
  ASSERT_TRUE(progress.MaySend(kLimits));
  progress.Sent(LogIndex(14), 40);
  EXPECT_EQ(progress.next(), LogIndex(11)) << "nothing is taken for granted";
  EXPECT_FALSE(progress.MaySend(kLimits));
  progress.ResumeProbe();
  EXPECT_TRUE(progress.MaySend(kLimits));
}

TEST(Progress, AnAcceptedProbeBeginsReplication) {
  Progress progress(LogIndex(11), 0);
  progress.Sent(LogIndex(14), 40);
  progress.Accepted(LogIndex(14));
  EXPECT_EQ(progress.state(), State::kReplicate);
  EXPECT_EQ(progress.match(), LogIndex(14));
  EXPECT_EQ(progress.next(), LogIndex(15));
}

TEST(Progress, ARefusedProbeTriesAgainAtOnceFurtherBack) {
  Progress progress(LogIndex(11), 0);
  progress.Sent(LogIndex(14), 40);
  progress.Refused(LogIndex(6));
  EXPECT_EQ(progress.state(), State::kProbe);
  EXPECT_EQ(progress.next(), LogIndex(6));
  EXPECT_TRUE(progress.MaySend(kLimits));
}

TEST(Progress, ARefusalThatLeadsNowhereNewWaitsForAHeartbeat) {
  Progress progress(LogIndex(11), 0);
  progress.Sent(LogIndex(14), 40);
  progress.Refused(LogIndex(11));
  EXPECT_FALSE(progress.MaySend(kLimits));
  progress.Refused(LogIndex(30));
  EXPECT_EQ(progress.next(), LogIndex(11));
  EXPECT_FALSE(progress.MaySend(kLimits));
}

TEST(Progress, RequestsFollowEachOtherUpToTheNumberInFlight) {
  Progress progress = Replicating();
  for (std::uint64_t last = 11; last <= 13; ++last) {
    ASSERT_TRUE(progress.MaySend(kLimits));
    progress.Sent(LogIndex(last), 1);
    EXPECT_EQ(progress.next(), LogIndex(last + 1));
  }
  EXPECT_FALSE(progress.MaySend(kLimits));
  progress.Accepted(LogIndex(11));
  EXPECT_TRUE(progress.MaySend(kLimits));
  EXPECT_EQ(progress.next(), LogIndex(14));
}

TEST(Progress, RequestsFollowEachOtherUpToTheBytesInFlight) {
  Progress progress = Replicating();
  progress.Sent(LogIndex(12), 60);
  EXPECT_TRUE(progress.MaySend(kLimits));
  progress.Sent(LogIndex(14), 60);
  EXPECT_FALSE(progress.MaySend(kLimits));
  progress.Accepted(LogIndex(13));
  EXPECT_TRUE(progress.MaySend(kLimits)) << "the first one is answered, the second is not";
  progress.Sent(LogIndex(15), 60);
  EXPECT_FALSE(progress.MaySend(kLimits));
  progress.Accepted(LogIndex(15));
  EXPECT_TRUE(progress.MaySend(kLimits));
}

TEST(Progress, ALateAnswerMovesNothingBack) {
  Progress progress = Replicating();
  progress.Sent(LogIndex(20), 1);
  progress.Accepted(LogIndex(20));
  progress.Accepted(LogIndex(12));
  EXPECT_EQ(progress.match(), LogIndex(20));
  EXPECT_EQ(progress.next(), LogIndex(21));
}

TEST(Progress, ALateRefusalLeadsNoFurtherBackThanTheMatch) {
  Progress progress = Replicating();
  progress.Sent(LogIndex(20), 1);
  progress.Refused(LogIndex(3));
  EXPECT_EQ(progress.state(), State::kProbe);
  EXPECT_EQ(progress.match(), LogIndex(10));
  EXPECT_EQ(progress.next(), LogIndex(11));
  EXPECT_TRUE(progress.MaySend(kLimits));
}

TEST(Progress, AFollowerThatLostItsLogIsAskedOnceAHeartbeat) {
  Progress progress = Replicating();
  progress.Refused(LogIndex(3));
  ASSERT_TRUE(progress.MaySend(kLimits));
  progress.Sent(LogIndex(11), 1);
  for (int i = 0; i < 5; ++i) progress.Refused(LogIndex(3));
  EXPECT_FALSE(progress.MaySend(kLimits));
}

TEST(Progress, ALostRequestIsSentAgainAtTheNextHeartbeat) {
  Progress progress = Replicating();
  progress.Sent(LogIndex(20), 1);
  progress.Lost();
  EXPECT_EQ(progress.state(), State::kProbe);
  EXPECT_EQ(progress.next(), LogIndex(11));
  EXPECT_FALSE(progress.MaySend(kLimits));
  progress.ResumeProbe();
  EXPECT_TRUE(progress.MaySend(kLimits));
}

TEST(Progress, ALostProbeStaysWhereItIs) {
  Progress progress(LogIndex(11), 0);
  progress.Sent(LogIndex(14), 40);
  progress.Lost();
  EXPECT_EQ(progress.next(), LogIndex(11)) << "nothing is known of the follower yet, not even 1";
  EXPECT_FALSE(progress.MaySend(kLimits));
  progress.ResumeProbe();
  EXPECT_TRUE(progress.MaySend(kLimits));
}

TEST(Progress, ASnapshotStopsEntriesUntilItIsThere) {
  Progress progress(LogIndex(3), 0);
  progress.EnterSnapshot({Term(2), LogIndex(50)}, 1000, 0);
  EXPECT_FALSE(progress.MaySend(kLimits));
  EXPECT_EQ(progress.snapshot().offset, 0U);
  progress.snapshot().offset = 700;
  progress.Refused(LogIndex(1));
  progress.Lost();
  EXPECT_EQ(progress.state(), State::kSnapshot);
  EXPECT_EQ(progress.snapshot().offset, 700U);
  progress.EnterSnapshot({Term(2), LogIndex(60)}, 2000, 0);
  EXPECT_EQ(progress.snapshot().offset, 0U) << "a newer one begins anew";
  progress.Accepted(LogIndex(60));
  EXPECT_EQ(progress.state(), State::kSnapshot);
  progress.LeaveSnapshot();
  EXPECT_EQ(progress.state(), State::kReplicate);
  EXPECT_EQ(progress.next(), LogIndex(61));
  EXPECT_TRUE(progress.MaySend(kLimits));
}

}  // namespace
}  // namespace ds::raft
