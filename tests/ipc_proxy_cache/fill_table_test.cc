#include "ipc_proxy_cache/core/fill_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/base/rng.h"
#include "tests/ipc_proxy_cache/fill_actions.h"

namespace ds::ipc_proxy_cache {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;

constexpr LinkId kA{1};
constexpr LinkId kB{2};
constexpr LinkId kC{3};
constexpr FillId kFill{1};  // the first
constexpr Term kFirst{1};
constexpr Term kSecond{2};

class FillTableTest : public ::testing::Test {
 protected:
  /// The actions since the last call.
  std::vector<std::string> Actions() {
    std::vector<std::string> lines;
    for (const FillAction& action : table_.TakeActions()) lines.push_back(Describe(action));
    return lines;
  }
  void Want(LinkId link, std::string_view key = "k", std::uint64_t request = 7) {
    table_.HandleWant(link, RequestId{request}, key, false, now_);
  }
  void Begin(LinkId link, std::uint64_t length, Term term = kFirst) {
    table_.HandleBegin(link, kFill, term, length, now_);
  }
  void Data(LinkId link, std::uint64_t offset, std::uint64_t bytes, Term term = kFirst) {
    table_.HandleData(link, kFill, term, offset, bytes, now_);
  }
  void End(LinkId link, FillEnd end, Term term = kFirst) {
    table_.HandleEnd(link, kFill, term, end, now_);
  }
  /// A leads, B and C follow, `filled` of 10 bytes are there.
  void BeginWithFollowers(std::uint64_t filled) {
    for (const LinkId link : {kA, kB, kC}) Want(link);
    Begin(kA, 10);
    if (filled > 0) Data(kA, 0, filled);
    (void)Actions();
  }
  /// Time passes; of these links ALIVE comes every 250 ms, of the others nothing.
  void PassTime(Duration duration, const std::vector<LinkId>& alive) {
    const TimePoint end = now_ + duration;
    while (now_ < end) {
      now_ = std::min(now_ + 250ms, end);
      for (const LinkId link : alive) table_.HandleAlive(link, now_);
      table_.HandleTimeout(now_);
    }
  }
  void ExpectNothingLeft() {
    for (const LinkId link : {kA, kB, kC}) table_.HandleLinkEnd(link);
    EXPECT_EQ(table_.fills(), 0U);
    EXPECT_EQ(table_.links(), 0U);
    EXPECT_EQ(table_.NextDeadline(), std::nullopt);
  }

