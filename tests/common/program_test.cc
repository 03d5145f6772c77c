#include "common/daemon/program.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ds::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::internal::CaptureStderr;
using ::testing::internal::CaptureStdout;
using ::testing::internal::GetCapturedStderr;
using ::testing::internal::GetCapturedStdout;

class ProgramTest : public ::testing::Test {
 protected:
  ProgramTest() {
    DescribeProgram(flags_, {.name = "x-tool", .summary = "Does x."});
    flags_.add_option("--wait", wait_, "Seconds to wait")->check(Seconds(0.5, 10));
  }

  std::optional<int> Parse(std::vector<std::string> arguments, bool with_words = false) {
    arguments.insert(arguments.begin(), "/somewhere/x-tool");
    std::vector<char*> argv;
    argv.reserve(arguments.size());
    for (std::string& argument : arguments) argv.push_back(argument.data());
    CaptureStdout();
    CaptureStderr();
    const int argc = static_cast<int>(argv.size());
    const auto code = with_words ? ParseFlagsAndWords(flags_, "x-tool", argc, argv.data(), &words_)
                                 : ParseFlags(flags_, "x-tool", argc, argv.data());
    out_ = GetCapturedStdout();
    err_ = GetCapturedStderr();
    return code;
  }

  CLI::App flags_;
  double wait_ = 1;
  std::string server_;
  std::vector<std::string> words_;
  std::string out_;
  std::string err_;
};

TEST_F(ProgramTest, GoodCommandLineGoesOn) {
  EXPECT_EQ(Parse({"--wait", "2.5"}), std::nullopt);
  EXPECT_EQ(wait_, 2.5);
  EXPECT_EQ(out_ + err_, "");
}

TEST_F(ProgramTest, HelpAndVersionAreResults) {
  EXPECT_EQ(Parse({"--help"}), kExitSuccess);
  EXPECT_THAT(out_, HasSubstr("Does x."));
  EXPECT_THAT(out_, HasSubstr("--wait"));
  EXPECT_EQ(err_, "");
}

TEST_F(ProgramTest, VersionNamesProgramAndBuild) {
  EXPECT_EQ(Parse({"--version"}), kExitSuccess);
  EXPECT_THAT(out_, ::testing::MatchesRegex("x-tool [0-9.]+ \\(.*\\)\n"));
}

TEST_F(ProgramTest, BadCommandLineIsUsageInOneLine) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--unknown"},
                                                    {"--wait"},
                                                    {"--wait", "x"},
                                                    {"--wait", "0.1"},
                                                    {"--wait", "11"},
                                                    {"surplus"}}) {
    EXPECT_EQ(Parse(arguments), kExitUsage) << arguments.back();
    EXPECT_THAT(err_, ::testing::StartsWith("x-tool: parse options: "));
    EXPECT_EQ(std::count(err_.begin(), err_.end(), '\n'), 1) << err_;
    EXPECT_EQ(out_, "");
  }
}

TEST_F(ProgramTest, OptionsStandAnywhereAmongWords) {
  flags_.add_option("SERVER", server_);
  const auto words = [&](std::vector<std::string> arguments) {
    EXPECT_EQ(Parse(std::move(arguments), /*with_words=*/true), std::nullopt) << err_;
    return words_;
  };
  EXPECT_THAT(words({"s", "a", "--wait", "3", "b"}), ElementsAre("a", "b"));
  EXPECT_EQ(wait_, 3);
  EXPECT_EQ(server_, "s");
  EXPECT_THAT(words({"s", "[a,b]", "", "-7", "-", "- x"}),
              ElementsAre("[a,b]", "", "-7", "-", "- x"));
  EXPECT_THAT(words({"s", "--", "--wait", "--"}), ElementsAre("--wait", "--"));
  EXPECT_THAT(words({"--", "s"}), ElementsAre());
  for (const char* wrong : {"--wiat", "-x", "--wiat=3"}) {
    EXPECT_EQ(Parse({"s", "a", wrong}, /*with_words=*/true), kExitUsage);
    EXPECT_EQ(err_, fmt::format("x-tool: parse options: \"{}\": no such option (see --help; "
                                "behind -- everything is text)\n",
                                wrong));
  }
}

TEST(FailWithTest, CodeOfTheStatusDecidesTheExitCode) {
  CaptureStderr();
  EXPECT_EQ(FailWith("x-tool", InvalidArgument("read \"a\": bad")), kExitUsage);
  EXPECT_EQ(FailWith("x-tool", Unavailable("connect b:\nrefused\n")), kExitFailure);
  EXPECT_EQ(GetCapturedStderr(), "x-tool: read \"a\": bad\nx-tool: connect b: refused\n");
}

}  // namespace
}  // namespace ds::daemon
