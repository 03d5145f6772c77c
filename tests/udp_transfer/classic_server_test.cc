#include "udp_transfer/core/classic_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

constexpr Duration kInstant{1};  // the least there is

/// A server in virtual time. Storage is done at once, unless the test says otherwise.
class ClassicServerTest : public ::testing::Test {
 protected:
  using Said = std::vector<std::string>;

  /// What the server does about one datagram; with storage that is done at once, its ack included.
  Said Take(std::string_view datagram, const PeerAddress& from) {
    const auto effects = server_.HandleDatagram(from, Bytes(datagram), now_);
    Said said = Lines(effects);
    std::optional<ClassicSession> waiting;
    for (const auto& effect : effects) {
      if (const auto* create = std::get_if<ClassicServer::Create>(&effect)) {
        waiting = create->session;
      }
      if (const auto* append = std::get_if<ClassicServer::Append>(&effect)) {
        waiting = append->session;
      }
    }
    if (waiting && stored_at_once_) {
      for (std::string& line : Lines(server_.Stored(*waiting, now_))) {
        said.push_back(std::move(line));
      }
    }
    return said;
  }
  Said Take(std::string_view datagram) { return Take(datagram, kPeer); }
  Said Stored(std::uint64_t session) {
    return Lines(server_.Stored(ClassicSession{session}, now_));
  }
  Said Timeout() { return Lines(server_.HandleTimeout(now_)); }
  /// Every datagram here is answered at most by `a | n`.
  void Run(const std::vector<std::pair<std::string, Said>>& exchange) {
    for (const auto& [datagram, said] : exchange) EXPECT_EQ(Take(datagram), said) << datagram;
  }
  void Restart(ClassicServer::Options options) {
    ASSERT_TRUE(options.Validate().ok());
    server_ = ClassicServer(options);
  }

  const PeerAddress kPeer = PeerAt(1, 1000);
  const PeerAddress kOther = PeerAt(1, 1001);
  TimePoint now_{1000s};
  bool stored_at_once_ = true;
  ClassicServer server_{ClassicServer::Options{}};
};

// ---- A transfer.

TEST_F(ClassicServerTest, AFileIsTakenInPiecesAndAcknowledgedAsTheTableSays) {
  Run({{"s | 0 | f.txt | 7", {"create 1 f.txt 7", "a | 1 | 1024"}},
       {"d | 1 | abc", {"append 1 abc", "a | 2"}},
       {"d | 2 | def", {"append 1 def", "a | 3"}},
       {"d | 3 | g", {"append 1 g", "complete 1", "a | 4"}}});
  EXPECT_EQ(server_.counters().finished, 1U);
  EXPECT_EQ(server_.counters().bytes_taken, 7U);
  EXPECT_EQ(server_.unfinished(), 0U);
  EXPECT_EQ(server_.reserved_bytes(), 0U);
}

TEST_F(ClassicServerTest, Seqno0MayBeAnyNumber) {
  Run({{"s | 41 | f | 2", {"create 1 f 2", "a | 42 | 1024"}},
       {"d | 42 | a", {"append 1 a", "a | 43"}},
       {"d | 43 | b", {"append 1 b", "complete 1", "a | 44"}}});
  now_ += 1s;
  Run({{"s | 9223372036854775807 | f | 1", {"create 2 f 1", "a | 9223372036854775808 | 1024"}},
       {"d | 9223372036854775808 | a", {"append 2 a", "complete 2", "a | 9223372036854775809"}}});
}

TEST_F(ClassicServerTest, APayloadMayBeMadeOfSeparators) {
  Run({{"s | 0 |  |  | 6", {"create 1  |  6", "a | 1 | 1024"}},
       {"d | 1 |  | ", {"append 1  | ", "a | 2"}},
       {"d | 2 |  | ", {"append 1  | ", "complete 1", "a | 3"}}});
}

TEST_F(ClassicServerTest, SessionsOfTwoAddressesDoNotMeet) {
  EXPECT_THAT(Take("s | 0 | f | 2", kPeer), ElementsAre("create 1 f 2", "a | 1 | 1024"));
  EXPECT_THAT(Take("s | 0 | f | 2", kOther), ElementsAre("create 2 f 2", "a | 1 | 1024"));
  EXPECT_THAT(Take("d | 1 | x", kPeer), ElementsAre("append 1 x", "a | 2"));
  EXPECT_THAT(Take("d | 1 | yy", kOther), ElementsAre("append 2 yy", "complete 2", "a | 2"));
  EXPECT_THAT(Take("d | 2 | x", kPeer), ElementsAre("append 1 x", "complete 1", "a | 3"));
}

