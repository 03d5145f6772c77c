#include "compute/core/prime_connection.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/parse.h"
#include "common/base/rng.h"
#include "tests/compute/vectors.h"

namespace ds::compute {
namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;

constexpr Duration kPause = 20ms;
constexpr Duration kIdle = 300s;

/// A connection in virtual time. Every call returns what is answered to it.
class Peer {
 public:
  std::string Send(std::string_view bytes) {
    connection_.HandleBytes(bytes, now_, &answers_);
    return Take();
  }
  /// Time passes, and what is due is done at its time.
  std::string Wait(Duration time) {
    const TimePoint end = now_ + time;
    while (!connection_.timed_out() && connection_.NextDeadline() <= end) {
      now_ = connection_.NextDeadline();
      connection_.HandleTimeout(now_, &answers_);
    }
    now_ = end;
    return Take();
  }
  /// And as much time passes as ends a number without newline.
  std::string SendBare(std::string_view bytes) {
    std::string answers = Send(bytes);
    return answers += Wait(kPause);
  }
  std::string End() {
    connection_.HandleEndOfStream(&answers_);
    return Take();
  }
  /// To all of the input at once, its end included.
  static std::string AnswersTo(std::string_view bytes) {
    Peer peer;
    std::string answers = peer.Send(bytes);
    return answers + peer.End();
  }

  PrimeConnection& connection() { return connection_; }
  const PrimeAnswers& answers() const { return answers_; }
  TimePoint now() const { return now_; }

 private:
  std::string Take() { return std::exchange(answers_.bytes, {}); }

  const PrimeConnection::Options options_{.pause = kPause, .idle_timeout = kIdle};
  TimePoint now_{1h};
  PrimeConnection connection_{&options_, now_};
  PrimeAnswers answers_;
};

// --- Without newlines ---

TEST(PrimeConnectionTest, AnUnframedNumberEndsWithThePauseAndIsAnsweredWithoutNewline) {
  Peer peer;
  EXPECT_EQ(peer.Send("15492781"), "");
  EXPECT_EQ(peer.Wait(kPause - 1ns), "");
  EXPECT_EQ(peer.Wait(1ns), "is prime");
  EXPECT_EQ(peer.Wait(10s), "") << "it is answered once";
  EXPECT_EQ(peer.SendBare("15492810"), "is not prime");
}

TEST(PrimeConnectionTest, AnUnframedNumberMayBeSplitByLessThanThePause) {
  Peer peer;
  for (const char digit : "1549278"sv) {
    EXPECT_EQ(peer.Send({&digit, 1}), "");
    EXPECT_EQ(peer.Wait(kPause - 1ns), "");
  }
  EXPECT_EQ(peer.SendBare("1"), "is prime");
}

TEST(PrimeConnectionTest, AnUnframedNumberThatIsSplitByThePauseIsTwoNumbers) {
  Peer peer;
  EXPECT_EQ(peer.SendBare("15"), "is not prime");
  EXPECT_EQ(peer.SendBare("13"), "is prime");
}

TEST(PrimeConnectionTest, TheEndOfStreamEndsAnUnframedNumber) {
  Peer peer;
  peer.Send("7");
  EXPECT_EQ(peer.End(), "is prime");
  EXPECT_EQ(Peer().End(), "");
}

TEST(PrimeConnectionTest, ALateLoneLineFeedAfterAnUnframedNumberIsAnEmptyLine) {
  Peer peer;
  EXPECT_EQ(peer.SendBare("17"), "is prime");
  EXPECT_EQ(peer.Send("\n"), "");
  EXPECT_EQ(peer.Send("18"), "");
  EXPECT_EQ(peer.Wait(1min), "") << "the connection is framed now";
  EXPECT_EQ(peer.Send("\n"), "is not prime\n");
}

TEST(PrimeConnectionTest, ALineFeedJustBeforeThePauseIsOverFramesTheNumber) {
  Peer peer;
  peer.Send("17");
  EXPECT_EQ(peer.Wait(kPause - 1ns), "");
  EXPECT_EQ(peer.Send("\n"), "is prime\n");
}

TEST(PrimeConnectionTest, AnUnframedNonNumberIsAnErrorAndTheConnectionLives) {
  Peer peer;
  EXPECT_EQ(peer.SendBare("seventeen"), "error: \"seventeen\" is not a number");
  EXPECT_EQ(peer.SendBare("17"), "is prime");
}

TEST(PrimeConnectionTest, UnframedBlanksAreNoNumber) {
  Peer peer;
  EXPECT_EQ(peer.SendBare(" \r\t "), "");
  EXPECT_EQ(peer.SendBare(" 17 "), "is prime");
}

TEST(PrimeConnectionTest, AnUnframedNumberOver64BytesIsOneErrorAndEndsWithThePause) {
  Peer peer;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(peer.Send("111111111"), "");
    EXPECT_EQ(peer.Wait(kPause - 1ns), "");
  }
  EXPECT_EQ(peer.Wait(1ns), "error: longer than 64 bytes");
  EXPECT_EQ(peer.SendBare("17"), "is prime");
}

