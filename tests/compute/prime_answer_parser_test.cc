#include "compute/core/prime_answer_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace ds::compute {
namespace {

using namespace std::string_view_literals;
using Kind = PrimeAnswer::Kind;

/// "P", "N", "E(text)", "M(text)" for each answer; the end of the stream ends the last one.
std::string Parse(std::string_view bytes, std::size_t cut) {
  PrimeAnswerParser parser;
  std::string found;
  const auto note = [&](const PrimeAnswer& answer) {
    switch (answer.kind) {
      case Kind::kPrime:
        found += "P";
        break;
      case Kind::kNotPrime:
        found += "N";
        break;
      case Kind::kError:
        found += "E(" + answer.text + ")";
        break;
      case Kind::kMalformed:
        found += "M(" + answer.text + ")";
        break;
    }
    return answer.kind != Kind::kMalformed;
  };
  for (std::string_view part : {bytes.substr(0, cut), bytes.substr(cut)}) {
    while (const auto answer = parser.Take(&part)) {
      if (!note(*answer)) return found;
    }
  }
  if (const auto answer = parser.End()) note(*answer);
  return found;
}

struct Stream {
  std::string_view bytes;
  std::string_view answers;
};
class PrimeAnswersTest : public ::testing::TestWithParam<Stream> {};

TEST_P(PrimeAnswersTest, AreFoundHoweverTheyAreSplit) {
  for (std::size_t cut = 0; cut <= GetParam().bytes.size(); ++cut) {
    EXPECT_EQ(Parse(GetParam().bytes, cut), GetParam().answers) << "cut at " << cut;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, PrimeAnswersTest,
    ::testing::Values(Stream{"", ""}, Stream{"is prime", "P"}, Stream{"is not prime", "N"},
                      Stream{"is prime\nis not prime\n", "PN"}, Stream{"is primeis prime", "PP"},
                      Stream{"is prime\0is not prime\0"sv, "PN"}, Stream{" is prime\r\n", "P"},
                      Stream{"error: \"x\" is not a number\nis prime\n",
                             "E(\"x\" is not a number)P"},
                      Stream{"error: too many connections\r\n", "E(too many connections)"},
                      Stream{"error: x", "E(x)"}, Stream{"error:", "E()"}));

INSTANTIATE_TEST_SUITE_P(Malformed, PrimeAnswersTest,
                         ::testing::Values(Stream{"is pr", "M(is pr)"}, Stream{"is no", "M(is no)"},
                                           Stream{"err", "M(err)"}, Stream{"IS PRIME", "M(I)"},
                                           Stream{"is  prime", "M(is  )"},
                                           Stream{"is prime!", "PM(!)"},
                                           Stream{"is\nprime", "M(is\n)"},
                                           Stream{"HTTP/1.1 400", "M(H)"},
                                           Stream{"\xff", "M(\xff)"}));

TEST(PrimeAnswerParserTest, AnEndlessErrorIsMalformedAndNotKept) {
  PrimeAnswerParser parser;
  const std::string flood = "error: " + std::string(100'000, 'x');
  std::string_view bytes = flood;
  const auto answer = parser.Take(&bytes);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->kind, Kind::kMalformed);
  EXPECT_LE(answer->text.size(), PrimeAnswerParser::kAnswerBytesMax + 1);
}

TEST(PrimeAnswerParserTest, OnlyAnErrorNeedsAPauseToEnd) {
  PrimeAnswerParser parser;
  std::string_view bytes = "is not pri";
  EXPECT_FALSE(parser.Take(&bytes));
  EXPECT_FALSE(parser.awaits_pause());
  bytes = "meerror: x";
  EXPECT_TRUE(parser.Take(&bytes));
  EXPECT_FALSE(parser.Take(&bytes));
  EXPECT_TRUE(parser.awaits_pause());
  EXPECT_EQ(parser.End()->text, "x");
  EXPECT_FALSE(parser.awaits_pause());
}

}  // namespace
}  // namespace ds::compute