TEST_F(ClassicServerTest, TenThousandSequenceNumbersAreTaken) {
  Take("s | 0 | f | 10000");
  for (int seqno = 1; seqno < 10'000; ++seqno) {
    ASSERT_THAT(Take(fmt::format("d | {} | x", seqno)),
                ElementsAre("append 1 x", fmt::format("a | {}", seqno + 1)));
  }
  EXPECT_THAT(Take("d | 10000 | x"), ElementsAre("append 1 x", "complete 1", "a | 10001"));
}

// ---- An empty file.

TEST_F(ClassicServerTest, AnEmptyFileIsCompleteAtTheStart) {
  Run({{"s | 0 | f | 0", {"create 1 f 0", "complete 1", "a | 1 | 1024"}},
       {"s | 0 | f | 0", {"a | 1 | 1024"}},
       {"d | 1 | ", {"a | 2"}},
       {"d | 1 | ", {"a | 2"}},
       {"s | 0 | f | 0", {"a | 1 | 1024"}},
       {"d | 2 | x", {"a | 2"}}});
  EXPECT_EQ(server_.counters().finished, 1U);
}

TEST_F(ClassicServerTest, AnEmptyFileIsAcknowledgedOnlyWhenItIsInItsPlace) {
  stored_at_once_ = false;
  Run({{"s | 0 | f | 0", {"create 1 f 0", "complete 1"}}, {"s | 0 | f | 0", {}}, {"d | 1 | ", {}}});
  EXPECT_THAT(Stored(1), ElementsAre("a | 1 | 1024"));
}

// ---- Repeated, lost, wrong data.

TEST_F(ClassicServerTest, ADuplicateStartIsAcknowledgedAsTheFirstWas) {
  Run({{"s | 3 | f | 4", {"create 1 f 4", "a | 4 | 1024"}},
       {"s | 3 | f | 4", {"a | 4 | 1024"}},
       {"d | 4 | ab", {"append 1 ab", "a | 5"}},
       {"s | 3 | f | 4", {"a | 4 | 1024"}},  // whatever has come meanwhile
       {"d | 5 | cd", {"append 1 cd", "complete 1", "a | 6"}},
       {"s | 3 | f | 4", {"a | 4 | 1024"}}});
  EXPECT_EQ(server_.counters().started, 1U);
}

TEST_F(ClassicServerTest, DuplicateDataIsNotTakenAgain) {
  Run({{"s | 0 | f | 4", {"create 1 f 4", "a | 1 | 1024"}},
       {"d | 1 | ab", {"append 1 ab", "a | 2"}},
       {"d | 1 | ab", {"a | 2"}},
       {"d | 0 | zz", {"a | 2"}},
       {"d | 2 | cd", {"append 1 cd", "complete 1", "a | 3"}},
       {"d | 2 | cd", {"a | 3"}},
       {"d | 1 | ab", {"a | 3"}}});
}

TEST_F(ClassicServerTest, FutureDataIsNotTaken) {
  Run({{"s | 0 | f | 4", {"create 1 f 4", "a | 1 | 1024"}},
       {"d | 2 | cd", {"a | 1"}},
       {"d | 18446744073709551615 | cd", {"a | 1"}},
       {"d | 1 | ab", {"append 1 ab", "a | 2"}},
       {"d | 3 | xx", {"a | 2"}},
       {"d | 2 | cd", {"append 1 cd", "complete 1", "a | 3"}},
       {"d | 3 | xx", {"a | 3"}},
       {"d | 4 | xx", {"a | 3"}}});
  EXPECT_EQ(server_.counters().not_taken, 5U);
}

TEST_F(ClassicServerTest, APayloadBeyondTheSizeIsNeitherStoredNorAcknowledgedAsNew) {
  Run({{"s | 0 | f | 4", {"create 1 f 4", "a | 1 | 1024"}},
       {"d | 1 | abcde", {"a | 1"}},
       {"d | 1 | abc", {"append 1 abc", "a | 2"}},
       {"d | 2 | de", {"a | 2"}},
       {"d | 2 | d", {"append 1 d", "complete 1", "a | 3"}},
       {"d | 3 | e", {"a | 3"}}});
}

