#include "compute/text/text_command.h"

#include <gtest/gtest.h>

#include <string>

namespace ds::compute {
namespace {

TEST(CommandTest, OneBlankAfterTheWordIsDropped) {
  EXPECT_EQ(std::get<ReverseCommand>(*ParseTextCommand("reverse a b")).text, "a b");
  EXPECT_EQ(std::get<ReverseCommand>(*ParseTextCommand("reverse  a ")).text, " a ");
  EXPECT_EQ(std::get<ReverseCommand>(*ParseTextCommand("reverse\ta")).text, "a");
  EXPECT_EQ(std::get<ReverseCommand>(*ParseTextCommand("  reverse a")).text, "a");
  EXPECT_EQ(std::get<ReverseCommand>(*ParseTextCommand("reverse")).text, "");
  EXPECT_EQ(std::get<ReverseCommand>(*ParseTextCommand("reverse ")).text, "");
  EXPECT_EQ(std::get<SplitCommand>(*ParseTextCommand("split a  b")).text, "a  b");
}

TEST(CommandTest, NumbersStandBetweenAnyBlanks) {
  EXPECT_EQ(std::get<IsPrimeCommand>(*ParseTextCommand("isprime  2\t-3 x ")).numbers,
            (std::vector<std::string>{"2", "-3", "x"}));
}

TEST(CommandTest, ALineOfBlanksIsNoCommand) {
  for (const char* line : {"", " ", "\t \t"}) {
    EXPECT_TRUE(std::holds_alternative<NoCommand>(*ParseTextCommand(line)));
  }
  EXPECT_TRUE(std::holds_alternative<ExitCommand>(*ParseTextCommand(" exit ")));
}

TEST(CommandTest, AnythingElseIsRefused) {
  for (const std::string line : {"isprime", "isprime  ", "Reverse a", "reversea", "exit 1", "-x",
                                 "reverse \xff", "split \xc3", "isprime \xff", "\xff"}) {
    EXPECT_EQ(ParseTextCommand(line).status().code(), absl::StatusCode::kInvalidArgument) << line;
  }
  EXPECT_LT(Message(ParseTextCommand(std::string(1'000'000, 'x')).status()).size(), 200U);
}

}  // namespace
}  // namespace ds::compute
