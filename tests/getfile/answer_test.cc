#include "getfile/core/answer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ds::getfile {
namespace {

using State = AnswerParser::State;

struct Good {
  std::string head;
  AnswerStatus status;
  Dialect dialect;
  std::uint64_t length;
};

const std::vector<Good>& GoodHeads() {
  static const std::vector<Good> heads = {
      {"GETFILE OK 0\r\n\r\n", AnswerStatus::kOk, Dialect::kStandard, 0},
      {"GETFILE OK 1\r\n\r\n", AnswerStatus::kOk, Dialect::kStandard, 1},
      {"GETFILE OK 18446744073709551615\r\n\r\n", AnswerStatus::kOk, Dialect::kStandard,
       UINT64_MAX},
      {"GETFILE OK 5000000000 ", AnswerStatus::kOk, Dialect::kLegacy, 5000000000},
      {"GETFILE OK 0 ", AnswerStatus::kOk, Dialect::kLegacy, 0},
      {"GETFILE FILE_NOT_FOUND\r\n\r\n", AnswerStatus::kFileNotFound, Dialect::kStandard, 0},
      {"GETFILE ERROR\r\n\r\n", AnswerStatus::kError, Dialect::kStandard, 0},
      {"GETFILE INVALID\r\n\r\n", AnswerStatus::kInvalid, Dialect::kStandard, 0},
      {"GETFILE FILE_NOT_FOUND 0\n", AnswerStatus::kFileNotFound, Dialect::kLegacy, 0},
      {"GETFILE ERROR 0\n", AnswerStatus::kError, Dialect::kLegacy, 0},
      {"GETFILE INVALID 0\n", AnswerStatus::kInvalid, Dialect::kLegacy, 0},
  };
  return heads;
}

void ExpectParsed(const AnswerParser& parser, const Good& good) {
  ASSERT_EQ(parser.state(), State::kComplete) << good.head;
  EXPECT_EQ(parser.answer().status, good.status);
  EXPECT_EQ(parser.answer().dialect, good.dialect);
  EXPECT_EQ(parser.answer().length, good.length);
}

TEST(AnswerParserTest, HeadsOfBothDialectsAreReadAtEverySplit) {
  for (const Good& good : GoodHeads()) {
    for (std::size_t split = 0; split <= good.head.size(); ++split) {
      AnswerParser parser;
      parser.Feed(std::string_view(good.head).substr(0, split));
      EXPECT_EQ(parser.state() == State::kComplete, split == good.head.size());
      parser.Feed(std::string_view(good.head).substr(split));
      ExpectParsed(parser, good);
    }
  }
}

TEST(AnswerParserTest, BodyBytesAreNotConsumed) {
  for (const Good& good : GoodHeads()) {
    for (const char* body : {"\r\n\r\n", " ", "\n", "0", "GETFILE OK 1\r\n\r\n"}) {
      AnswerParser parser;
      EXPECT_EQ(parser.Feed(good.head + body), good.head.size()) << good.head << body;
      ExpectParsed(parser, good);
    }
  }
}

TEST(AnswerParserTest, OneBlankAfterTheLengthIsLegacyWhateverTheBodyBeginsWith) {
  for (const char* body : {"\r\n\r\n", " ", "\r\n", "GETFILE"}) {
    AnswerParser parser;
    const std::string head = "GETFILE OK 4 ";
    EXPECT_EQ(parser.Feed(head + body), head.size());
    EXPECT_EQ(parser.answer().dialect, Dialect::kLegacy);
  }
}

TEST(AnswerParserTest, FormattedAnswersAreReadBack) {
  for (const Good& good : GoodHeads()) {
    EXPECT_EQ(FormatAnswer(good.dialect, good.status, good.length), good.head);
  }
}

TEST(AnswerParserTest, TheOtherDialectIsRefusedWhenOnlyOneIsWanted) {
  for (const Good& good : GoodHeads()) {
    for (const Dialect only : {Dialect::kStandard, Dialect::kLegacy}) {
      AnswerParser parser(only);
      parser.Feed(good.head);
      EXPECT_EQ(parser.state(), only == good.dialect ? State::kComplete : State::kMalformed);
    }
  }
}

TEST(AnswerParserTest, MalformedAnswersAreRefusedWholeAndByteByByte) {
  using namespace std::string_literals;
  const std::vector<std::string> table = {
      "X",
      "HTTP/1.1 200 OK\r\n\r\n",
      "getfile OK 1\r\n\r\n",
      "GETFILE ok 1\r\n\r\n",
      "GETFILE  OK 1\r\n\r\n",
      "GETFILE OK  1\r\n\r\n",
      "GETFILE OK\r\n\r\n",
      "GETFILE OK \r\n\r\n",
      "GETFILE OK -1\r\n\r\n",
      "GETFILE OK +1\r\n\r\n",
      "GETFILE OK abc\r\n\r\n",
      "GETFILE OK 0x10\r\n\r\n",
      "GETFILE OK 1.5\r\n\r\n",
      "GETFILE OK 1e3\r\n\r\n",
      "GETFILE OK 12a\r\n\r\n",
      "GETFILE OK 18446744073709551616\r\n\r\n",
      "GETFILE OK 99999999999999999999\r\n\r\n",
      "GETFILE OK 000000000000000000001\r\n\r\n",
      "GETFILE OK 184467440737095516150\r\n\r\n",
      "GETFILE OK 18446744073709551616 ",
      "GETFILE OK 1\n\n",
      "GETFILE OK 1\r\r",
      "GETFILE OK 1\r\n\n",
      "GETFILE OK 1\r\nX",
      "GETFILE OK 1\r\n\rX",
      "GETFILE OK 1\t",
      "GETFILE OK 1\0"s,
      "GETFILE OKAY 1\r\n\r\n",
      "GETFILE FOUND 1\r\n\r\n",
      "GETFILE FILE_NOT_FOUND 5\r\n\r\n",
      "GETFILE FILE_NOT_FOUND 0\r\n\r\n",
      "GETFILE FILE_NOT_FOUND\n\n",
      "GETFILE FILE_NOT_FOUND  \r\n\r\n",
      "GETFILE FILE_NOT_FOUNDX\r\n\r\n",
      "GETFILE ERROR 1\n",
      "GETFILE ERROR 12\r\n\r\n",
      "GETFILE ERROR\r\nX",
      "GETFILE INVALID 0 ",
      "GETFILE INVALID 00\n",
      "GETFILE INVALID\0\r\n\r\n"s,
      "GETFILE GET /a\r\n\r\n",
      "GETFILE 200\r\n\r\n",
      "\r\nGETFILE OK 1\r\n\r\n",
      " GETFILE OK 1\r\n\r\n",
      "\0"s,
  };
  ASSERT_GE(table.size(), 40U);
  for (const std::string& bytes : table) {
    AnswerParser whole;
    whole.Feed(bytes);
    EXPECT_EQ(whole.state(), State::kMalformed) << bytes;
    EXPECT_FALSE(whole.malformed_because().empty());
    AnswerParser split;
    for (const char& byte : bytes) split.Feed({&byte, 1});
    EXPECT_EQ(split.state(), State::kMalformed) << bytes;
  }
}

TEST(AnswerParserTest, EndlessHeadIsRefusedEarly) {
  AnswerParser parser;
  EXPECT_LT(parser.Feed("GETFILE OK " + std::string(1U << 20U, '0')), 64U);
  EXPECT_EQ(parser.state(), State::kMalformed);
}

}  // namespace
}  // namespace ds::getfile