TEST_F(ClassicServerTest, ADatagramOverTheBufferSizeIsNotTaken) {
  Restart({.buf_bytes = 20});
  Run({{"s | 8 | f | 99", {"create 1 f 99", "a | 9 | 20"}},
       {"d | 9 | 0123456789abc", {"a | 9"}},  // 21 bytes
       {"d | 9 | 0123456789ab", {"append 1 0123456789ab", "a | 10"}},
       {"d | 10 | 0123456789ab", {"a | 10"}},  // the number has got a digit more
       {"d | 10 | 0123456789a", {"append 1 0123456789a", "a | 11"}}});
}

TEST_F(ClassicServerTest, EmptyDataInTheMiddleIsTakenWithoutStorage) {
  Run({{"s | 0 | f | 2", {"create 1 f 2", "a | 1 | 1024"}},
       {"d | 1 | ", {"a | 2"}},
       {"d | 1 | ", {"a | 2"}},
       {"d | 2 | ab", {"append 1 ab", "complete 1", "a | 3"}}});
}

TEST_F(ClassicServerTest, WhatIsNoMessageIsCountedAndNotAnswered) {
  Take("s | 0 | f | 2");
  const std::vector<std::string> datagrams = {"",
                                              "x | 0 | f | 2",
                                              "a | 1",
                                              "a | 1 | 1024",
                                              "d|1|ab",
                                              "d | x | ab",
                                              "s|0|f|2",
                                              "s | x | f | 2",
                                              "d | 1",
                                              "s | 0 | f",
                                              "s | 0 | f | x",
                                              "f | 0 | 01",
                                              "s | -1 | f | 2"};
  for (const std::string& datagram : datagrams) EXPECT_THAT(Take(datagram), IsEmpty()) << datagram;
  EXPECT_EQ(server_.counters().malformed, datagrams.size());
  EXPECT_THAT(Take("d | 1 | ab"), ElementsAre("append 1 ab", "complete 1", "a | 2"));
}

TEST_F(ClassicServerTest, DataOfNobodyIsNotAnswered) {
  EXPECT_THAT(Take("d | 1 | ab"), IsEmpty());
  Take("s | 0 | f | 2");
  EXPECT_THAT(Take("d | 1 | ab", kOther), IsEmpty());
  EXPECT_EQ(server_.counters().without_session, 2U);
}

// ---- Answers are never larger than what they answer.

TEST_F(ClassicServerTest, AnAnswerThatWouldBeLargerThanItsDatagramIsNotSent) {
  Take("s | 99999998 | f | 9");
  Take("d | 99999999 | a");
  EXPECT_THAT(Take("d | 1 | "), IsEmpty());      // 8 bytes; the answer would have 13
  EXPECT_THAT(Take("d | 1 | 1234"), IsEmpty());  // 12
  EXPECT_THAT(Take("d | 1 | 12345"), ElementsAre("a | 100000000"));
}