// --- Lines ---

TEST(PrimeConnectionTest, LinesAreAnsweredAtOnceInTheirOrder) {
  Peer peer;
  EXPECT_EQ(peer.Send("2\n4\n5\n"), "is prime\nis not prime\nis prime\n");
  EXPECT_EQ(peer.answers().primes, 2U);
  EXPECT_EQ(peer.answers().composites, 1U);
  EXPECT_EQ(peer.answers().errors, 0U);
}

TEST(PrimeConnectionTest, ALineMayBeSplitWithAnyPauseOnceTheConnectionIsFramed) {
  Peer peer;
  peer.Send("2\n");
  EXPECT_EQ(peer.Send("154927"), "");
  EXPECT_EQ(peer.Wait(kIdle - 1ns), "");
  EXPECT_EQ(peer.Send("81"), "");
  EXPECT_EQ(peer.Wait(1min), "");
  EXPECT_EQ(peer.Send("\n"), "is prime\n");
}

TEST(PrimeConnectionTest, LinesAreAnsweredAlikeHoweverManyComeAtOnce) {
  Rng rng(1);
  for (int round = 0; round < 300; ++round) {
    std::string lines;
    std::string answers;
    Peer by_byte;
    for (int i = 0; i < 40; ++i) {
      std::string line(rng.Below(21), '0');  // digits of all lengths, and what no SWAR must swallow
      for (char& digit : line) digit = static_cast<char>('0' + rng.Below(10));
      if (!line.empty() && rng.Below(4) == 0) {
        line[rng.Below(line.size())] = static_cast<char>(rng.Below(256));
      }
      line += '\n';
      for (const char byte : line) answers += by_byte.Send({&byte, 1});
      lines += line;
    }
    Peer at_once;
    ASSERT_EQ(at_once.Send(lines), answers) << EscapeBytes(lines);
    EXPECT_EQ(at_once.answers().primes, by_byte.answers().primes);
    EXPECT_EQ(at_once.answers().composites, by_byte.answers().composites);
    EXPECT_EQ(at_once.answers().errors, by_byte.answers().errors);
  }
}

TEST(PrimeConnectionTest, TheFirstLineFeedFramesWhateverStandsBeforeIt) {
  for (const std::string_view first : {"\n", "\r\n", "  \n", "1\n", "x\n"}) {
    Peer peer;
    peer.Send(first);
    peer.Send("17");
    EXPECT_EQ(peer.Wait(1min), "") << first;
    EXPECT_EQ(peer.Send("\n"), "is prime\n") << first;
  }
}

