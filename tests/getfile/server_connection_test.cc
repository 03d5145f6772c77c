#include "getfile/core/server_connection.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "getfile/core/answer.h"

namespace ds::getfile {
namespace {

using namespace std::chrono_literals;
using Phase = ServerConnection::Phase;
using End = ServerConnection::End;

const std::string kRequest = "GETFILE GET /a\r\n\r\n";
const std::string kKeepAlive = "GETFILE GET /a\r\nConnection: keep-alive\r\n\r\n";

/// A connection in virtual time: nothing passes but what the test says.
class ServerConnectionTest : public ::testing::Test {
 protected:
  void Bytes(std::string_view bytes) { connection_.HandleBytes(bytes, now_); }
  void Answer(AnswerStatus status, std::uint64_t length = 0) {
    connection_.HandleLookup({status, length}, now_);
  }
  /// Everything that is left of the answer goes out at once; returns the head.
  std::string SendAll() {
    std::string head(connection_.head_left());
    connection_.HandleSent(head.size() + connection_.body_left(), now_);
    return head;
  }
  /// Virtual time passes up to the next deadline, which is reported.
  void PassDeadline(std::uint64_t unacknowledged = 0) {
    ASSERT_TRUE(connection_.NextDeadline().has_value());
    now_ = std::max(now_, *connection_.NextDeadline());
    connection_.HandleTimeout(unacknowledged, now_);
  }