TEST_F(ClassicServerTest, AStartAckIsNeverLargerThanTheStart) {
  Restart({.buf_bytes = 65'507});
  // 13 bytes, of which the ack would make 14.
  EXPECT_THAT(Take("s | 9 | f | 0"), ElementsAre("create 1 f 0", "complete 1", "a | 10 | 9999"));
  EXPECT_THAT(Take("s | 9 | f | 0"), ElementsAre("a | 10 | 9999"));
  EXPECT_THAT(Take("s | 9 | fg | 0", kOther),
              ElementsAre("create 2 fg 0", "complete 2", "a | 10 | 65507"));
}

// ---- Storage.

TEST_F(ClassicServerTest, NothingIsAcknowledgedBeforeStorageHasIt) {
  stored_at_once_ = false;
  EXPECT_THAT(Take("s | 0 | f | 4"), ElementsAre("create 1 f 4"));
  EXPECT_THAT(Take("s | 0 | f | 4"), IsEmpty());
  EXPECT_THAT(Take("d | 1 | ab"), IsEmpty());  // nobody has asked for it
  EXPECT_THAT(Stored(1), ElementsAre("a | 1 | 1024"));
  EXPECT_THAT(Take("d | 1 | ab"), ElementsAre("append 1 ab"));
  EXPECT_THAT(Take("d | 1 | ab"), IsEmpty());
  EXPECT_THAT(Take("d | 2 | cd"), ElementsAre("a | 1"));  // future data
  EXPECT_THAT(Take("s | 0 | f | 4"), ElementsAre("a | 1 | 1024"));
  EXPECT_THAT(Stored(1), ElementsAre("a | 2"));
  EXPECT_THAT(Take("d | 2 | cd"), ElementsAre("append 1 cd", "complete 1"));
  EXPECT_THAT(Take("d | 2 | cd"), IsEmpty());
  EXPECT_EQ(server_.counters().finished, 0U);
  EXPECT_THAT(Stored(1), ElementsAre("a | 3"));  // after the rename
}

TEST_F(ClassicServerTest, ASessionIsNotAbandonedWhileStorageIsBusy) {
  stored_at_once_ = false;
  Take("s | 0 | f | 1");
  Stored(1);
  Take("d | 1 | x");
  EXPECT_EQ(server_.NextDeadline(), std::nullopt);
  now_ += 60s;
  EXPECT_THAT(Timeout(), IsEmpty());
  EXPECT_THAT(Take("s | 0 | other | 1"), IsEmpty()) << "no idle session, and none that is finished";
  EXPECT_THAT(Stored(1), ElementsAre("a | 2"));
}

TEST_F(ClassicServerTest, WhenStorageFailsTheSessionEndsInSilence) {
  stored_at_once_ = false;
  Take("s | 0 | f | 4");
  EXPECT_THAT(Lines(server_.StorageFailed(ClassicSession{1}, now_)),
              ElementsAre("discard 1 storage"));
  EXPECT_THAT(Take("d | 1 | ab"), IsEmpty());
  EXPECT_THAT(Take("s | 0 | f | 4"), ElementsAre("create 2 f 4"));
  Stored(2);
  Take("d | 1 | abcd");
  EXPECT_THAT(Lines(server_.StorageFailed(ClassicSession{2}, now_)),
              ElementsAre("discard 2 storage"));
  EXPECT_EQ(server_.reserved_bytes(), 0U);
  EXPECT_EQ(server_.unfinished(), 0U);
  EXPECT_EQ(server_.counters().finished, 0U);
}

TEST_F(ClassicServerTest, WordsOfStorageAboutASessionThatIsGoneAreIgnored) {
  stored_at_once_ = false;
  Take("s | 0 | f | 4");
  EXPECT_THAT(Lines(server_.DropSession(kPeer, now_)), ElementsAre("discard 1 fast"));
  Take("s | 0 | f | 4");
  EXPECT_THAT(Stored(1), IsEmpty());
  EXPECT_THAT(Lines(server_.StorageFailed(ClassicSession{1}, now_)), IsEmpty());
  EXPECT_THAT(Stored(2), ElementsAre("a | 1 | 1024"));
}

// ---- Time.

TEST_F(ClassicServerTest, AnUnfinishedClientIsGivenUpAfterMoreThanThreeSecondsOfSilence) {
  Take("s | 0 | f | 4");
  now_ += 3s;
  EXPECT_THAT(Timeout(), IsEmpty());
  EXPECT_THAT(Take("d | 1 | a"), ElementsAre("append 1 a", "a | 2"));  // and the time begins anew
  EXPECT_EQ(server_.NextDeadline(), now_ + 3s + kInstant);
  now_ += 3s;
  EXPECT_THAT(Timeout(), IsEmpty());
  now_ += kInstant;
  EXPECT_THAT(Timeout(), ElementsAre("discard 1 silent"));
  EXPECT_EQ(server_.NextDeadline(), std::nullopt);
  EXPECT_THAT(Take("d | 2 | b"), IsEmpty());
}

TEST_F(ClassicServerTest, ALateTimerChangesNothing) {
  Take("s | 0 | f | 4");
  now_ += 3s + kInstant;
  EXPECT_THAT(Take("d | 1 | a"), ElementsAre("discard 1 silent"));
}

TEST_F(ClassicServerTest, AnyMessageOfTheSessionBreaksTheSilenceAndNothingElse) {
  for (const auto& [datagram, heard] :
       {std::pair{"s | 0 | f | 4", true},                              // duplicate start
        std::pair{"d | 0 | x", true},                                  // duplicate data
        std::pair{"d | 9 | x", true},                                  // future data
        std::pair{"d | 1 | 12345", true},                              // too long
        std::pair{"d | 1 | ", true},                                   // empty
        std::pair{"s | 1 | f | 4", false},                             // another start
        std::pair{"s | 0 | g | 4", false}, std::pair{"x | 0", false},  // no message
        std::pair{"", false}}) {
    Restart({});
    Take("s | 0 | f | 4");
    now_ += 999ms;
    Take(datagram);
    EXPECT_EQ(server_.NextDeadline(), now_ + (heard ? 3s + 0ms : 2001ms) + kInstant) << datagram;
  }
}

TEST_F(ClassicServerTest, SessionsAreGivenUpInTheOrderOfTheirSilence) {
  Take("s | 0 | f | 4", kPeer);
  now_ += 100ms;
  Take("s | 0 | f | 4", kOther);
  now_ += 100ms;
  Take("d | 1 | x", kPeer);
  now_ += 2900ms;
  EXPECT_EQ(server_.NextDeadline(), now_ + kInstant);
  now_ += kInstant;
  EXPECT_THAT(Timeout(), ElementsAre("discard 2 silent"));
  now_ += 100ms;
  EXPECT_THAT(Timeout(), ElementsAre("discard 1 silent"));
}

TEST_F(ClassicServerTest, AFinishedSessionIsRememberedForOneSecond) {
  Run({{"s | 0 | f | 1", {"create 1 f 1", "a | 1 | 1024"}},
       {"d | 1 | x", {"append 1 x", "complete 1", "a | 2"}}});
  EXPECT_EQ(server_.NextDeadline(), now_ + 1s);
  now_ += 1s - kInstant;
  Run({{"d | 1 | x", {"a | 2"}}, {"s | 0 | f | 1", {"a | 1 | 1024"}}});
  now_ += kInstant;  // what came meanwhile does not lengthen it
  EXPECT_THAT(Take("d | 1 | x"), IsEmpty());
  EXPECT_EQ(server_.NextDeadline(), std::nullopt);
  EXPECT_THAT(Take("s | 0 | f | 1"), ElementsAre("create 2 f 1", "a | 1 | 1024"));
}

TEST_F(ClassicServerTest, TheSecondBeginsWhenTheFileIsInItsPlace) {
  stored_at_once_ = false;
  Take("s | 0 | f | 1");
  Stored(1);
  Take("d | 1 | x");
  now_ += 5s;
  Stored(1);
  now_ += 1s - kInstant;
  EXPECT_THAT(Take("d | 1 | x"), ElementsAre("a | 2"));
}

// ---- Another start of the same address.

TEST_F(ClassicServerTest, AnotherStartIsIgnoredWhileTheSessionRuns) {
  Take("s | 0 | f | 4");
  now_ += 1s - kInstant;
  for (const char* start : {"s | 1 | f | 4", "s | 0 | g | 4", "s | 0 | f | 5", "s | 0 | f | 0"}) {
    EXPECT_THAT(Take(start), IsEmpty()) << start;
  }
  EXPECT_EQ(server_.counters().starts_ignored, 4U);
  EXPECT_THAT(Take("d | 1 | abcd"), ElementsAre("append 1 abcd", "complete 1", "a | 2"));
}

TEST_F(ClassicServerTest, AnotherStartReplacesASessionThatHasBeenIdleForOneSecond) {
  Take("s | 0 | f | 4");
  Take("d | 1 | ab");
  now_ += 500ms;
  EXPECT_THAT(Take("s | 0 | g | 2"), IsEmpty());  // and does not keep the old one alive
  now_ += 500ms;
  Run({{"s | 0 | g | 2", {"discard 1 replaced", "create 2 g 2", "a | 1 | 1024"}},
       {"d | 1 | xy", {"append 2 xy", "complete 2", "a | 2"}}});
}

TEST_F(ClassicServerTest, AnotherStartReplacesAFinishedSessionAtOnce) {
  Run({{"s | 0 | f | 1", {"create 1 f 1", "a | 1 | 1024"}},
       {"d | 1 | x", {"append 1 x", "complete 1", "a | 2"}},
       {"s | 0 | g | 1", {"create 2 g 1", "a | 1 | 1024"}},
       {"d | 1 | y", {"append 2 y", "complete 2", "a | 2"}}});
}

TEST_F(ClassicServerTest, AStartThatIsRefusedReplacesNothing) {
  Take("s | 0 | f | 1");
  now_ += 2s;
  EXPECT_THAT(Take("s | 0 | ../f | 1"), ElementsAre("refused name"));
  EXPECT_THAT(Take("d | 1 | x"), ElementsAre("append 1 x", "complete 1", "a | 2"));
  EXPECT_THAT(Take("s | 0 | a/b | 1"), ElementsAre("refused name"));
  EXPECT_THAT(Take("d | 1 | x"), ElementsAre("a | 2"));
}

// ---- Names and limits: silence on the wire, a line for the log, a count.

TEST_F(ClassicServerTest, WhatIsNoPlainNameIsRefusedInSilence) {
  using namespace std::string_literals;
  const std::vector<std::string> names = {"",    ".",    "..",    "/",
                                          "a/b", "../a", "a\0b"s, std::string(256, 'x')};
  for (const std::string& name : names) {
    EXPECT_THAT(Take("s | 0 | " + name + " | 1"), ElementsAre("refused name")) << name;
  }
  EXPECT_EQ(server_.counters().refused[0], names.size());
  EXPECT_THAT(Take("s | 0 | " + std::string(255, 'x') + " | 1"), ::testing::SizeIs(2));
}

TEST_F(ClassicServerTest, AFileOverTheLimitIsRefused) {
  Restart({.session_bytes_max = 10});
  EXPECT_THAT(Take("s | 0 | f | 11"), ElementsAre("refused bytes"));
  EXPECT_THAT(Take("s | 0 | f | 18446744073709551615"), ElementsAre("refused bytes"));
  EXPECT_THAT(Take("s | 0 | f | 10"), ElementsAre("create 1 f 10", "a | 1 | 1024"));
}

TEST_F(ClassicServerTest, TheFolderOfUnfinishedFilesIsNoName) {
  EXPECT_THAT(Take("s | 0 | .udp-partial | 1"), ElementsAre("refused name"));
}

TEST_F(ClassicServerTest, AllUnfinishedFilesTogetherStayWithinTheLimit) {
  Restart({.total_bytes_max = 10});
  Take("s | 0 | f | 6", PeerAt(1, 1));
  EXPECT_THAT(Take("s | 0 | f | 5", PeerAt(1, 2)), ElementsAre("refused total"));
  Take("s | 0 | f | 4", PeerAt(1, 3));
  EXPECT_EQ(server_.reserved_bytes(), 10U);
  EXPECT_THAT(Take("d | 1 | abcd", PeerAt(1, 3)),
              ElementsAre("append 2 abcd", "complete 2", "a | 2"));
  EXPECT_THAT(Take("s | 0 | f | 4", PeerAt(1, 4)), ElementsAre("create 3 f 4", "a | 1 | 1024"));
}

TEST_F(ClassicServerTest, UnfinishedSessionsAreLimitedInAll) {
  Restart({.sessions_max = 2});
  Take("s | 0 | f | 1", PeerAt(1, 1));
  Take("s | 0 | f | 1", PeerAt(2, 1));
  EXPECT_THAT(Take("s | 0 | f | 1", PeerAt(3, 1)), ElementsAre("refused sessions"));
  Take("d | 1 | x", PeerAt(1, 1));  // finished ones do not count
  EXPECT_THAT(Take("s | 0 | f | 1", PeerAt(3, 1)), ElementsAre("create 3 f 1", "a | 1 | 1024"));
}

TEST_F(ClassicServerTest, UnfinishedSessionsAreLimitedBySource) {
  Restart({.sessions_per_source_max = 2});
  Take("s | 0 | f | 1", PeerAt(1, 1));
  Take("s | 0 | f | 1", PeerAt(1, 2));
  EXPECT_THAT(Take("s | 0 | f | 1", PeerAt(1, 3)), ElementsAre("refused source"));
  EXPECT_THAT(Take("s | 0 | f | 1", PeerAt(2, 3)), ElementsAre("create 3 f 1", "a | 1 | 1024"));
  Take("d | 1 | x", PeerAt(1, 2));
  EXPECT_THAT(Take("s | 0 | f | 1", PeerAt(1, 3)), ElementsAre("create 4 f 1", "a | 1 | 1024"));
}

TEST_F(ClassicServerTest, FilesOfOneSourceStayWithinItsShareOfTheBytes) {
  Restart({.source_bytes_max = 10, .total_bytes_max = 20});
  Take("s | 0 | f | 6", PeerAt(1, 1));
  EXPECT_THAT(Take("s | 0 | f | 5", PeerAt(1, 2)), ElementsAre("refused source bytes"));
  EXPECT_THAT(Take("s | 0 | f | 10", PeerAt(2, 1)), ElementsAre("create 2 f 10", "a | 1 | 1024"));
  EXPECT_THAT(Take("d | 1 | abcdef", PeerAt(1, 1)),
              ElementsAre("append 1 abcdef", "complete 1", "a | 2"));
  EXPECT_THAT(Take("s | 0 | f | 10", PeerAt(1, 2)), ElementsAre("create 3 f 10", "a | 1 | 1024"));
}

TEST_F(ClassicServerTest, LoopbackHasNoLimitBySource) {
  Restart({.sessions_per_source_max = 1, .source_bytes_max = 1});
  PeerAddress loopback6;
  loopback6.bytes[15] = std::byte{1};
  PeerAddress loopback4 = PeerAt(1, 1);
  loopback4.bytes[12] = std::byte{127};
  for (PeerAddress address : {loopback6, loopback4}) {
    EXPECT_TRUE(address.IsLoopback());
    for (int port = 1; port <= 3; ++port) {
      address.bytes[17] = static_cast<std::byte>(port);
      EXPECT_EQ(Take("s | 0 | f | 1", address).size(), 2U);
    }
  }
  EXPECT_FALSE(PeerAt(1, 1).IsLoopback());
}

TEST_F(ClassicServerTest, AnIpv6SourceIsItsSlash64) {
  Restart({.sessions_per_source_max = 1});
  PeerAddress address;
  address.bytes[0] = std::byte{0x20};
  EXPECT_EQ(Take("s | 0 | f | 1", address).size(), 2U);
  address.bytes[8] = std::byte{7};
  EXPECT_THAT(Take("s | 0 | f | 1", address), ElementsAre("refused source"));
  address.bytes[7] = std::byte{7};
  EXPECT_EQ(Take("s | 0 | f | 1", address).size(), 2U);
}

TEST_F(ClassicServerTest, NoMoreFinishedSessionsAreRememberedThanMayRun) {
  Restart({.sessions_max = 2});
  for (unsigned port = 1; port <= 3; ++port) Take("s | 0 | f | 0", PeerAt(1, port));
  EXPECT_THAT(Take("d | 1 | ", PeerAt(1, 1)), IsEmpty()) << "the oldest had to go";
  EXPECT_THAT(Take("d | 1 | ", PeerAt(1, 2)), ElementsAre("a | 2"));
}

TEST(ClassicServerOptionsTest, WhatCannotWorkIsNotValid) {
  EXPECT_TRUE(ClassicServer::Options{}.Validate().ok());
  EXPECT_TRUE(ClassicServer::Options{.buf_bytes = 10}.Validate().ok());
  EXPECT_TRUE(ClassicServer::Options{.buf_bytes = 65'507}.Validate().ok());
  EXPECT_FALSE(ClassicServer::Options{.buf_bytes = 9}.Validate().ok());
  EXPECT_FALSE(ClassicServer::Options{.buf_bytes = 65'508}.Validate().ok());
  EXPECT_FALSE(ClassicServer::Options{.sessions_max = 0}.Validate().ok());
  EXPECT_FALSE(ClassicServer::Options{.sessions_per_source_max = 0}.Validate().ok());
}

// ---- Beside fast mode.

TEST_F(ClassicServerTest, AHelloIsAnsweredWithACookieUnlessTheFileIsThereAlready) {
  const auto hello = [&] {
    const auto answer = server_.HandleHello(kPeer, now_);
    Said said = Lines(answer.effects);
    if (answer.cookie) said.emplace_back("cookie");
    return said;
  };
  EXPECT_THAT(hello(), ElementsAre("cookie"));
  Take("s | 0 | f | 2");
  EXPECT_THAT(hello(), ElementsAre("cookie"));
  Take("d | 1 | a");
  EXPECT_THAT(hello(), ElementsAre("cookie"));
  stored_at_once_ = false;
  Take("d | 2 | b");
  EXPECT_THAT(hello(), IsEmpty()) << "it is being put in its place";
  Stored(1);
  EXPECT_THAT(hello(), ElementsAre("a | 3"));
  now_ += 5s - 1ns;
  EXPECT_THAT(Take("d | 2 | b"), IsEmpty()) << "the hold second is over";
  EXPECT_THAT(hello(), ElementsAre("a | 3"));
  now_ += 1ns;
  EXPECT_THAT(hello(), ElementsAre("cookie"));
}

TEST_F(ClassicServerTest, WhatAHelloFindsOfAFinishedSessionEndsWithTheNextOneOfTheAddress) {
  Run({{"s | 0 | f | 1", {"create 1 f 1", "a | 1 | 1024"}},
       {"d | 1 | x", {"append 1 x", "complete 1", "a | 2"}}});
  now_ += 2s;
  EXPECT_FALSE(server_.HandleHello(kPeer, now_).cookie);
  Take("s | 0 | g | 1");
  EXPECT_TRUE(server_.HandleHello(kPeer, now_).cookie);
  server_.DropSession(kPeer, now_);
  EXPECT_TRUE(server_.HandleHello(kPeer, now_).cookie);
}

TEST_F(ClassicServerTest, AfterAnEmptyFileAHelloIsAnsweredWithTheStartAck) {
  Take("s | 0 | f | 0");
  const auto answer = server_.HandleHello(kPeer, now_);
  EXPECT_FALSE(answer.cookie);
  EXPECT_THAT(Lines(answer.effects), ElementsAre("a | 1 | 1024"));
  EXPECT_TRUE(server_.HandleHello(kOther, now_).cookie);
}

TEST_F(ClassicServerTest, AFastConnectionOfTheAddressDropsAnUnfinishedSession) {
  EXPECT_THAT(Lines(server_.DropSession(kPeer, now_)), IsEmpty());
  Take("s | 0 | f | 2");
  EXPECT_THAT(Lines(server_.DropSession(kOther, now_)), IsEmpty());
  EXPECT_THAT(Lines(server_.DropSession(kPeer, now_)), ElementsAre("discard 1 fast"));
  EXPECT_THAT(Take("d | 1 | ab"), IsEmpty());
  Run({{"s | 0 | f | 1", {"create 2 f 1", "a | 1 | 1024"}},
       {"d | 1 | x", {"append 2 x", "complete 2", "a | 2"}}});
  EXPECT_THAT(Lines(server_.DropSession(kPeer, now_)), IsEmpty());
  EXPECT_THAT(Take("d | 1 | x"), ElementsAre("a | 2"));
}

// ---- Shutdown.

TEST_F(ClassicServerTest, AShutdownLetsSessionsEndAndBeginsNone) {
  Take("s | 0 | f | 2", kPeer);
  server_.BeginShutdown();
  EXPECT_THAT(Take("s | 0 | f | 2", kOther), IsEmpty());
  EXPECT_THAT(Take("s | 0 | f | 2", kPeer), ElementsAre("a | 1 | 1024"));
  EXPECT_EQ(server_.unfinished(), 1U);
  EXPECT_THAT(Take("d | 1 | ab", kPeer), ElementsAre("append 1 ab", "complete 1", "a | 2"));
  EXPECT_EQ(server_.unfinished(), 0U);
}

TEST_F(ClassicServerTest, WhatIsUnfinishedAtTheEndIsDiscarded) {
  Take("s | 0 | f | 2", kPeer);
  stored_at_once_ = false;
  Take("s | 0 | f | 2", kOther);
  EXPECT_THAT(Lines(server_.DiscardAll()), ElementsAre("discard 1 shutdown", "discard 2 shutdown"));
  EXPECT_EQ(server_.unfinished(), 0U);
  EXPECT_EQ(server_.reserved_bytes(), 0U);
}

}  // namespace
}  // namespace ds::udp_transfer
