#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/harness/run_tool.h"

namespace ds::raft {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::RunTool;
using testing::ToolResult;

ToolResult RaftSim(const std::vector<std::string>& arguments) {
  return RunTool("raft-sim", arguments, {.timeout = std::chrono::seconds(120)});
}

/// The arguments of the command that a finding names.
std::vector<std::string> Replay(const std::string& again) {
  std::istringstream words(again);
  std::vector<std::string> arguments{std::istream_iterator<std::string>(words), {}};
  EXPECT_EQ(arguments.at(0), "raft-sim");
  arguments.erase(arguments.begin());
  return arguments;
}

TEST(RaftSimTest, ACleanRunPrintsItsTotalsAndExitsWithZero) {
  const ToolResult result = RaftSim({"--seeds", "60", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  const json report = json::parse(result.out);
  EXPECT_EQ(report["runs"], 60);
  EXPECT_TRUE(report["clean"]);
  EXPECT_THAT(report["shortcomings"], IsEmpty());
  EXPECT_GE(report["totals"]["operations"], 60 * 500);
  for (const auto& [name, count] : report["totals"].items()) {
    if (name != "not_judged" && name != "not_executed") {
      EXPECT_GT(count, 0) << name;
    }
  }
}

TEST(RaftSimTest, OneSeedIsByteIdenticalWhenItIsRunAgain) {
  const std::vector<std::string> arguments = {"--first-seed", "7", "--trace"};
  const ToolResult first = RaftSim(arguments);
  EXPECT_EQ(first.exit_code, 0);
  EXPECT_THAT(first.out, HasSubstr("seed 7: clean"));
  EXPECT_EQ(first.out, RaftSim(arguments).out);
}

TEST(RaftSimTest, TheNumberOfJobsDoesNotChangeTheOutput) {
  const ToolResult one = RaftSim({"--seeds", "6", "--jobs", "1", "--json"});
  EXPECT_EQ(one.out, RaftSim({"--seeds", "6", "--jobs", "3", "--json"}).out);
}

TEST(RaftSimTest, ATotalThatIsZeroThoughItsFaultIsOnFailsTheRun) {
  // In a second of virtual time without a leader change nothing is torn.
  const ToolResult result =
      RaftSim({"--seeds", "1", "--seconds", "1", "--operations", "1", "--faults", "power-loss"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, HasSubstr("\"torn_tails\" is zero"));
}

TEST(RaftSimTest, ASeedAloneIsNotAskedForWhatItsClusterDoesNot) {
  for (const char* seed : {"2", "3", "5"}) {  // without leases, with, and some members with
    const ToolResult result = RaftSim({"--seeds", "1", "--first-seed", seed, "--faults", "none"});
    EXPECT_EQ(result.exit_code, 0) << result.out;
  }
}

TEST(RaftSimTest, APlantedBugIsFoundAndReplays) {
  const ToolResult found = RaftSim({"--seeds", "20", "--planted", "ack-before-durable", "--json"});
  EXPECT_EQ(found.exit_code, 1);
  const json report = json::parse(found.out);
  ASSERT_TRUE(report.contains("finding"));
  EXPECT_THAT(report["finding"]["violation"].get<std::string>(), HasSubstr("durability"));
  const std::string again = report["finding"]["again"];
  EXPECT_THAT(again, HasSubstr("--planted ack-before-durable"));

  // The command gives the very run that was reported: the same faults, the same violation.
  std::vector<std::string> arguments = Replay(again);
  arguments.emplace_back("--json");
  const ToolResult replay = RaftSim(arguments);
  EXPECT_EQ(replay.exit_code, 1);
  const json repeated = json::parse(replay.out);
  EXPECT_EQ(repeated["violation"], report["finding"]["violation"]);
  EXPECT_EQ(repeated["faults"], report["finding"]["faults"]);

  const ToolResult text = RaftSim({"--seeds", "20", "--planted", "ack-before-durable"});
  EXPECT_THAT(text.out, HasSubstr("the planted bug ack-before-durable was found"));
  EXPECT_THAT(text.out, HasSubstr("again: raft-sim --first-seed"));
}

TEST(RaftSimTest, AFindingOfTheHistoryReplaysAsFarAsItIsNeeded) {
  const ToolResult found =
      RaftSim({"--first-seed", "158", "--seeds", "3", "--planted", "lease-after-pause", "--json"});
  const json finding = json::parse(found.out)["finding"];
  EXPECT_THAT(finding["violation"].get<std::string>(), HasSubstr("linearizability"));
  EXPECT_GT(finding["faults_before"], finding["faults"].size());
  EXPECT_FALSE(finding["reduction_broken_off"]);
  EXPECT_THAT(finding["again"].get<std::string>(), HasSubstr(" --until "));
  std::vector<std::string> arguments = Replay(finding["again"]);
  arguments.emplace_back("--json");
  const json replay = json::parse(RaftSim(arguments).out);
  EXPECT_EQ(replay["violation"], finding["violation"]);
  EXPECT_EQ(replay["faults"], finding["faults"]);
}

TEST(RaftSimTest, WrongCommandLinesAreUsageErrors) {
  const std::vector<std::vector<std::string>> wrong = {
      {"--faults", "quake"},
      {"--planted", "nothing"},
      {"--nodes", "0"},
      {"--seeds", "0"},
      {"--seconds", "0"},
      {"--unknown"},
      {"--svg", "x.svg"},
      {"--seeds", "-1"},
      {"--operations", "20000"},
      {"--first-seed", "4611686018427387903", "--seeds", "2"},
      {"--first-seed", "4611686018427387904", "--seeds", "1"},
      {"--fault-numbers", "1"},
      {"--until", "5"},
      {"--trials", "5"},
      {"--trace", "--fault-numbers", "1,x"},
      {"--trace", "--fault-numbers", "100000"},
  };
  for (const auto& arguments : wrong) {
    const ToolResult result = RaftSim(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments[0];
    EXPECT_THAT(result.err, HasSubstr("raft-sim: "));
    EXPECT_EQ(result.out, "");
  }
  const ToolResult result = RaftSim({"--operations", "20000"});
  EXPECT_EQ(result.err,
            "raft-sim: operations: 20000 are more than the 7400 that the clients are sure to begin "
            "in a run of 30 s\n");
}

TEST(RaftSimTest, TheReplayOfTheLastSeedIsTaken) {
  const ToolResult found = RaftSim({"--first-seed", "4611686018427387903", "--seeds", "1",
                                    "--planted", "ack-before-durable", "--json"});
  ASSERT_EQ(found.exit_code, 1) << found.err;
  const ToolResult replay = RaftSim(Replay(json::parse(found.out)["finding"]["again"]));
  EXPECT_EQ(replay.exit_code, 1) << replay.err;
  EXPECT_THAT(replay.out, HasSubstr("seed 4611686018427387903: "));
}

TEST(RaftSimTest, WhatMeansNothingBesideFigure16IsRefused) {
  const std::vector<std::vector<std::string>> meaningless = {
      {"--seeds", "5"},         {"--first-seed", "5"}, {"--nodes", "5"},
      {"--faults", "all"},      {"--seconds", "30"},   {"--operations", "5"},
      {"--jobs", "2"},          {"--trace"},           {"--planted", "vote-twice"},
      {"--fault-numbers", "1"}, {"--until", "5"},
  };
  for (std::vector<std::string> arguments : meaningless) {
    arguments.insert(arguments.end(), {"--figure16", "--trials", "2"});
    const ToolResult result = RaftSim(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments[0];
    EXPECT_THAT(result.err, HasSubstr(arguments[0]));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_EQ(result.out, "");
  }
}

TEST(RaftSimTest, ResultsThatCannotBeWrittenAreAFailure) {
  for (const char* mode :
       {"--faults none --trace", "--figure16 --trials 2", "--seeds 1 --faults none --json"}) {
    const ToolResult result = RunTool(
        "/bin/sh", {"-c", std::string("exec \"$DS_BIN_DIR/raft-sim\" ") + mode + " >/dev/full"});
    EXPECT_EQ(result.exit_code, 1) << mode;
    EXPECT_THAT(result.err, HasSubstr("write the results to stdout")) << mode;
  }
}

TEST(RaftSimTest, HelpNamesFaultsAndBugs) {
  const ToolResult result = RaftSim({"--help"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* name : {"power-loss", "vote-twice", "--figure16", "--first-seed"}) {
    EXPECT_THAT(result.out, HasSubstr(name));
  }
}

TEST(RaftSimTest, Figure16IsPrintedBesideThePapersFigures) {
  const ToolResult result = RaftSim({"--figure16", "--trials", "20"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("/ 287"));
  EXPECT_THAT(result.out, HasSubstr("12-24 ms"));
}

TEST(RaftSimTest, AGraphThatCannotBeWrittenCostsNoTrials) {
  const auto figure = [](const char* svg) {
    return RaftSim({"--figure16", "--trials", "2", "--svg", svg});
  };
  const ToolResult no_file = figure("/nowhere/x.svg");
  EXPECT_EQ(no_file.exit_code, 1);
  EXPECT_EQ(no_file.err, "raft-sim: open \"/nowhere/x.svg\": failed\n");
  EXPECT_EQ(no_file.out, "") << "it is found out before the trials";
  const ToolResult full = figure("/dev/full");
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_EQ(full.err, "raft-sim: write \"/dev/full\": failed\n");
  EXPECT_THAT(full.out, HasSubstr("12-24 ms")) << "the table is there";
}

}  // namespace
}  // namespace ds::raft
