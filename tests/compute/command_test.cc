#include "compute/core/command.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/compute/vectors.h"

namespace ds::compute {
namespace {

TEST(CommandTest, TheVectorsHold) {
  const auto vectors = ReadVectors();
  for (const auto& vector : vectors["isprime"]) {
    const std::string line = "isprime " + vector["text"].get<std::string>();
    ASSERT_TRUE(IsCommandLine(line));
    const auto command = ParseCommand(line);
    EXPECT_EQ(command.ok(), !vector.contains("error")) << vector;
    if (!command.ok()) continue;
    const std::string number = vector["number"];
    EXPECT_EQ(command->Line(), "isprime " + number);
    EXPECT_EQ(command->Answer(), number + (vector["prime"] ? " is prime" : " is not prime"));
  }
  for (const auto& vector : vectors["gcd"]) {
    const auto command = ParseCommand("gcd " + vector["a"].get<std::string>() + " " +
                                      vector["b"].get<std::string>());
    EXPECT_EQ(command.ok(), !vector.contains("error")) << vector;
    if (!command.ok()) continue;
    EXPECT_TRUE(command->Answer().ends_with(" is " + vector["gcd"].get<std::string>())) << vector;
    EXPECT_EQ(ParseAnswer(command->Answer()), *command);
  }
}

TEST(CommandTest, OneWayToWriteIt) {
  EXPECT_EQ(ParseCommand("  isprime\t+007\r\n")->Line(), "isprime 7");
  EXPECT_EQ(ParseCommand("gcd -12  018")->Line(), "gcd -12 18");
  EXPECT_EQ(ParseCommand("gcd -12 018")->Answer(), "gcd for -12 18 is 6");
}

TEST(CommandTest, WhatBeginsWithAnotherWordIsNoCommand) {
  for (const char* line : {"", " ", "hello", "isprimes 7", "isprime7", "ISPRIME 7", "gcd12 3", "is",
                           "prime 7", "\x01isprime 7"}) {
    EXPECT_FALSE(IsCommandLine(line)) << line;
  }
}

TEST(CommandTest, WrongOperandsAreAnError) {
  for (const char* line : {"isprime", "isprime ", "isprime 7 8", "isprime x", "isprime 1.5", "gcd",
                           "gcd 1", "gcd 1 2 3", "gcd x 1", "gcd 1 x", "gcd 1 18446744073709551616",
                           "isprime - 7", "isprime 1 2 3 4 5 6 7 8 9"}) {
    ASSERT_TRUE(IsCommandLine(line));
    EXPECT_FALSE(ParseCommand(line).ok()) << line;
  }
}

TEST(CommandTest, AnAnswerSaysWhatItIsAbout) {
  const Command seven{Command::Kind::kIsPrime, {false, 7}};
  EXPECT_EQ(ParseAnswer("7 is prime"), seven);
  EXPECT_EQ(ParseAnswer("007 is not prime\n"), seven);
  EXPECT_EQ(ParseAnswer("gcd for 12 18 is 6"),
            (Command{Command::Kind::kGcd, {false, 12}, {false, 18}}));
  for (const char* answer :
       {"", "7", "7 is", "7 is Prime", "7 is not", "7 is prime now", "x is prime", "7 is not not",
        "gcd for 12 18 is", "gcd for 12 18 is x", "gcd for 12 is 6", "gcd of 12 18 is 6",
        "gcd for 12 18 is 6 7", "isprime 7", "error: isprime x"}) {
    EXPECT_EQ(ParseAnswer(answer), std::nullopt) << answer;
  }
}

TEST(CommandTest, TheAnswerToALineIsRecognized) {
  EXPECT_TRUE(IsAnswerTo("isprime +7", "7 is prime"));
  EXPECT_TRUE(IsAnswerTo("isprime +7", ErrorAnswer("isprime 7", "why")));
  EXPECT_TRUE(IsAnswerTo("isprime x", ErrorAnswer("isprime x", "why")));
  EXPECT_TRUE(IsAnswerTo("hello", "hello"));
  EXPECT_FALSE(IsAnswerTo("isprime 7", "isprime 7"));
  EXPECT_FALSE(IsAnswerTo("isprime 7", "17 is prime"));
  EXPECT_FALSE(IsAnswerTo("isprime 7", ErrorAnswer("isprime 77", "why")));
  EXPECT_FALSE(IsAnswerTo("hello", "hello you"));
}

TEST(CommandTest, AnErrorAboutALineIsToldFromItsEcho) {
  EXPECT_TRUE(IsErrorAbout("isprime +7", ErrorAnswer("isprime 7", "why")));
  EXPECT_TRUE(IsErrorAbout("gcd 12", ErrorAnswer("gcd 12", "why")));
  EXPECT_TRUE(IsErrorAbout("hello", ErrorAnswer("hello", "why")));
  EXPECT_FALSE(IsErrorAbout("error: hello", "error: hello"));
  EXPECT_FALSE(IsErrorAbout("isprime 7", "7 is prime"));
  EXPECT_FALSE(IsErrorAbout("isprime 7", ErrorAnswer("isprime 9", "why")));
}

TEST(CommandTest, AnErrorShowsTheLineEscapedAndCut) {
  EXPECT_EQ(ErrorAnswer(" a\x01 ", "why"), "error: a\\x01: why");
  EXPECT_LT(ErrorAnswer(std::string(100'000, '\xff'), "why").size(), 300U);
}

}  // namespace
}  // namespace ds::compute