TEST(PrimeConnectionTest, TheEndOfStreamEndsALineWithoutItsLineFeed) {
  EXPECT_EQ(Peer::AnswersTo("4\n17"), "is not prime\nis prime\n");
  EXPECT_EQ(Peer::AnswersTo("4\n17\n"), "is not prime\nis prime\n");
  EXPECT_EQ(Peer::AnswersTo("4\n \t"), "is not prime\n");
}

TEST(PrimeConnectionTest, TheVectorsHold) {
  const auto vectors = ReadVectors();
  ASSERT_GE(vectors["isprime"].size(), 50U);
  for (const auto& vector : vectors["isprime"]) {
    const std::string text = vector["text"];
    if (text.find('\n') != std::string::npos || text.size() > 64) continue;
    const std::string answer = Peer::AnswersTo(text + "\n");
    if (text.find_first_not_of(" \t\r\v\f") == std::string::npos) {
      EXPECT_EQ(answer, "") << vector;
    } else if (vector.contains("error")) {
      EXPECT_TRUE(answer.starts_with("error: ") && answer.ends_with("\n")) << vector << answer;
    } else {
      EXPECT_EQ(answer, vector["prime"] ? "is prime\n" : "is not prime\n") << vector;
    }
  }
}

struct Line {
  std::string line;
  std::string answer;
};
class PrimeLineTest : public ::testing::TestWithParam<Line> {};

TEST_P(PrimeLineTest, IsAnsweredAndTheConnectionLives) {
  const std::string input = GetParam().line + "\n7\n";
  const std::string expected = GetParam().answer + "is prime\n";
  EXPECT_EQ(Peer::AnswersTo(input), expected);
  for (std::size_t cut = 0; cut <= input.size(); ++cut) {
    Peer peer;
    std::string answers = peer.Send(input.substr(0, cut));
    answers += peer.Send(input.substr(cut));
    EXPECT_EQ(answers, expected) << "cut at " << cut;
  }
}

