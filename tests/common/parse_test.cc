#include "common/base/parse.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace ds {
namespace {

using std::string_view_literals::operator""sv;

TEST(ParseDecimalTest, DigitsAreRead) {
  EXPECT_EQ(ParseDecimal("0"), 0U);
  EXPECT_EQ(ParseDecimal("7"), 7U);
  EXPECT_EQ(ParseDecimal("007"), 7U);
  EXPECT_EQ(ParseDecimal("18446744073709551615"), std::numeric_limits<std::uint64_t>::max());
}

TEST(ParseDecimalTest, AnythingElseIsRefused) {
  for (const std::string_view text :
       {""sv, " "sv, " 1"sv, "1 "sv, "+1"sv, "-1"sv, "-0"sv, "1.0"sv, "1e3"sv, "0x10"sv, "a"sv,
        "1a"sv, "1\0"sv, "\0"sv, "1\n"sv, "1,000"sv, "１"sv, "18446744073709551616"sv,
        "99999999999999999999999999"sv}) {
    EXPECT_EQ(ParseDecimal(text), std::nullopt) << '"' << EscapeBytes(text) << '"';
  }
}

TEST(EscapeBytesTest, PrintableAsciiStaysAsItIs) {
  const std::string text = " !#$%&'()*+,-./0123456789:;<=>?@AZ[]^_`az{|}~";
  EXPECT_EQ(EscapeBytes(text), text);
}

TEST(EscapeBytesTest, TheRestBecomesHexadecimal) {
  EXPECT_EQ(EscapeBytes("a\r\nb"), "a\\x0d\\x0ab");
  EXPECT_EQ(EscapeBytes("\0\x1f\x7f\x80\xff"sv), "\\x00\\x1f\\x7f\\x80\\xff");
  EXPECT_EQ(EscapeBytes("\"\\"), "\\x22\\x5c");
  EXPECT_EQ(EscapeBytes(""), "");
}

TEST(EscapeBytesTest, NoTwoInputsLookAlike) {
  EXPECT_NE(EscapeBytes("\\x00"), EscapeBytes("\0"sv));
}

TEST(ToHexTest, TwoLowerCaseDigitsPerByte) {
  EXPECT_EQ(ToHex("\0\x0f\xf0\xff"sv), "000ff0ff");
  EXPECT_EQ(ToHex(""), "");
}

TEST(TrimBlanksTest, BlanksAtBothEndsGo) {
  EXPECT_EQ(TrimBlanks("word"), "word");
  EXPECT_EQ(TrimBlanks(" \t\r\n\v\fword\f\v\n\r\t "), "word");
  EXPECT_EQ(TrimBlanks(" two  words "), "two  words");
}

TEST(TrimBlanksTest, OnlyBlanksBecomeNothing) {
  EXPECT_EQ(TrimBlanks(""), "");
  EXPECT_EQ(TrimBlanks(" \t\n"), "");
}

TEST(TrimBlanksTest, NulIsNoBlank) { EXPECT_EQ(TrimBlanks(" \0 "sv), "\0"sv); }

}  // namespace
}  // namespace ds