  FillTable table_{FillTable::Options()};
  TimePoint now_{1000s};
};

TEST_F(FillTableTest, FirstWantLeadsAndLaterOnesFollow) {
  Want(kA, "k", 5);
  Want(kB, "k", 6);
  Want(kC, "k", 5);
  EXPECT_THAT(Actions(), ElementsAre("1: Lead f1 t1 r5", "2: Follow f1 r6", "3: Follow f1 r5"));
  Want(kA, "other", 9);
  EXPECT_THAT(Actions(), ElementsAre("1: Lead f2 t1 r9"));
  EXPECT_EQ(table_.fills(), 2U);
}

TEST_F(FillTableTest, WhatIsInTheIndexIsFoundAndBeginsNothing) {
  table_.HandleWant(kA, RequestId{7}, "k", true, now_);
  EXPECT_THAT(Actions(), ElementsAre("1: Found r7"));
  EXPECT_EQ(table_.fills(), 0U);
  Want(kB);
  (void)Actions();
  table_.HandleWant(kA, RequestId{8}, "k", true, now_);
  EXPECT_THAT(Actions(), ElementsAre("1: Found r8")) << "though somebody fetches it again";
}

TEST_F(FillTableTest, EverybodyIsToldOfTheObjectAndLaterFollowersAtOnce) {
  Want(kA);
  Want(kB);
  (void)Actions();
  Begin(kA, 10);
  EXPECT_THAT(Actions(), ElementsAre("1: Begun f1", "2: Begun f1"));
  Want(kC);
  EXPECT_THAT(Actions(), ElementsAre("3: Follow f1 r7", "3: Begun f1"));
}

TEST_F(FillTableTest, ProgressIsOneUnreadMessageForALink) {
  BeginWithFollowers(0);
  Data(kA, 0, 2);
  EXPECT_THAT(Actions(), ElementsAre("2: Progress f1 at 2", "3: Progress f1 at 2"));
  Data(kA, 2, 1);
  EXPECT_THAT(Actions(), IsEmpty());
  table_.HandleProgressRead(kB, kFill, now_);
  EXPECT_THAT(Actions(), ElementsAre("2: Progress f1 at 3"))
      << "it may have looked before the third";
  Data(kA, 3, 1);
  EXPECT_THAT(Actions(), IsEmpty());
  table_.HandleProgressRead(kB, kFill, now_);
  (void)Actions();
  table_.HandleProgressRead(kB, kFill, now_);
  EXPECT_THAT(Actions(), IsEmpty()) << "nothing has come since";
  Data(kA, 4, 1);
  EXPECT_THAT(Actions(), ElementsAre("2: Progress f1 at 5")) << "C has not read its first";
}

TEST_F(FillTableTest, CompleteFillIsPublishedBeforeItsFollowersHearOfIt) {
  BeginWithFollowers(10);
  EXPECT_TRUE(table_.FindLed(kA, kFill, kFirst)->publish);
  End(kA, FillEnd::kComplete);
  EXPECT_THAT(Actions(), ElementsAre("CloseFill f1 complete, publish", "1: Ended f1 complete",
                                     "2: Ended f1 complete", "3: Ended f1 complete"));
  EXPECT_EQ(table_.fills(), 0U);
  Want(kB);
  EXPECT_THAT(Actions(), ElementsAre("2: Lead f2 t1 r7")) << "say it was evicted at once";
  ExpectNothingLeft();
}

TEST_F(FillTableTest, InsertedObjectIsToBeFoundInTheIndex) {
  Want(kA);
  Want(kB);
  (void)Actions();
  table_.HandleInsert(kA, kFill, kFirst, now_);
  EXPECT_THAT(Actions(),
              ElementsAre("CloseFill f1 found", "1: Ended f1 found", "2: Ended f1 found"));
  table_.HandleInsert(kA, kFill, kFirst, now_);
  EXPECT_THAT(Actions(), IsEmpty());
  EXPECT_EQ(table_.counters().refused, 1U);
}

TEST_F(FillTableTest, EndsWithoutAnObjectAreToldAsTheyAre) {
  struct Case {
    FillEnd end;
    const char* close;
    const char* told;
  };
  std::uint64_t fill = 0;
  for (const Case& c : {Case{FillEnd::kNegative, "CloseFill f{} negative, publish", "negative"},
                        Case{FillEnd::kBroken, "CloseFill f{} broken", "broken"},
                        Case{FillEnd::kPass, "CloseFill f{} pass", "pass"},
                        Case{FillEnd::kFound, "CloseFill f{} found", "found"}}) {
    ++fill;
    Want(kA);
    Want(kB);
    (void)Actions();
    table_.HandleEnd(kA, FillId{fill}, kFirst, c.end, now_);
    EXPECT_THAT(Actions(), ElementsAre(fmt::format(fmt::runtime(c.close), fill),
                                       fmt::format("1: Ended f{} {}", fill, c.told),
                                       fmt::format("2: Ended f{} {}", fill, c.told)));
  }
  ExpectNothingLeft();
}

TEST_F(FillTableTest, BrokenFillIsNotPublished) {
  BeginWithFollowers(9);
  End(kA, FillEnd::kBroken);
  EXPECT_THAT(Actions(), ElementsAre("CloseFill f1 broken", "1: Ended f1 broken",
                                     "2: Ended f1 broken", "3: Ended f1 broken"));
}

TEST_F(FillTableTest, LeaderWhoseLinkEndsIsReplacedByTheFirstFollowerAtTheByteReached) {
  BeginWithFollowers(4);
  table_.HandleLinkEnd(kA);
  EXPECT_THAT(Actions(), ElementsAre("2: Promoted f1 t2 at 4"));
  Data(kB, 4, 6, kSecond);
  EXPECT_THAT(Actions(), IsEmpty()) << "C has not read its Progress yet";
  End(kB, FillEnd::kComplete, kSecond);
  EXPECT_THAT(Actions(), ElementsAre("CloseFill f1 complete, publish", "2: Ended f1 complete",
                                     "3: Ended f1 complete"));
  ExpectNothingLeft();
}

TEST_F(FillTableTest, BeforeBeginAPromotionStartsFromNothing) {
  Want(kA);
  Want(kB);
  (void)Actions();
  table_.HandleLinkEnd(kA);
  EXPECT_THAT(Actions(), ElementsAre("2: Promoted f1 t2"));
  Begin(kB, 3, kSecond);
  EXPECT_THAT(Actions(), ElementsAre("2: Begun f1"));
}

TEST_F(FillTableTest, SilentLeaderIsReplacedAfterASecondAndFollows) {
  BeginWithFollowers(4);
  PassTime(999ms, {kB, kC});
  EXPECT_THAT(Actions(), IsEmpty());
  PassTime(1ms, {kB, kC});
  EXPECT_THAT(Actions(), ElementsAre("1: Demoted f1", "2: Promoted f1 t2 at 4"));
  // It wakes up: what it says in its old term counts for nothing, and what it says makes it alive.
  EXPECT_EQ(table_.FindLed(kA, kFill, kFirst), std::nullopt);
  EXPECT_EQ(table_.FindLed(kA, kFill, kSecond), std::nullopt);
  Data(kA, 4, 6);
  End(kA, FillEnd::kBroken);
  Begin(kA, 12);
  EXPECT_THAT(Actions(), IsEmpty());
  EXPECT_EQ(table_.counters().refused, 3U);
  EXPECT_EQ(table_.FindLed(kB, kFill, kSecond)->filled, 4U);
  Data(kB, 4, 1, kSecond);
  EXPECT_THAT(Actions(), ElementsAre("1: Progress f1 at 5")) << "C has an unread one";
  // It joined last.
  table_.HandleLinkEnd(kB);
  EXPECT_THAT(Actions(), ElementsAre("3: Promoted f1 t3 at 5"));
  table_.HandleLinkEnd(kC);
  EXPECT_THAT(Actions(), ElementsAre("1: Promoted f1 t4 at 5"));
  Data(kA, 5, 5);
  EXPECT_EQ(table_.FindLed(kA, kFill, Term{4})->filled, 5U) << "its first term is over for good";
}

TEST_F(FillTableTest, SilentFollowersAreNotPromotedWhileOthersAreAlive) {
  BeginWithFollowers(4);
  PassTime(1s, {kC});  // A and B become silent in the same moment
  EXPECT_THAT(Actions(), ElementsAre("1: Demoted f1", "3: Promoted f1 t2 at 4"));
  table_.HandleLinkEnd(kC);
  EXPECT_THAT(Actions(), ElementsAre("2: Promoted f1 t3 at 4")) << "the first: nobody is alive";
}

TEST_F(FillTableTest, LeaderWhoseLinkEndsIsReplacedByTheFirstThatIsNotSilent) {
  BeginWithFollowers(4);
  PassTime(1s, {kA, kC});
  table_.HandleLinkEnd(kA);
  EXPECT_THAT(Actions(), ElementsAre("3: Promoted f1 t2 at 4"));
  table_.HandleAlive(kB, now_);
  table_.HandleLeave(kC, kFill, now_);
  EXPECT_THAT(Actions(), ElementsAre("2: Promoted f1 t3 at 4"));
}

TEST_F(FillTableTest, SilentLeaderStaysUntilSomebodyAliveFollows) {
  Want(kA);
  Begin(kA, 10);
  Data(kA, 0, 4);
  (void)Actions();
  PassTime(5s, {});
  EXPECT_THAT(Actions(), IsEmpty());
  EXPECT_EQ(table_.NextDeadline(), std::nullopt) << "there is nothing to wait for";
  Data(kA, 4, 1);
  PassTime(2s, {});
  Want(kB);
  EXPECT_THAT(Actions(), ElementsAre("2: Follow f1 r7", "2: Begun f1", "1: Demoted f1",
                                     "2: Promoted f1 t2 at 5"));
}

TEST_F(FillTableTest, FollowerThatWakesUpTakesOverFromASilentLeader) {
  BeginWithFollowers(4);
  PassTime(3s, {});
  EXPECT_THAT(Actions(), IsEmpty());
  table_.HandleAlive(kC, now_);
  EXPECT_THAT(Actions(), ElementsAre("1: Demoted f1", "3: Promoted f1 t2 at 4"));
}

TEST_F(FillTableTest, LeaderThatWakesUpFirstLeadsOn) {
  BeginWithFollowers(4);
  PassTime(3s, {});
  Data(kA, 4, 6);
  table_.HandleAlive(kB, now_);
  EXPECT_EQ(table_.FindLed(kA, kFill, kFirst)->filled, 10U);
}

TEST_F(FillTableTest, EveryMessageIsASignOfLife) {
  const std::vector<std::pair<const char*, std::function<void()>>> messages = {
      {"WANT", [&] { Want(kA, "other"); }},
      {"WANT of what is there", [&] { table_.HandleWant(kA, {}, "x", true, now_); }},
      {"DATA", [&] { Data(kA, 4, 1); }},
      {"END of another fill", [&] { table_.HandleEnd(kA, {}, {}, FillEnd::kBroken, now_); }},
      {"BEGIN of another fill", [&] { table_.HandleBegin(kA, {}, {}, 1, now_); }},
      {"INSERT of another fill", [&] { table_.HandleInsert(kA, {}, {}, now_); }},
      {"PROGRESS read", [&] { table_.HandleProgressRead(kA, {}, now_); }},
      {"LEAVE", [&] { table_.HandleLeave(kA, FillId{99}, now_); }},
      {"ALIVE", [&] { table_.HandleAlive(kA, now_); }}};
  BeginWithFollowers(4);
  for (const auto& [name, send] : messages) {
    PassTime(900ms, {kB, kC});
    send();
    PassTime(900ms, {kB, kC});
    EXPECT_TRUE(table_.FindLed(kA, kFill, kFirst).has_value()) << name;
    table_.HandleAlive(kA, now_);
  }
}

TEST_F(FillTableTest, SleepOfTheCacheItselfIsNobodysSilence) {
  BeginWithFollowers(4);
  now_ += 5s;
  table_.HandleTimeout(now_);
  EXPECT_THAT(Actions(), IsEmpty());
  EXPECT_EQ(table_.NextDeadline(), now_ + 1s);
  PassTime(1s, {kB});
  EXPECT_THAT(Actions(), ElementsAre("1: Demoted f1", "2: Promoted f1 t2 at 4"));
}

TEST_F(FillTableTest, DeadlineIsThatOfTheLinkUnheardForLongest) {
  EXPECT_EQ(table_.NextDeadline(), std::nullopt);
  const TimePoint begin = now_;
  Want(kA);
  now_ += 100ms;
  Want(kB);
  EXPECT_EQ(table_.NextDeadline(), begin + 1s);
  table_.HandleAlive(kA, now_ + 100ms);
  EXPECT_EQ(table_.NextDeadline(), begin + 1100ms);
  table_.HandleLinkEnd(kB);
  EXPECT_EQ(table_.NextDeadline(), begin + 1200ms);
}

TEST_F(FillTableTest, LeaderWithoutClientsHandsOver) {
  BeginWithFollowers(4);
  table_.HandleLeave(kA, kFill, now_);
  EXPECT_THAT(Actions(), ElementsAre("2: Promoted f1 t2 at 4"));
  table_.HandleLeave(kB, kFill, now_);
  EXPECT_THAT(Actions(), ElementsAre("3: Promoted f1 t3 at 4"));
  table_.HandleLeave(kC, kFill, now_);
  EXPECT_THAT(Actions(), ElementsAre("CloseFill f1 broken"));
  EXPECT_EQ(table_.fills(), 0U);
}

TEST_F(FillTableTest, FollowersThatLeaveHearNoMore) {
  BeginWithFollowers(4);
  table_.HandleLeave(kB, kFill, now_);
  EXPECT_THAT(Actions(), IsEmpty());
  table_.HandleLeave(kB, kFill, now_);
  EXPECT_THAT(Actions(), IsEmpty());
  table_.HandleLinkEnd(kA);
  EXPECT_THAT(Actions(), ElementsAre("3: Promoted f1 t2 at 4"));
  Want(kB);
  EXPECT_THAT(Actions(), ElementsAre("2: Follow f1 r7", "2: Begun f1"));
}

TEST_F(FillTableTest, FillIsDroppedWhenTheLeaderDiesAndNobodyFollows) {
  Want(kA);
  Begin(kA, 10);
  Data(kA, 0, 9);
  (void)Actions();
  table_.HandleLinkEnd(kA);
  EXPECT_THAT(Actions(), ElementsAre("CloseFill f1 broken"));
  Want(kB);
  EXPECT_THAT(Actions(), ElementsAre("2: Lead f2 t1 r7"));
}

TEST_F(FillTableTest, WhatIsWholeIsCompleteWithoutItsLeader) {
  BeginWithFollowers(10);
  PassTime(1s, {kC});
  EXPECT_THAT(Actions(), ElementsAre("CloseFill f1 complete, publish", "1: Ended f1 complete",
                                     "2: Ended f1 complete", "3: Ended f1 complete"));
  End(kA, FillEnd::kComplete);
  EXPECT_THAT(Actions(), IsEmpty());
  ExpectNothingLeft();

  Want(kA);
  table_.HandleBegin(kA, FillId{2}, kFirst, 0, now_);
  (void)Actions();
  table_.HandleLinkEnd(kA);
  EXPECT_THAT(Actions(), ElementsAre("CloseFill f2 complete, publish"));
  ExpectNothingLeft();
}

TEST_F(FillTableTest, PurgedFillGoesOnUnpublishedAndANewWantBeginsAnother) {
  BeginWithFollowers(4);
  EXPECT_TRUE(table_.HandlePurge("other").empty());
  EXPECT_TRUE(table_.FindLed(kA, kFill, kFirst)->publish);
  EXPECT_EQ(table_.HandlePurge("k"), (std::vector<LinkId>{kA, LinkId{2}, LinkId{3}}));
  EXPECT_FALSE(table_.FindLed(kA, kFill, kFirst)->publish);
  Want(LinkId{4});
  Want(LinkId{5});
  EXPECT_THAT(Actions(), ElementsAre("4: Lead f2 t1 r7", "5: Follow f2 r7"));
  Data(kA, 4, 6);
  (void)Actions();
  End(kA, FillEnd::kComplete);
  EXPECT_THAT(Actions(), ElementsAre("CloseFill f1 complete", "1: Ended f1 complete",
                                     "2: Ended f1 complete", "3: Ended f1 complete"));
  Want(kA);
  EXPECT_THAT(Actions(), ElementsAre("1: Follow f2 r7")) << "the end of the first is not its end";
}

TEST_F(FillTableTest, PurgedNegativeAnswerIsNotPublished) {
  Want(kA);
  table_.HandlePurge("k");
  (void)Actions();
  End(kA, FillEnd::kNegative);
  EXPECT_THAT(Actions(), ElementsAre("CloseFill f1 negative", "1: Ended f1 negative"));
}

TEST_F(FillTableTest, FillsAndPartsInFillsAreBounded) {
  FillTable::Options options;
  options.fills_max = 3;
  options.fills_per_link_max = 2;
  table_ = FillTable(options);
  Want(kA, "1");
  Want(kA, "2");
  Want(kA, "3");
  Want(kB, "3");
  Want(kB, "4");
  Want(kB, "1");
  Want(kB, "2");
  EXPECT_THAT(Actions(),
              ElementsAre("1: Lead f1 t1 r7", "1: Lead f2 t1 r7", "1: Pass r7", "2: Lead f3 t1 r7",
                          "2: Pass r7", "2: Follow f1 r7", "2: Pass r7"));
  EXPECT_EQ(table_.fills(), 3U);
  table_.HandleLeave(kA, FillId{2}, now_);
  Want(kC, "4");
  EXPECT_THAT(Actions(), ElementsAre("CloseFill f2 broken", "3: Lead f4 t1 r7"));
  table_.HandleLeave(kB, FillId{1}, now_);
  Want(kB, "4");
  EXPECT_THAT(Actions(), ElementsAre("2: Follow f4 r7"));
}

TEST_F(FillTableTest, LinkThatBreaksTheProtocolIsEndedAndChangesNothing) {
  struct Case {
    const char* name;
    std::function<void()> send;
  };
  const auto expect_end = [&](const std::vector<Case>& cases, std::uint64_t filled) {
    for (const Case& c : cases) {
      c.send();
      EXPECT_THAT(Actions(), ElementsAre(HasSubstr("1: EndLink, "))) << c.name;
      const auto led = table_.FindLed(kA, kFill, kFirst);
      ASSERT_TRUE(led) << c.name;
      EXPECT_EQ(led->filled, filled) << c.name;
    }
  };
  Want(kA);
  (void)Actions();
  expect_end({{"a second WANT", [&] { Want(kA); }},
              {"DATA before BEGIN", [&] { Data(kA, 0, 1); }},
              {"END complete before BEGIN", [&] { End(kA, FillEnd::kComplete); }}},
             0);
  Begin(kA, 10);
  Data(kA, 0, 4);
  (void)Actions();
  expect_end({{"BEGIN twice", [&] { Begin(kA, 10); }},
              {"a gap", [&] { Data(kA, 5, 1); }},
              {"bytes twice", [&] { Data(kA, 3, 1); }},
              {"more than the length", [&] { Data(kA, 4, 7); }},
              {"more than numbers can say", [&] { Data(kA, 4, ~std::uint64_t{0}); }},
              {"nothing", [&] { Data(kA, 4, 0); }},
              {"END complete before it is", [&] { End(kA, FillEnd::kComplete); }},
              {"END negative after BEGIN", [&] { End(kA, FillEnd::kNegative); }},
              {"END pass after BEGIN", [&] { End(kA, FillEnd::kPass); }},
              {"INSERT after BEGIN", [&] { table_.HandleInsert(kA, kFill, kFirst, now_); }}},
             4);
  Want(kB);
  Want(kB);
  EXPECT_THAT(Actions(), ElementsAre("2: Follow f1 r7", "2: Begun f1", HasSubstr("2: EndLink")));
}

TEST_F(FillTableTest, MessagesOfOthersThanTheLeaderAreRefused) {
  BeginWithFollowers(4);
  for (const LinkId link : {kB, LinkId{99}}) {
    for (const Term term : {Term{0}, kFirst, kSecond}) {
      EXPECT_EQ(table_.FindLed(link, kFill, term), std::nullopt);
      Begin(link, 5, term);
      Data(link, 4, 1, term);
      table_.HandleInsert(link, kFill, term, now_);
      End(link, FillEnd::kBroken, term);
    }
  }
  Data(kA, 4, 1, kSecond);  // a term that is yet to come
  End(kA, FillEnd::kBroken, Term{0});
  table_.HandleEnd(kA, FillId{0}, kFirst, FillEnd::kBroken, now_);
  table_.HandleEnd(kA, FillId{2}, kFirst, FillEnd::kBroken, now_);
  EXPECT_THAT(Actions(), IsEmpty());
  EXPECT_EQ(table_.counters().refused, 2U * 3 * 4 + 4);
  EXPECT_EQ(table_.FindLed(kA, kFill, kFirst)->filled, 4U);
}

TEST_F(FillTableTest, EndOfALinkEndsAllItsParts) {
  Want(kA, "1");  // it leads, and is followed
  Want(kB, "1");
  Want(kA, "2");  // it leads alone
  Want(kB, "3");  // it follows
  Want(kA, "3");
  (void)Actions();
  table_.HandleLinkEnd(kA);
  EXPECT_THAT(Actions(), ElementsAre("2: Promoted f1 t2", "CloseFill f2 broken"));
  table_.HandleLinkEnd(kA);
  table_.HandleLinkEnd(kB);
  EXPECT_THAT(Actions(), ElementsAre("CloseFill f1 broken", "CloseFill f3 broken"));
  ExpectNothingLeft();
}

TEST_F(FillTableTest, WantsAndPromotionsAreCounted) {
  BeginWithFollowers(1);
  table_.HandleWant(kA, {}, "x", true, now_);
  table_.HandleLinkEnd(kA);
  EXPECT_EQ(table_.counters().led, 1U);
  EXPECT_EQ(table_.counters().followed, 2U);
  EXPECT_EQ(table_.counters().found, 1U);
  EXPECT_EQ(table_.counters().passed, 0U);
  EXPECT_EQ(table_.counters().promoted, 1U);
}

TEST(FillTableDeathTest, PurgedObjectIsNotInserted) {
  FillTable table{FillTable::Options()};
  table.HandleWant(kA, {}, "k", false, TimePoint(1s));
  table.HandlePurge("k");
  EXPECT_DEATH(table.HandleInsert(kA, kFill, kFirst, TimePoint(1s)), "purged");
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