  /// No multiple of the second between two looks.
  const ServerConnection::Options options_{.progress_timeout = 30500ms};
  TimePoint now_{1000s};
  ServerConnection connection_{&options_, now_};
};

TEST_F(ServerConnectionTest, RequestIsLookedUpAnsweredAndDrained) {
  Bytes(kRequest);
  ASSERT_EQ(connection_.phase(), Phase::kLookup);
  EXPECT_EQ(connection_.request().path, "/a");
  EXPECT_FALSE(connection_.NextDeadline().has_value()) << "the source keeps its own time";
  Answer(AnswerStatus::kOk, 5);
  ASSERT_EQ(connection_.phase(), Phase::kSending);
  EXPECT_EQ(connection_.head_left(), "GETFILE OK 5\r\n\r\n");
  connection_.HandleSent(3, now_);
  EXPECT_EQ(connection_.head_left(), "FILE OK 5\r\n\r\n");
  connection_.HandleSent(connection_.head_left().size() + 2, now_);
  EXPECT_EQ(connection_.body_offset(), 2U);
  EXPECT_EQ(connection_.body_left(), 3U);
  EXPECT_FALSE(connection_.TakeFinished().has_value());
  connection_.HandleSent(3, now_);
  EXPECT_EQ(connection_.phase(), Phase::kDraining);
  const auto finished = connection_.TakeFinished();
  ASSERT_TRUE(finished.has_value());
  EXPECT_EQ(finished->path, "/a");
  EXPECT_EQ(finished->body_sent, 5U);
  EXPECT_FALSE(connection_.TakeFinished().has_value()) << "reported once";
  connection_.HandleEndOfInput(0, now_);
  EXPECT_EQ(connection_.phase(), Phase::kClosed);
  EXPECT_FALSE(connection_.reset());
}

TEST_F(ServerConnectionTest, APeerThatEndsItsSideAndTakesNothingIsResetAfterTheTimeout) {
  for (const std::string_view request : {kRequest, kKeepAlive}) {
    ServerConnection connection(&options_, now_);
    connection.HandleBytes(request, now_);
    connection.HandleLookup({.status = AnswerStatus::kOk, .length = 5}, now_);
    const std::uint64_t all = connection.head_left().size() + 5;
    connection.HandleSent(all, now_);
    connection.HandleEndOfInput(all, now_);
    ASSERT_EQ(connection.phase(), Phase::kDraining);
    const TimePoint ended = now_;
    while (connection.phase() == Phase::kDraining) {
      ASSERT_TRUE(connection.NextDeadline().has_value());
      now_ = *connection.NextDeadline();
      connection.HandleTimeout(all, now_);
    }
    EXPECT_EQ(connection.end(), End::kProgressTimeout);
    EXPECT_TRUE(connection.reset());
    EXPECT_EQ(now_ - ended, options_.progress_timeout);
  }
}

TEST_F(ServerConnectionTest, APeerThatEndsItsSideIsLeftAloneWhileItStillReads) {
  Bytes(kRequest);
  Answer(AnswerStatus::kOk, 100);
  connection_.HandleSent(connection_.head_left().size() + 100, now_);
  connection_.HandleEndOfInput(100, now_);
  for (std::uint64_t left = 100; left-- > 0;) {
    ASSERT_EQ(connection_.phase(), Phase::kDraining) << left;
    now_ = *connection_.NextDeadline();
    connection_.HandleTimeout(left, now_);
  }
  EXPECT_EQ(connection_.phase(), Phase::kClosed);
  EXPECT_FALSE(connection_.reset());
}

TEST_F(ServerConnectionTest, SilentPeerIsClosedWithoutAWord) {
  connection_.HandleEndOfInput(0, now_);
  EXPECT_EQ(connection_.phase(), Phase::kClosed);
  EXPECT_FALSE(connection_.TakeFinished().has_value());
}

TEST_F(ServerConnectionTest, HalfCloseInTheHeaderIsInvalid) {
  Bytes("G");
  connection_.HandleEndOfInput(0, now_);
  ASSERT_EQ(connection_.phase(), Phase::kSending);
  EXPECT_EQ(SendAll(), "GETFILE INVALID\r\n\r\n");
  EXPECT_EQ(connection_.phase(), Phase::kDraining);
}

TEST_F(ServerConnectionTest, InvalidRequestEndsTheConnection) {
  Bytes("GETFILE GET nonsense\r\n\r\n" + kKeepAlive);
  ASSERT_EQ(connection_.phase(), Phase::kSending);
  EXPECT_EQ(SendAll(), "GETFILE INVALID\r\n\r\n");
  EXPECT_EQ(connection_.phase(), Phase::kDraining);
  Bytes(kRequest);  // discarded
  EXPECT_EQ(connection_.phase(), Phase::kDraining);
}

TEST_F(ServerConnectionTest, PipelinedRequestsAreAnsweredInOrder) {
  Bytes(kKeepAlive + kKeepAlive + kRequest + "ignored");
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(connection_.phase(), Phase::kLookup) << i;
    Answer(AnswerStatus::kOk, static_cast<std::uint64_t>(i));
    SendAll();
    EXPECT_TRUE(connection_.TakeFinished().has_value());
  }
  EXPECT_EQ(connection_.phase(), Phase::kDraining);
}

TEST_F(ServerConnectionTest, RefusedConditionsAndRangesDoNotEndAnHttpConnection) {
  const ContentFields fields{
      .content_type = "text/plain", .etag = "\"tag\"", .last_modified = "", .modified_unix_s = 0};
  for (const auto& [field, code] :
       {std::pair{"If-Match: \"other\"", 412}, std::pair{"Range: bytes=5-", 416}}) {
    Bytes(std::string("GET /a HTTP/1.1\r\nHost: x\r\n") + field + "\r\n\r\n");
    ASSERT_EQ(connection_.phase(), Phase::kLookup);
    connection_.HandleLookup({.status = AnswerStatus::kOk, .length = 5, .fields = &fields}, now_);
    const std::string head = SendAll();
    EXPECT_TRUE(head.starts_with("HTTP/1.1 " + std::to_string(code))) << head;
    EXPECT_EQ(head.find("Connection: close"), std::string::npos);
    EXPECT_EQ(connection_.phase(), Phase::kReading) << field;
  }
  Bytes("GET /a HTTP/1.1\r\n\r\n");  // no Host
  EXPECT_NE(SendAll().find("Connection: close"), std::string::npos);
  EXPECT_EQ(connection_.phase(), Phase::kDraining);
}

TEST_F(ServerConnectionTest, HeaderTimeoutIsTotalHoweverTheHeaderTrickles) {
  const TimePoint start = now_;
  for (std::size_t i = 0; i + 1 < kRequest.size(); ++i) {
    now_ += options_.header_timeout / 20;
    if (now_ >= start + options_.header_timeout) break;
    Bytes(kRequest.substr(i, 1));
    EXPECT_EQ(connection_.NextDeadline(), start + options_.header_timeout);
  }
  PassDeadline();
  ASSERT_EQ(connection_.phase(), Phase::kSending);
  EXPECT_EQ(SendAll(), "GETFILE INVALID\r\n\r\n");
  connection_.HandleEndOfInput(0, now_);
  EXPECT_EQ(connection_.end(), End::kHeaderTimeout);
}

TEST_F(ServerConnectionTest, HeaderTimeoutOfASilentPeerClosesWithoutAWord) {
  EXPECT_EQ(connection_.NextDeadline(), now_ + options_.header_timeout);
  PassDeadline();
  EXPECT_EQ(connection_.phase(), Phase::kClosed);
  EXPECT_EQ(connection_.end(), End::kHeaderTimeout);
}

TEST_F(ServerConnectionTest, HeaderTimeoutBeginsAnewAfterAnAnswer) {
  now_ += 9s;
  Bytes(kKeepAlive);
  Answer(AnswerStatus::kFileNotFound);
  now_ += 5s;
  EXPECT_EQ(SendAll(), "GETFILE FILE_NOT_FOUND\r\n\r\n");
  ASSERT_EQ(connection_.phase(), Phase::kReading);
  EXPECT_EQ(connection_.NextDeadline(), now_ + options_.header_timeout);
}

TEST_F(ServerConnectionTest, IdlePeerThatHasNotTakenItsAnswerIsDrainedNotDropped) {
  Bytes(kKeepAlive);
  Answer(AnswerStatus::kOk, 100);
  SendAll();
  PassDeadline(/*unacknowledged=*/50);
  EXPECT_EQ(connection_.phase(), Phase::kDraining);
}

TEST_F(ServerConnectionTest, AnswerWithoutProgressIsResetAfterTheTimeout) {
  Bytes(kRequest);
  Answer(AnswerStatus::kOk, 100);
  now_ += 29s;
  connection_.HandleSent(20, now_);
  const TimePoint last_progress = now_;
  while (connection_.phase() == Phase::kSending) PassDeadline(/*unacknowledged=*/20);
  EXPECT_EQ(now_ - last_progress, options_.progress_timeout);
  EXPECT_EQ(connection_.phase(), Phase::kClosed);
  EXPECT_TRUE(connection_.reset());
  EXPECT_EQ(connection_.end(), End::kProgressTimeout);
  const auto finished = connection_.TakeFinished();
  ASSERT_TRUE(finished.has_value());
  EXPECT_LT(finished->body_sent, finished->body_length);
}

TEST_F(ServerConnectionTest, ThePeersTimeCountsFromItsLastAcknowledgementUpToASecondLonger) {
  Bytes(kRequest);
  Answer(AnswerStatus::kOk, 100000000);
  connection_.HandleSent(4000000, now_);
  const TimePoint last = now_ + options_.progress_timeout / 3 + 1ms;  // takes half of it then
  while (connection_.phase() == Phase::kSending) {
    PassDeadline(*connection_.NextDeadline() < last ? 4000000 : 2000000);
  }
  EXPECT_EQ(connection_.end(), End::kProgressTimeout);
  EXPECT_GE(now_ - last, options_.progress_timeout);
  EXPECT_LE(now_ - last, options_.progress_timeout + 1s);
}

TEST_F(ServerConnectionTest, BytesThatThePeerOwedBeforeCountForNothingNew) {
  Bytes(kKeepAlive + kRequest);
  Answer(AnswerStatus::kOk, 100);
  SendAll();
  Answer(AnswerStatus::kOk, 100);
  connection_.HandleSent(20, now_);
  const TimePoint last_progress = now_;
  const std::uint64_t all = std::string("GETFILE OK 100\r\n\r\n").size() + 100 + 20;
  while (connection_.phase() == Phase::kSending) PassDeadline(all);
  EXPECT_EQ(now_ - last_progress, options_.progress_timeout);
}

TEST_F(ServerConnectionTest, SlowReaderIsLeftAloneAsLongAsItAcknowledgesSomething) {
  Bytes(kRequest);
  Answer(AnswerStatus::kOk, 100000000);
  connection_.HandleSent(4000000, now_);
  const TimePoint start = now_;
  // The kernel asks for no more bytes all the while: its buffer is still more than half full. One
  // byte at a time is acknowledged, each nearly too late.
  const Duration pause = options_.progress_timeout - 1500ms;
  while (now_ - start < 10 * options_.progress_timeout) {
    PassDeadline(4000000 - static_cast<std::uint64_t>((now_ - start) / pause));
    ASSERT_EQ(connection_.phase(), Phase::kSending);
  }
}

TEST_F(ServerConnectionTest, DrainingEndsAfterItsTimeWhenAllIsAcknowledged) {
  Bytes(kRequest);
  Answer(AnswerStatus::kFileNotFound);
  SendAll();
  EXPECT_EQ(connection_.NextDeadline(), now_ + options_.drain_time);
  PassDeadline(/*unacknowledged=*/0);
  EXPECT_EQ(connection_.phase(), Phase::kClosed);
  EXPECT_FALSE(connection_.reset());
  EXPECT_EQ(connection_.end(), End::kDone);
}

TEST_F(ServerConnectionTest, DrainingGoesOnWhileThePeerTakesBytes) {
  Bytes(kRequest);
  Answer(AnswerStatus::kOk, 1000000);
  SendAll();
  for (std::uint64_t left = 100; left > 0; --left) {
    PassDeadline(left);
    ASSERT_EQ(connection_.phase(), Phase::kDraining);
  }
  PassDeadline(0);
  EXPECT_EQ(connection_.phase(), Phase::kClosed);
  EXPECT_FALSE(connection_.reset());
}

TEST_F(ServerConnectionTest, DrainingAPeerThatTakesNothingEndsInAReset) {
  Bytes(kRequest);
  Answer(AnswerStatus::kOk, 1000000);
  SendAll();
  const TimePoint start = now_;
  while (connection_.phase() == Phase::kDraining) PassDeadline(/*unacknowledged=*/77);
  EXPECT_TRUE(connection_.reset());
  EXPECT_EQ(connection_.end(), End::kProgressTimeout);
  EXPECT_GE(now_ - start, options_.progress_timeout);
  EXPECT_LE(now_ - start, options_.progress_timeout + options_.drain_time)
      << "what it took before the first look counts from there";
}

TEST_F(ServerConnectionTest, BrokenSourceEndsWithAnOrdinaryClose) {
  Bytes(kKeepAlive);
  Answer(AnswerStatus::kOk, 100);
  connection_.HandleSent(connection_.head_left().size() + 10, now_);
  connection_.HandleSourceBroken(now_);
  EXPECT_EQ(connection_.phase(), Phase::kDraining);
  const auto finished = connection_.TakeFinished();
  ASSERT_TRUE(finished.has_value());
  EXPECT_EQ(finished->body_sent, 10U);
  connection_.HandleEndOfInput(0, now_);
  EXPECT_EQ(connection_.end(), End::kSourceBroken);
  EXPECT_FALSE(connection_.reset());
}

TEST_F(ServerConnectionTest, BodyThatIsLateIsAwaitedAndSentOn) {
  Bytes(kKeepAlive);
  Answer(AnswerStatus::kOk, 100);
  connection_.HandleSent(connection_.head_left().size() + 10, now_);
  connection_.HandleBodyLate();
  ASSERT_EQ(connection_.phase(), Phase::kAwaiting);
  EXPECT_EQ(connection_.body_offset(), 10U);
  EXPECT_EQ(connection_.body_left(), 90U);
  EXPECT_FALSE(connection_.TakeFinished().has_value());
  connection_.HandleBodyGrown();
  ASSERT_EQ(connection_.phase(), Phase::kSending);
  connection_.HandleSent(90, now_);
  EXPECT_EQ(connection_.phase(), Phase::kReading);
  EXPECT_EQ(connection_.TakeFinished()->body_sent, 100U);
}

TEST_F(ServerConnectionTest, HeadMayWaitForTheFirstBytesOfTheBody) {
  Bytes(kRequest);
  Answer(AnswerStatus::kOk, 100);
  connection_.HandleBodyLate();
  EXPECT_EQ(connection_.head_left(), "GETFILE OK 100\r\n\r\n");
  connection_.HandleBodyGrown();
  EXPECT_EQ(connection_.head_left(), "GETFILE OK 100\r\n\r\n");
}

TEST_F(ServerConnectionTest, SourceMayBeLateForAnyTimeWhileThePeerOwesNothing) {
  Bytes(kRequest);
  Answer(AnswerStatus::kOk, 100);
  connection_.HandleSent(connection_.head_left().size() + 10, now_);
  connection_.HandleBodyLate();
  const TimePoint start = now_;
  while (now_ - start < 100 * options_.progress_timeout) {
    PassDeadline(/*unacknowledged=*/0);
    ASSERT_EQ(connection_.phase(), Phase::kAwaiting);
  }
  // The peer's own time begins with the bytes that it has to take.
  connection_.HandleBodyGrown();
  connection_.HandleSent(50, now_);
  const TimePoint sent = now_;
  while (connection_.phase() == Phase::kSending) PassDeadline(/*unacknowledged=*/50);
  EXPECT_EQ(connection_.end(), End::kProgressTimeout);
  EXPECT_GT(now_ - sent, options_.progress_timeout / 2);
  EXPECT_LE(now_ - sent, options_.progress_timeout * 3 / 2);
}

TEST_F(ServerConnectionTest, PeerThatTakesNothingIsResetThoughTheSourceIsLateToo) {
  Bytes(kRequest);
  Answer(AnswerStatus::kOk, 100);
  connection_.HandleSent(connection_.head_left().size() + 10, now_);
  connection_.HandleBodyLate();
  const TimePoint start = now_;
  while (connection_.phase() == Phase::kAwaiting) PassDeadline(/*unacknowledged=*/5);
  EXPECT_EQ(connection_.end(), End::kProgressTimeout);
  EXPECT_TRUE(connection_.reset());
  EXPECT_EQ(connection_.TakeFinished()->body_sent, 10U);
  EXPECT_LE(now_ - start, options_.progress_timeout * 3 / 2);
}

TEST_F(ServerConnectionTest, BytesThatTrickleIntoTheKernelAreNoProgressOfThePeer) {
  Bytes(kRequest);
  Answer(AnswerStatus::kOk, 1000000);
  connection_.HandleSent(connection_.head_left().size() + 10, now_);
  const TimePoint start = now_;
  std::uint64_t unacknowledged = 10;
  while (connection_.phase() != Phase::kClosed && now_ - start < 10 * options_.progress_timeout) {
    if (connection_.phase() == Phase::kSending) connection_.HandleBodyLate();
    connection_.HandleBodyGrown();
    connection_.HandleSent(1, now_);
    ++unacknowledged;
    PassDeadline(unacknowledged);
  }
  EXPECT_EQ(connection_.end(), End::kProgressTimeout);
  EXPECT_LE(now_ - start, options_.progress_timeout * 3 / 2);
}

TEST_F(ServerConnectionTest, PeerThatTakesWhatTricklesIsLeftAlone) {
  Bytes(kRequest);
  Answer(AnswerStatus::kOk, 1000000);
  const TimePoint start = now_;
  while (now_ - start < 20 * options_.progress_timeout) {
    connection_.HandleSent(1, now_);
    connection_.HandleBodyLate();
    PassDeadline(/*unacknowledged=*/1);  // the last byte is always on its way
    ASSERT_EQ(connection_.phase(), Phase::kAwaiting);
    connection_.HandleBodyGrown();
  }
}

TEST_F(ServerConnectionTest, SourceThatBreaksWhileItIsAwaitedEndsWithAnOrdinaryClose) {
  Bytes(kKeepAlive);
  Answer(AnswerStatus::kOk, 100);
  connection_.HandleSent(connection_.head_left().size() + 10, now_);
  connection_.HandleBodyLate();
  connection_.HandleSourceBroken(now_);
  EXPECT_EQ(connection_.phase(), Phase::kDraining);
  EXPECT_EQ(connection_.TakeFinished()->body_sent, 10U);
  connection_.HandleEndOfInput(0, now_);
  EXPECT_EQ(connection_.end(), End::kSourceBroken);
}

TEST_F(ServerConnectionTest, PeerGoneWhileItWaitsIsRecordedAsBroken) {
  Bytes(kRequest);
  Answer(AnswerStatus::kOk, 100);
  connection_.HandleBodyLate();
  connection_.HandlePeerGone(now_);
  EXPECT_EQ(connection_.end(), End::kPeerGone);
  EXPECT_EQ(connection_.TakeFinished()->body_sent, 0U);
}

TEST_F(ServerConnectionTest, ShutdownLeavesABodyThatIsAwaitedToEnd) {
  Bytes(kKeepAlive);
  Answer(AnswerStatus::kOk, 100);
  connection_.HandleBodyLate();
  connection_.BeginShutdown(now_);
  ASSERT_EQ(connection_.phase(), Phase::kAwaiting);
  connection_.HandleBodyGrown();
  SendAll();
  EXPECT_EQ(connection_.phase(), Phase::kDraining);
}

TEST_F(ServerConnectionTest, SourceChoosesTheCodeAndTheFurtherFieldsOfHttp) {
  const ContentFields fields{.content_type = "",
                             .etag = "W/\"tag\"",
                             .last_modified = "",
                             .modified_unix_s = std::nullopt};
  struct Case {
    LookupAnswer answer;
    const char* head;
    AnswerStatus status;
  };
  for (const auto& [answer, head, status] :
       {Case{{.status = AnswerStatus::kOk, .length = 5, .fields = &fields},
             "HTTP/1.1 200",
             AnswerStatus::kOk},
        Case{{.status = AnswerStatus::kFileNotFound}, "HTTP/1.1 404", AnswerStatus::kFileNotFound},
        Case{{.status = AnswerStatus::kFileNotFound, .http_code = 410},
             "HTTP/1.1 410 Gone",
             AnswerStatus::kFileNotFound},
        Case{{.status = AnswerStatus::kError}, "HTTP/1.1 500", AnswerStatus::kError},
        Case{{.status = AnswerStatus::kError, .http_code = 502},
             "HTTP/1.1 502 Bad Gateway",
             AnswerStatus::kError},
        Case{{.status = AnswerStatus::kError, .http_code = 504},
             "HTTP/1.1 504 Gateway Timeout",
             AnswerStatus::kError}}) {
    Bytes("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    LookupAnswer with_fields = answer;
    with_fields.http_fields = "X-Cache: HIT\r\nAge: 7\r\n";
    connection_.HandleLookup(with_fields, now_);
    const std::string sent = SendAll();
    EXPECT_TRUE(sent.starts_with(head)) << sent;
    EXPECT_NE(sent.find("\r\nX-Cache: HIT\r\nAge: 7\r\n"), std::string::npos) << sent;
    EXPECT_EQ(connection_.TakeFinished()->status, status) << head;
    EXPECT_EQ(connection_.phase(), Phase::kReading) << "the connection goes on";
  }
  Bytes(kRequest);
  connection_.HandleLookup(
      {.status = AnswerStatus::kError, .http_code = 504, .http_fields = "X: Y\r\n"}, now_);
  EXPECT_EQ(SendAll(), "GETFILE ERROR\r\n\r\n");
}

TEST_F(ServerConnectionTest, PeerGoneWhileSendingIsRecordedAsBroken) {
  Bytes(kRequest);
  Answer(AnswerStatus::kOk, 100);
  connection_.HandlePeerGone(now_);
  EXPECT_EQ(connection_.phase(), Phase::kClosed);
  EXPECT_EQ(connection_.end(), End::kPeerGone);
  EXPECT_TRUE(connection_.TakeFinished().has_value());
}

TEST_F(ServerConnectionTest, ShutdownClosesAnIdleConnection) {
  connection_.BeginShutdown(now_);
  EXPECT_EQ(connection_.phase(), Phase::kClosed);
}

TEST_F(ServerConnectionTest, ShutdownDoesNotWaitForHalfAHeader) {
  Bytes("GETFILE G");
  connection_.BeginShutdown(now_);
  ASSERT_EQ(connection_.phase(), Phase::kSending);
  EXPECT_EQ(SendAll(), "GETFILE INVALID\r\n\r\n");
}

TEST_F(ServerConnectionTest, ShutdownFinishesTheAnswerUnderWayAndTakesNoOther) {
  Bytes(kKeepAlive + kKeepAlive);
  connection_.BeginShutdown(now_);
  ASSERT_EQ(connection_.phase(), Phase::kLookup);
  Answer(AnswerStatus::kOk, 3);
  SendAll();
  EXPECT_EQ(connection_.phase(), Phase::kDraining);
}

TEST_F(ServerConnectionTest, LookupAnswersWithoutBodyHaveNoLength) {
  for (const auto status : {AnswerStatus::kFileNotFound, AnswerStatus::kError}) {
    ServerConnection connection(&options_, now_);
    connection.HandleBytes(kRequest, now_);
    connection.HandleLookup({status, 99}, now_);
    EXPECT_EQ(connection.body_left(), 0U);
  }
}

TEST(ServerConnectionRefusalTest, RefusedConnectionIsAnsweredErrorWithoutALookup) {
  const ServerConnection::Options options{};
  const TimePoint start{5s};
  ServerConnection connection(&options, start, /*refuse=*/true);
  EXPECT_EQ(connection.NextDeadline(), start + 1s) << "it may not stay long";
  connection.HandleBytes(kKeepAlive + kKeepAlive, start);
  ASSERT_EQ(connection.phase(), Phase::kSending);
  EXPECT_EQ(connection.head_left(), "GETFILE ERROR\r\n\r\n");
  connection.HandleSent(connection.head_left().size(), start);
  EXPECT_EQ(connection.phase(), Phase::kDraining);
}

TEST(ServerConnectionLegacyTest, LegacyDialectIsSpokenInEveryAnswer) {
  const ServerConnection::Options options{.dialect = Dialect::kLegacy};
  const TimePoint now{5s};
  ServerConnection connection(&options, now);
  connection.HandleBytes(kKeepAlive, now);
  connection.HandleLookup({AnswerStatus::kOk, 7}, now);
  EXPECT_EQ(connection.head_left(), "GETFILE OK 7 ");
  connection.HandleSent(connection.head_left().size() + 7, now);
  connection.HandleBytes("x", now);
  EXPECT_EQ(connection.head_left(), "GETFILE INVALID 0\n");
}

/// The rule of every core: the same inputs give the same bytes. A stream cut at random (seeded)
/// places is answered twice and compared, and compared with the stream in one piece.
TEST(ServerConnectionDeterminismTest, SplitsOfOneStreamGiveTheSameAnswers) {
  const std::string stream = kKeepAlive + kKeepAlive +
                             "GETFILE GET /missing\r\n"
                             "Connection: keep-alive\r\n\r\n" +
                             kRequest + "junk";
  const ServerConnection::Options options{};
  const auto run = [&](unsigned seed) {
    std::string out;
    TimePoint now{1s};
    ServerConnection connection(&options, now);
    std::size_t at = 0;
    unsigned random = seed;
    while (connection.phase() != Phase::kDraining && connection.phase() != Phase::kClosed) {
      switch (connection.phase()) {
        case Phase::kReading: {
          random = random * 1664525U + 1013904223U;
          const std::size_t n = seed == 0 ? stream.size() : 1 + (random >> 16U) % 17;
          connection.HandleBytes(std::string_view(stream).substr(at, n), now);
          at = std::min(stream.size(), at + n);
          break;
        }
        case Phase::kLookup:
          connection.HandleLookup(connection.request().path == "/a"
                                      ? LookupAnswer{AnswerStatus::kOk, 4}
                                      : LookupAnswer{AnswerStatus::kFileNotFound, 0},
                                  now);
          break;
        case Phase::kSending:
          out += connection.head_left();
          out += std::string(connection.body_left(), 'b');
          connection.HandleSent(connection.head_left().size() + connection.body_left(), now);
          break;
        case Phase::kAwaiting:
        case Phase::kDraining:
        case Phase::kClosed:
          break;
      }
    }
    return out;
  };
  const std::string expected = run(0);
  EXPECT_EQ(expected,
            "GETFILE OK 4\r\n\r\nbbbbGETFILE OK 4\r\n\r\nbbbbGETFILE FILE_NOT_FOUND\r\n\r\n"
            "GETFILE OK 4\r\n\r\nbbbb");
  for (unsigned seed = 1; seed <= 500; ++seed) {
    EXPECT_EQ(run(seed), expected) << "seed " << seed;
    EXPECT_EQ(run(seed), run(seed));
  }
}

}  // namespace
}  // namespace ds::getfile
