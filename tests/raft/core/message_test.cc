#include "raft/core/message.h"

#include <gtest/gtest.h>

namespace ds::raft {
namespace {

LogPosition At(std::uint64_t term, std::uint64_t index) { return {Term(term), LogIndex(index)}; }

TEST(MessageToString, RequestsForVotesNameTheLastEntry) {
  EXPECT_EQ(ToString({Term(7), VoteRequest{.last = At(3, 12)}}), "VoteRequest term 7 last 12@3");
  EXPECT_EQ(ToString({Term(7), VoteRequest{.pre = true, .transfer = true, .last = At(3, 12)}}),
            "PreVoteRequest term 7 last 12@3 transfer");
}

TEST(MessageToString, VotesSayWhetherTheyAreGranted) {
  EXPECT_EQ(ToString({Term(7), VoteResponse{.granted = true}}), "VoteResponse term 7 granted");
  EXPECT_EQ(ToString({Term(8), VoteResponse{.pre = true}}), "PreVoteResponse term 8 refused");
}

TEST(MessageToString, AppendsCountTheirEntriesAndBytes) {
  const auto entry =
      std::make_shared<const Entry>(Entry{At(7, 13), Entry::Kind::kCommand, "secret"});
  const AppendRequest request{
      .previous = At(3, 12), .entries = {entry, entry}, .committed = LogIndex(11), .round = 5};
  EXPECT_EQ(ToString({Term(7), request}),
            "AppendRequest term 7 previous 12@3 entries 2 bytes 12 committed 11 round 5");
  EXPECT_EQ(ToString({Term(7), AppendRequest{.previous = At(3, 12), .round = 6}}),
            "Heartbeat term 7 previous 12@3 entries 0 bytes 0 committed 0 round 6");
  EXPECT_EQ(ToString({Term(7), AppendResponse{.round = 5, .accepted = true, .match = At(7, 14)}}),
            "AppendResponse term 7 accepted match 14@7 round 5");
  EXPECT_EQ(ToString({Term(7), AppendResponse{.match = At(2, 9), .honours_lease = true}}),
            "AppendResponse term 7 refused match 9@2 round 0 lease");
}

TEST(MessageToString, PartsOfSnapshotsNameTheirPlace) {
  SnapshotPart part;
  part.meta.last = At(3, 12);
  part.meta.bytes = 1000;
  part.offset = 256;
  part.length = 128;
  part.data = "abc";
  part.round = 9;
  EXPECT_EQ(ToString({Term(7), part}),
            "SnapshotPart term 7 last 12@3 bytes 1000 offset 256 length 128 data 3 round 9");
  EXPECT_EQ(ToString({Term(7), SnapshotPartResponse{.last = At(3, 12), .next_offset = 384}}),
            "SnapshotPartResponse term 7 last 12@3 next 384 round 0");
  EXPECT_EQ(ToString({Term(7), SnapshotPartResponse{.last = At(3, 12),
                                                    .next_offset = 1000,
                                                    .installed = true,
                                                    .round = 9,
                                                    .honours_lease = true}}),
            "SnapshotPartResponse term 7 last 12@3 next 1000 installed round 9 lease");
}

TEST(MessageToString, TheOthersAreOneLineToo) {
  EXPECT_EQ(ToString({Term(7), TimeoutNow{}}), "TimeoutNow term 7");
  EXPECT_EQ(ToString({Term(7), ReadRequest{.batch = 3}}), "ReadRequest term 7 batch 3");
  EXPECT_EQ(ToString({Term(7), ReadResponse{.batch = 3, .index = LogIndex(12)}}),
            "ReadResponse term 7 batch 3 index 12");
  EXPECT_EQ(ToString({Term(7), ReadResponse{.batch = 3}}), "ReadResponse term 7 batch 3 failed");
}

TEST(MessageToString, AMessageOfAHostilePeerIsPrintedToo) {
  EXPECT_EQ(ToString({Term(7), AppendRequest{.entries = {nullptr}}}),
            "AppendRequest term 7 previous 0@0 entries 1 bytes 0 committed 0 round 0");
}

}  // namespace
}  // namespace ds::raft
