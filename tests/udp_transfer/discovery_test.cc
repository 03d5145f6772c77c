#include "udp_transfer/core/discovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/udp_transfer/classic_text.h"

namespace ds::udp_transfer {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Mode = Discovery::Mode;
using Outcome = Discovery::Outcome;
using Said = std::vector<std::string>;

/// The cases of ARCHITECTURE.md, "Discovery, case by case", in virtual time: what the client sends,
/// and what becomes of it, for each thing that can come back.
class DiscoveryTest : public ::testing::Test {
 protected:
  void Begin(Mode mode, std::string content) {
    content_ = std::move(content);
    begin_ = now_;
    discovery_.emplace(
        Discovery::Options{.mode = mode,
                           .timeout = 5s,
                           .classic = {.name = "f", .total_bytes = content_.size(), .seqno0 = 0}},
        now_);
  }
  /// All datagrams that are sent now.
  Said Sent() {
    if (ClassicClient* classic = discovery_->classic()) {
      if (const auto wanted = classic->Wanted()) {
        std::ranges::copy(Bytes(content_).subspan(wanted->offset, wanted->room.size()),
                          wanted->room.begin());
        classic->Supplied();
      }
    }
    Said sent;
    while (const auto datagram = discovery_->PollTransmit(out_, now_)) {
      sent.push_back(datagram->hello ? "hello" : Text(std::span(out_).first(datagram->bytes)));
    }
    return sent;
  }
  /// Time passes up to this long after the begin; "time: datagram" for all that is sent meanwhile.
  Said SentUntil(Duration time) {
    Said sent;
    while (discovery_->NextDeadline() && *discovery_->NextDeadline() <= begin_ + time) {
      EXPECT_GE(*discovery_->NextDeadline(), now_);
      now_ = *discovery_->NextDeadline();
      discovery_->HandleTimeout(now_);
      for (const std::string& datagram : Sent()) {
        sent.push_back(fmt::format("{}: {}", ToSeconds(now_ - begin_), datagram));
      }
    }
    now_ = begin_ + time;
    return sent;
  }
  void Receive(std::string_view datagram) { discovery_->HandleDatagram(Bytes(datagram), now_); }
  void ReceiveCookie() { discovery_->HandleCookie(now_); }
  Outcome outcome() const { return discovery_->outcome(); }