const std::string kLine64(64, '1');
const std::string kBlanks64 = std::string(62, ' ') + "17";
const std::string kLine65(65, '1');
const std::string kLineLong(100'000, '1');

INSTANTIATE_TEST_SUITE_P(
    Table, PrimeLineTest,
    ::testing::Values(
        Line{"", ""}, Line{"\r", ""}, Line{"\n\r\n \t", ""}, Line{"17\r", "is prime\n"},
        Line{"\t 17 \r", "is prime\n"}, Line{"+7", "is prime\n"}, Line{"007", "is prime\n"},
        Line{"-7", "is not prime\n"}, Line{"-0", "is not prime\n"},
        Line{"18446744073709551557", "is prime\n"}, Line{"18446744073709551615", "is not prime\n"},
        Line{"18446744073709551616",
             "error: \"18446744073709551616\" is too large (numbers have 64 bits)\n"},
        Line{"9999999999999999999", "is not prime\n"},
        Line{"00000000000000000000000000000000000007", "is prime\n"},
        Line{"x", "error: \"x\" is not a number\n"},
        Line{"1 7", "error: \"1 7\" is not a number\n"},
        Line{"7.0", "error: \"7.0\" is not a number\n"},
        Line{std::string("7\0"sv), "error: \"7\\x00\" is not a number\n"},
        Line{"\xff\xfe", "error: \"\\xff\\xfe\" is not a number\n"},
        Line{"-", "error: \"-\" is not a number\n"},
        Line{"+-7", "error: \"+-7\" is not a number\n"},
        Line{kLine64,
             "error: \"11111111111111111111111111111111…\" is too large (numbers have 64 "
             "bits)\n"},
        Line{kBlanks64, "is prime\n"}, Line{kBlanks64 + "\r", "is prime\n"},
        Line{kBlanks64 + " \r", "error: longer than 64 bytes\n"},
        Line{kLine65, "error: longer than 64 bytes\n"},
        Line{kLineLong.substr(0, 1000), "error: longer than 64 bytes\n"}));

TEST(PrimeConnectionTest, WhatFollowsALineThatIsTooLongIsAnswered) {
  Peer peer;
  peer.Send("2\n");
  EXPECT_EQ(peer.Send(kLineLong), "");
  EXPECT_EQ(peer.Wait(1min), "") << "on a framed connection only a LF ends it";
  EXPECT_EQ(peer.Send(kLineLong), "");
  EXPECT_EQ(peer.Send("\n7\n"), "error: longer than 64 bytes\nis prime\n");
  EXPECT_EQ(peer.answers().errors, 1U);
}

TEST(PrimeConnectionTest, NoAnswerIsLongerThanItsBound) {
  std::size_t longest = 0;
  for (const char c : {'\xff', 'x', '1', '\\'}) {
    for (std::size_t size = 1; size <= 70; ++size) {
      longest = std::max(longest, Peer::AnswersTo(std::string(size, c) + "\n").size());
    }
  }
  EXPECT_LE(longest, PrimeConnection::kAnswerBytesMax);
}

TEST(PrimeConnectionTest, AnswersAreAtMostFifteenTimesTheirInput) {
  for (const std::string_view line : {"\xff\n"sv, "x\n"sv, "4\n"sv, "\xff\xff\n"sv}) {
    std::string input;
    while (input.size() < 16384) input += line;
    EXPECT_LE(Peer::AnswersTo(input).size(), 15 * input.size()) << line;
  }
}

// --- Time ---

TEST(PrimeConnectionTest, ASilentPeerIsGivenUp) {
  Peer peer;
  peer.Wait(kIdle - 1ns);
  EXPECT_FALSE(peer.connection().timed_out());
  peer.Wait(1ns);
  EXPECT_TRUE(peer.connection().timed_out());
}

TEST(PrimeConnectionTest, ByteAndAnswerBothCountAsLife) {
  Peer peer;
  peer.Send("2\n1");
  peer.Wait(kIdle - 1ns);
  peer.connection().HandleSent(peer.now());
  peer.Wait(kIdle - 1ns);
  peer.Send("1");
  peer.Wait(kIdle - 1ns);
  EXPECT_FALSE(peer.connection().timed_out());
  peer.Wait(1ns);
  EXPECT_TRUE(peer.connection().timed_out()) << "with half a line";
}

TEST(PrimeConnectionTest, OnlyAnUnframedNumberIsWaitedForByAShutdown) {
  Peer peer;
  EXPECT_FALSE(peer.connection().awaits_pause());
  peer.Send("1");
  EXPECT_TRUE(peer.connection().awaits_pause());
  peer.Wait(kPause);
  EXPECT_FALSE(peer.connection().awaits_pause());
  peer.Send("\n1");
  EXPECT_FALSE(peer.connection().awaits_pause());
}

TEST(PrimeConnectionTest, SameInputsGiveTheSameAnswers) {
  const auto run = [] {
    Peer peer;
    std::string answers = peer.Send("12");
    answers += peer.Wait(kPause) + "|";
    answers += peer.Send("3\nx\n") + "|";
    return answers + peer.End();
  };
  EXPECT_EQ(run(), run());
}

// --- The floor ---

TEST(EchoConnectionTest, GivesBackWhatCame) {
  const PrimeConnection::Options options;
  const TimePoint now{1h};
  EchoConnection connection(&options, now);
  PrimeAnswers answers;
  connection.HandleBytes("17\nx", now, &answers);
  connection.HandleEndOfStream(&answers);
  EXPECT_EQ(answers.bytes, "17\nx");
  connection.HandleTimeout(now + options.idle_timeout - 1ns, &answers);
  EXPECT_FALSE(connection.timed_out());
  connection.HandleTimeout(now + options.idle_timeout, &answers);
  EXPECT_TRUE(connection.timed_out());
}

}  // namespace
}  // namespace ds::compute