  TimePoint now_{1000s};
  TimePoint begin_;
  std::string content_;
  std::optional<Discovery> discovery_;
  std::vector<std::byte> out_ = std::vector<std::byte>(kClassicDatagramBytesMax);
};

// ---- A server of ours.

TEST_F(DiscoveryTest, StartAndHelloLeaveInOneBurst) {
  Begin(Mode::kAuto, "abc");
  EXPECT_THAT(Sent(), ElementsAre("s | 0 | f | 3", "hello"));
  EXPECT_THAT(Sent(), IsEmpty());
  EXPECT_EQ(discovery_->NextDeadline(), begin_ + 250ms);
}

TEST_F(DiscoveryTest, ACookieBeforeTheStartAckMeansFastAtOnce) {
  Begin(Mode::kAuto, "abc");
  Sent();
  now_ += 50ms;
  ReceiveCookie();
  EXPECT_EQ(outcome(), Outcome::kFast);
  EXPECT_EQ(discovery_->rtt(), 50ms);
  EXPECT_EQ(discovery_->NextDeadline(), std::nullopt);
  Receive("a | 1 | 1024");
  EXPECT_EQ(outcome(), Outcome::kFast);
  EXPECT_THAT(Sent(), IsEmpty());
}

TEST_F(DiscoveryTest, ACookieAfterTheStartAckMeansFastToo) {
  Begin(Mode::kAuto, "abcdef");
  Sent();
  Receive("a | 1 | 9");
  EXPECT_THAT(Sent(), ElementsAre("d | 1 | a"));
  ReceiveCookie();
  EXPECT_EQ(outcome(), Outcome::kFast);
}

TEST_F(DiscoveryTest, ACookieInTheMiddleOfAClassicTransferMeansFast) {
  Begin(Mode::kAuto, "abcdef");
  Sent();
  Receive("a | 1 | 9");
  Sent();
  Receive("a | 2");
  EXPECT_THAT(SentUntil(0s), ElementsAre());
  EXPECT_THAT(Sent(), ElementsAre("d | 2 | b"));
  EXPECT_THAT(SentUntil(250ms), ElementsAre("0.25: hello"));
  ReceiveCookie();
  EXPECT_EQ(outcome(), Outcome::kFast);
  EXPECT_EQ(discovery_->rtt(), std::nullopt) << "which of two hellos was answered is not known";
}

TEST_F(DiscoveryTest, WithTheStartLostTheCookieIsEnough) {
  Begin(Mode::kAuto, "abc");
  Sent();
  EXPECT_THAT(SentUntil(250ms), ElementsAre("0.25: hello"));
  ReceiveCookie();
  EXPECT_EQ(outcome(), Outcome::kFast);
}

TEST_F(DiscoveryTest, WithTheFirstDatagramsLostBothAreRepeated) {
  Begin(Mode::kAuto, "abc");
  Sent();
  EXPECT_THAT(
      SentUntil(2499ms),
      ElementsAre("0.25: hello", "0.375: hello", "0.5: s | 0 | f | 3", "0.5: hello", "0.625: hello",
                  "0.75: hello", "0.875: hello", "1: s | 0 | f | 3", "1: hello", "1.125: hello",
                  "1.25: hello", "1.375: hello", "1.5: s | 0 | f | 3", "1.5: hello", "1.625: hello",
                  "1.75: hello", "1.875: hello", "2: s | 0 | f | 3", "2: hello", "2.125: hello",
                  "2.25: hello", "2.375: hello"));
  EXPECT_EQ(outcome(), Outcome::kRunning);
  SentUntil(2500ms);
  EXPECT_EQ(outcome(), Outcome::kFailed);
  EXPECT_FALSE(discovery_->MayBeStored());
  EXPECT_EQ(discovery_->FailureText(),
            "the server is malfunctioning: the start message was not acknowledged in 5 sends");
  EXPECT_EQ(discovery_->NextDeadline(), std::nullopt);
}

TEST_F(DiscoveryTest, ADuplicateOrLateCookieChangesNothing) {
  Begin(Mode::kAuto, "abc");
  Sent();
  ReceiveCookie();
  now_ += 1s;
  ReceiveCookie();
  EXPECT_EQ(outcome(), Outcome::kFast);
  EXPECT_EQ(discovery_->rtt(), 0s);
}

TEST_F(DiscoveryTest, ACookieThatNobodyAskedForIsIgnored) {
  Begin(Mode::kAuto, "abc");
  ReceiveCookie();
  EXPECT_EQ(outcome(), Outcome::kRunning);
}

// ---- A server of ours, and the file may be there already.

TEST_F(DiscoveryTest, ACookieAfterTheLastDataMessageIsOnlyKept) {
  Begin(Mode::kAuto, "abc");
  Sent();
  Receive("a | 1 | 1024");
  EXPECT_THAT(Sent(), ElementsAre("d | 1 | abc"));
  ReceiveCookie();
  EXPECT_EQ(outcome(), Outcome::kRunning);
  Receive("a | 2");
  EXPECT_EQ(outcome(), Outcome::kClassicDone);
}

/// All sends of the last message are in vain, and a cookie is known that may be older than they.
class DiscoveryAskingTest : public DiscoveryTest {
 protected:
  DiscoveryAskingTest() {
    Begin(Mode::kAuto, "abc");
    Sent();
    Receive("a | 1 | 1024");
    Sent();
    ReceiveCookie();
    SentUntil(2499ms);
    EXPECT_EQ(outcome(), Outcome::kRunning);
    now_ += 1ms;
    discovery_->HandleTimeout(now_);
    const auto asked = discovery_->PollTransmit(out_, now_);
    EXPECT_TRUE(asked && asked->hello && asked->fresh);
    EXPECT_EQ(discovery_->PollTransmit(out_, now_), std::nullopt);
    EXPECT_EQ(outcome(), Outcome::kRunning);
  }
};

TEST_F(DiscoveryAskingTest, TheCookieOfAFreshHelloMeansThatTheServerDoesNotHaveTheFile) {
  now_ += 50ms;
  ReceiveCookie();
  EXPECT_EQ(outcome(), Outcome::kFast);
}

TEST_F(DiscoveryAskingTest, TheLastAckMeansThatItHas) {
  now_ += 50ms;
  Receive("a | 2");
  EXPECT_EQ(outcome(), Outcome::kClassicDone);
}

TEST_F(DiscoveryAskingTest, SilenceMeansThatNobodyKnows) {
  const Said sent = SentUntil(4499ms);
  EXPECT_EQ(sent.size(), 15U);
  EXPECT_THAT(sent, ::testing::Each(::testing::HasSubstr("hello")));
  EXPECT_EQ(outcome(), Outcome::kRunning);
  SentUntil(4500ms);
  EXPECT_EQ(outcome(), Outcome::kFailed);
  EXPECT_TRUE(discovery_->MayBeStored());
}

TEST_F(DiscoveryTest, ACookieOfAnOldHelloDoesNotAnswerTheFreshOne) {
  Begin(Mode::kAuto, "abc");
  Sent();
  Receive("a | 1 | 1024");
  Sent();
  ReceiveCookie();
  SentUntil(2499ms);
  now_ += 1ms;
  discovery_->HandleTimeout(now_);
  ReceiveCookie();  // before the fresh hello could leave
  EXPECT_EQ(outcome(), Outcome::kRunning);
  const auto asked = discovery_->PollTransmit(out_, now_);
  ASSERT_TRUE(asked && asked->hello && asked->fresh);
  ReceiveCookie();
  EXPECT_EQ(outcome(), Outcome::kFast);
}

/// The server remembers for 5 s that it has the file; a cookie says nothing after that.
TEST_F(DiscoveryTest, AClientThatWasStoppedBehindItsLastMessageDoesNotAsk) {
  for (const Duration stopped_at : {0ms, 1200ms, 2499ms}) {
    Begin(Mode::kAuto, "abc");
    Sent();
    Receive("a | 1 | 1024");
    Sent();
    ReceiveCookie();
    SentUntil(stopped_at);
    now_ += 5s;
    while (outcome() == Outcome::kRunning) {
      discovery_->HandleTimeout(now_);
      Sent();
      ReceiveCookie();
      if (discovery_->NextDeadline()) now_ = std::max(now_, *discovery_->NextDeadline());
    }
    EXPECT_EQ(outcome(), Outcome::kFailed);
    EXPECT_TRUE(discovery_->MayBeStored());
  }
}

TEST_F(DiscoveryAskingTest, AClientThatWasStoppedWhileItAsksAsksNoMore) {
  now_ += 5s;
  EXPECT_EQ(discovery_->PollTransmit(out_, now_), std::nullopt);
  discovery_->HandleTimeout(now_);
  EXPECT_EQ(outcome(), Outcome::kFailed);
  EXPECT_TRUE(discovery_->MayBeStored());
}

TEST_F(DiscoveryTest, WithoutACookieALastMessageInVainIsAFailureThatNobodyKnowsOf) {
  Begin(Mode::kAuto, "abc");
  Sent();
  Receive("a | 1 | 1024");
  Sent();
  SentUntil(2500ms);
  EXPECT_EQ(outcome(), Outcome::kFailed);
  EXPECT_TRUE(discovery_->MayBeStored());
}

TEST_F(DiscoveryTest, ARepeatedMessageIsAReasonToAskAgain) {
  Begin(Mode::kAuto, "abcdef");
  Sent();
  Receive("a | 1 | 9");
  for (int seqno = 1; seqno <= 5; ++seqno) {  // nothing is lost: four hellos, and no more
    Sent();
    SentUntil(now_ - begin_ + 300ms);
    Receive(fmt::format("a | {}", seqno + 1));
  }
  EXPECT_THAT(Sent(), ElementsAre("d | 6 | f"));
  EXPECT_THAT(SentUntil(2250ms),
              ElementsAre("2: d | 6 | f", "2: hello", "2.125: hello", "2.25: hello"));
}

TEST_F(DiscoveryTest, WhileTheServerCannotHaveTheLastMessageACookieIsUsed) {
  Begin(Mode::kAuto, "abc");
  Sent();
  Receive("a | 1 | 1024");
  ASSERT_TRUE(discovery_->classic()->Wanted());  // the shell is still reading it
  ReceiveCookie();
  EXPECT_EQ(outcome(), Outcome::kFast);
}

TEST_F(DiscoveryTest, AnEmptyFileIsDoneWhenItsStartIsAcknowledgedInSpiteOfACookie) {
  Begin(Mode::kAuto, "");
  EXPECT_THAT(Sent(), ElementsAre("hello"));
  EXPECT_THAT(SentUntil(250ms), ElementsAre("0.25: s | 0 | f | 0", "0.25: hello"));
  ReceiveCookie();
  EXPECT_EQ(outcome(), Outcome::kRunning) << "the server may have it";
  Receive("a | 1 | 1024");
  EXPECT_EQ(outcome(), Outcome::kClassicDone);
}

TEST_F(DiscoveryTest, AnEmptyFileGoesFastWhenItsStartIsNotAcknowledgedInHalfASecond) {
  Begin(Mode::kAuto, "");
  Sent();
  SentUntil(250ms);
  ReceiveCookie();
  EXPECT_THAT(SentUntil(749ms), ElementsAre("0.375: hello", "0.5: hello", "0.625: hello"));
  EXPECT_EQ(outcome(), Outcome::kRunning);
  EXPECT_THAT(SentUntil(750ms), IsEmpty());
  EXPECT_EQ(outcome(), Outcome::kFast);
}

TEST_F(DiscoveryTest, AnEmptyFileIsSentToOurOwnServerInFastModeOnly) {
  Begin(Mode::kAuto, "");
  EXPECT_THAT(Sent(), ElementsAre("hello"));
  EXPECT_THAT(SentUntil(240ms), IsEmpty());
  ReceiveCookie();
  EXPECT_EQ(outcome(), Outcome::kFast);
  EXPECT_THAT(Sent(), IsEmpty());
}

TEST_F(DiscoveryTest, AnEmptyFileReachesAClassicServerAQuarterOfASecondLater) {
  Begin(Mode::kAuto, "");
  Sent();
  EXPECT_EQ(discovery_->NextDeadline(), begin_ + 250ms);
  const Said sent = SentUntil(2749ms);
  EXPECT_EQ(std::ranges::count_if(
                sent, [](const std::string& said) { return said.ends_with("s | 0 | f | 0"); }),
            5);
  EXPECT_EQ(outcome(), Outcome::kRunning);
  Receive("a | 1 | 1024");
  EXPECT_EQ(outcome(), Outcome::kClassicDone);
  Begin(Mode::kClassic, "");
  EXPECT_THAT(Sent(), ElementsAre("s | 0 | f | 0"));
}

// ---- A server of ours with classic mode off.

TEST_F(DiscoveryTest, WhereClassicModeIsOffTheCookieComesAlone) {
  Begin(Mode::kAuto, "abc");
  Sent();
  now_ += 1ms;
  ReceiveCookie();
  EXPECT_EQ(outcome(), Outcome::kFast);
}

// ---- A classic server.

TEST_F(DiscoveryTest, WithAClassicServerNoTimeIsLostAndFourHellosAreSentAtMost) {
  Begin(Mode::kAuto, std::string(100, 'x'));
  EXPECT_THAT(Sent(), ElementsAre("s | 0 | f | 100", "hello"));
  Said hellos;
  Receive("a | 1 | 9");
  for (int seqno = 1; seqno <= 9; ++seqno) {
    EXPECT_THAT(Sent(), ElementsAre(fmt::format("d | {} | x", seqno)));
    for (const std::string& sent : SentUntil(now_ - begin_ + 200ms)) hellos.push_back(sent);
    Receive(fmt::format("a | {}", seqno + 1));
  }
  EXPECT_THAT(hellos, ElementsAre("0.25: hello", "0.5: hello", "1: hello"));
}

TEST_F(DiscoveryTest, WithAClassicServerAFileOfOneMessageTakesTwoRoundTrips) {
  Begin(Mode::kAuto, "abc");
  Sent();
  now_ += 10ms;
  Receive("a | 1 | 1024");
  EXPECT_THAT(Sent(), ElementsAre("d | 1 | abc"));
  now_ += 10ms;
  Receive("a | 2");
  EXPECT_EQ(outcome(), Outcome::kClassicDone);
  EXPECT_THAT(Sent(), IsEmpty());
}

/// Whatever a classic server makes of a hello, it does not disturb the transfer.
TEST_F(DiscoveryTest, AnAnswerOfAClassicServerToAHelloIsIgnored) {
  for (const std::string_view answer :
       {"a | 1", "a | 0", "error", "f", "", "a | 1 | 1024 | x", "a | 2"}) {
    // Before the start's ack: a server that takes any unknown type for old data.
    Begin(Mode::kAuto, "abcdef");
    Sent();
    Receive(answer);
    EXPECT_EQ(outcome(), Outcome::kRunning);
    EXPECT_THAT(Sent(), IsEmpty()) << answer;
    Receive("a | 1 | 11");
    EXPECT_THAT(Sent(), ElementsAre("d | 1 | abc"));
    // And after it, with the number that is current then.
    if (answer != "a | 2") Receive(answer);
    Receive("a | 1");
    EXPECT_THAT(Sent(), IsEmpty()) << answer;
    Receive("a | 2");
    EXPECT_THAT(Sent(), ElementsAre("d | 2 | def"));
    Receive("a | 2");
    EXPECT_THAT(Sent(), IsEmpty());
    Receive("a | 3");
    EXPECT_EQ(outcome(), Outcome::kClassicDone);
  }
}

TEST_F(DiscoveryTest, ARefusalEndsIt) {
  for (const Mode mode : {Mode::kAuto, Mode::kClassic, Mode::kFast}) {
    Begin(mode, "abc");
    Sent();
    discovery_->HandleRefusal();
    EXPECT_EQ(outcome(), Outcome::kFailed);
    EXPECT_NE(discovery_->FailureText().find("connection refused"), std::string::npos);
    EXPECT_EQ(discovery_->NextDeadline(), std::nullopt);
  }
}

// ---- --mode classic and --mode fast.

TEST_F(DiscoveryTest, ClassicModeSendsNoHelloAndIgnoresCookies) {
  Begin(Mode::kClassic, "abc");
  EXPECT_THAT(Sent(), ElementsAre("s | 0 | f | 3"));
  ReceiveCookie();
  EXPECT_THAT(SentUntil(2s), ElementsAre("0.5: s | 0 | f | 3", "1: s | 0 | f | 3",
                                         "1.5: s | 0 | f | 3", "2: s | 0 | f | 3"));
  Receive("a | 1 | 1024");
  Sent();
  Receive("a | 2");
  EXPECT_EQ(outcome(), Outcome::kClassicDone);
}

TEST_F(DiscoveryTest, FastModeSendsNoStartAndRepeatsTheHelloUntilTheTimeout) {
  Begin(Mode::kFast, "abc");
  EXPECT_EQ(discovery_->classic(), nullptr);
  EXPECT_THAT(Sent(), ElementsAre("hello"));
  Receive("a | 1 | 1024");
  EXPECT_THAT(SentUntil(4999ms), ElementsAre("0.25: hello", "0.5: hello", "1: hello", "2: hello",
                                             "3: hello", "4: hello"));
  EXPECT_EQ(outcome(), Outcome::kRunning);
  SentUntil(5s);
  EXPECT_EQ(outcome(), Outcome::kFailed);
  EXPECT_EQ(discovery_->FailureText().find("no answer to a hello within 5 s"), 0U);
}

TEST_F(DiscoveryTest, FastModeTakesTheCookieOfAnyHello) {
  Begin(Mode::kFast, "");
  Sent();
  SentUntil(1100ms);
  ReceiveCookie();
  EXPECT_EQ(outcome(), Outcome::kFast);
}

TEST_F(DiscoveryTest, AClientThatWasStoppedForAWhileSendsOneHelloForAllThatWereDue) {
  Begin(Mode::kFast, "abc");
  Sent();
  now_ += 2500ms;
  discovery_->HandleTimeout(now_);
  EXPECT_THAT(Sent(), ElementsAre("hello"));
  EXPECT_EQ(discovery_->NextDeadline(), begin_ + 3s);
}

}  // namespace
}  // namespace ds::udp_transfer
