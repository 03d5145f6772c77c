#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "tests/compute/prime_programs.h"
#include "tests/compute/vectors.h"
#include "tests/harness/eventually.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/temp_dir.h"

namespace ds::compute {
namespace {

using testing::Eventually;
using ::testing::HasSubstr;
using testing::kDeadline;
using testing::RawPeer;
using testing::RunTool;
using ::testing::StartsWith;
using testing::TempDir;
using testing::ToolProcess;
using testing::ToolResult;
using End = RawPeer::End;

constexpr std::string_view kDefaultResults =
    "15492781 is prime\n15492787 is prime\n15492803 is prime\n15492811 is prime\n"
    "15492810 is not prime\n15492833 is prime\n15492859 is prime\n15502547 is prime\n"
    "15520301 is prime\n15527509 is prime\n15522343 is not prime\n1550784 is not prime\n";

std::string Session(const std::string& server, std::string_view results) {
  return fmt::format("Connected to {}\n{}Completed\n", server, results);
}

/// Sends lines and reads their answers.
void ExpectAnswers(RawPeer& peer, std::string_view lines, std::string_view answers) {
  ASSERT_TRUE(peer.Send(lines));
  EXPECT_EQ(peer.Read(answers.size()).bytes, answers);
}

// --- The classic session ---

TEST(PrimeProgramsTest, TheClientAsksItsListByDefaultOnEitherWire) {
  PrimeServer server;
  const std::string expected = Session(server.address(), kDefaultResults);
  for (const auto& flags : {std::vector<std::string>{}, {"--pipeline"}}) {
    std::vector<std::string> arguments = {server.address()};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const ToolResult result = RunTool("prime-client", arguments);
    EXPECT_EQ(result.out, expected);
    EXPECT_EQ(result.err, "");
    EXPECT_EQ(result.exit_code, 0);
  }
}

TEST(PrimeProgramsTest, TheVectorsHoldOnEitherWire) {
  PrimeServer server;
  std::vector<std::string> numbers;
  std::string expected;
  std::size_t errors = 0;
  const auto vectors = ReadVectors();
  ASSERT_GE(vectors["isprime"].size(), 50U);
  for (const auto& vector : vectors["isprime"]) {
    const std::string text = vector["text"];
    // An argument cannot hold a NUL, and the lock-step form takes 20 ms for each.
    if (text.find('\0') != std::string::npos) continue;
    numbers.push_back(text);
    if (vector.contains("error")) {
      ++errors;
      continue;
    }
    expected += fmt::format("{} is {}prime\n", vector["number"].get<std::string>(),
                            vector["prime"].get<bool>() ? "" : "not ");
  }
  for (const bool pipeline : {true, false}) {
    std::vector<std::string> arguments = {server.address()};
    if (pipeline) arguments.emplace_back("--pipeline");
    arguments.emplace_back("--");
    arguments.insert(arguments.end(), numbers.begin(), numbers.end());
    const ToolResult result = RunTool("prime-client", arguments);
    EXPECT_EQ(result.out, Session(server.address(), expected));
    EXPECT_EQ(static_cast<std::size_t>(std::count(result.err.begin(), result.err.end(), '\n')),
              errors)
        << result.err;
    EXPECT_EQ(result.exit_code, errors > 0 ? 1 : 0);
  }
}

TEST(PrimeProgramsTest, TheServerPrintsItsLines) {
  PrimeServer server;
  RawPeer peer = server.Connect();
  const std::string name = fmt::format("127.0.0.1:{}", peer.local_port());
  ExpectAnswers(peer, "7\n", "is prime\n");
  peer.Close();
  ASSERT_TRUE(Eventually(kDeadline, "the peer is gone",
                         [&] { return server.LinesBeginningWith("Disconnected " + name) == 1; }));
  EXPECT_EQ(server.LinesBeginningWith("Connected " + name), 1U);
  EXPECT_EQ(server.process().Terminate(), 0);
  const auto lines = server.process().stdout_lines();
  ASSERT_GE(lines.size(), 2U);
  EXPECT_EQ(lines[lines.size() - 2], "Shutting down");
  EXPECT_EQ(lines.back(), "Done");
}

// --- Foreign peers ---

TEST(PrimeProgramsTest, AClassicClientIsAnsweredWithoutNewlines) {
  PrimeServer server;
  RawPeer peer = server.Connect();
  for (int round = 0; round < 3; ++round) {
    ExpectAnswers(peer, "15492781", "is prime");
    ExpectAnswers(peer, "15492810", "is not prime");
    ExpectAnswers(peer, "seven", "error: \"seven\" is not a number");
  }
  peer.ShutdownWrite();
  const auto rest = peer.ReadToEnd();
  EXPECT_EQ(rest.bytes, "");
  EXPECT_EQ(rest.end, End::kClosed);
}

TEST(PrimeProgramsTest, ClassicServersAreUnderstoodHoweverTheySend) {
  for (const auto answers : {ClassicServer::Answers::kWhole, ClassicServer::Answers::kByteByByte,
                             ClassicServer::Answers::kNulEnded}) {
    ClassicServer server(answers);
    const ToolResult result = RunTool("prime-client", {server.address()});
    EXPECT_EQ(result.out, Session(server.address(), kDefaultResults));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const auto& received = server.EndAndTakeReceived();
    ASSERT_EQ(received.size(), 12U) << "one recv for a number";
    EXPECT_EQ(received.front(), "15492781") << "bare";
  }
}

TEST(PrimeProgramsTest, AServerThatIsNoneIsSaidToBeNone) {
  PrimeServer server({"--echo"});
  const ToolResult result = RunTool("prime-client", {server.address(), "7"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("not an answer of a prime server: \"7\""));
}

// --- Segments ---

TEST(PrimeProgramsTest, ManyNumbersInOneSegmentGetAsManyLinesInOrder) {
  PrimeServer server;
  RawPeer peer = server.Connect();
  std::string numbers;
  std::string answers;
  for (int i = 0; i < 5000; ++i) {
    numbers += i % 3 == 0 ? "15492781\r\n" : i % 3 == 1 ? " 4 \n" : "\nx\n";
    answers += i % 3 == 0   ? "is prime\n"
               : i % 3 == 1 ? "is not prime\n"
                            : "error: \"x\" is not a number\n";
  }
  ExpectAnswers(peer, numbers, answers);
  EXPECT_EQ(server.Metric("prime_answers_total{answer=\"prime\"}"), 1667);
  EXPECT_EQ(server.Metric("prime_answers_total{answer=\"not_prime\"}"), 1667);
  EXPECT_EQ(server.Metric("prime_answers_total{answer=\"error\"}"), 1666);
}

TEST(PrimeProgramsTest, LinesMayComeByteByByte) {
  PrimeServer server;
  RawPeer peer = server.Connect();
  ASSERT_TRUE(peer.SendSlowly("\n15492781\n18446744073709551557\r\n"));
  EXPECT_EQ(peer.Read(18).bytes, "is prime\nis prime\n");
}

TEST(PrimeProgramsTest, AHalfClosedPeerGetsAllItsAnswers) {
  PrimeServer server;
  for (const auto& [sent, answers] : {std::pair{"4\n7", "is not prime\nis prime\n"},
                                      std::pair{"7", "is prime"}, std::pair{"", ""}}) {
    RawPeer peer = server.Connect();
    ASSERT_TRUE(peer.Send(sent));
    peer.ShutdownWrite();
    const auto received = peer.ReadToEnd();
    EXPECT_EQ(received.bytes, answers);
    EXPECT_EQ(received.end, End::kClosed);
  }
}

// --- Many, idle, hostile ---

TEST(PrimeProgramsTest, AThousandClientsAtOnceAreServed) {
  PrimeServer server;
  std::vector<RawPeer> peers;
  for (int i = 0; i < 1000; ++i) peers.push_back(server.Connect());
  for (RawPeer& peer : peers) ASSERT_TRUE(peer.Send("15492781\n4\n"));
  for (RawPeer& peer : peers) EXPECT_EQ(peer.Read(22).bytes, "is prime\nis not prime\n");
  EXPECT_EQ(server.Metric("prime_connections_open"), 1000);
  peers.clear();
  EXPECT_TRUE(Eventually(kDeadline, "all are gone",
                         [&] { return server.Metric("prime_connections_open") == 0; }));
}

TEST(PrimeProgramsTest, MoreIdleClientsThanWorkersHoldUpNobody) {
  PrimeServer server({"--workers", "1"});
  std::vector<RawPeer> idle;
  for (int i = 0; i < 50; ++i) {
    idle.push_back(server.Connect());
    EXPECT_TRUE(idle.back().Send(i % 2 == 0 ? "2\n15492" : ""));  // half of them: half a line
  }
  EXPECT_EQ(RunTool("prime-client", {server.address(), "15492781"}).exit_code, 0);
  ExpectAnswers(idle[0], "781\n", "is prime\nis prime\n");
}

TEST(PrimeProgramsTest, BusyClientsHoldUpNobody) {
  PrimeServer server({"--workers", "1"});
  std::vector<RawPeer> busy;
  std::string flood;
  while (flood.size() < 60'000) flood += "18446744073709551557\n";
  for (int i = 0; i < 8; ++i) {
    busy.push_back(server.Connect());
    ASSERT_TRUE(busy.back().Send(flood));
  }
  RawPeer peer = server.Connect();
  ExpectAnswers(peer, "7\n", "is prime\n");
  for (RawPeer& other : busy) EXPECT_EQ(other.Read(9).bytes, "is prime\n");
}

TEST(PrimeProgramsTest, GarbageIsAnsweredWithErrorsAndTheConnectionLives) {
  PrimeServer server;
  RawPeer peer = server.Connect();
  std::string garbage;
  for (int i = 0; i < 100'000; ++i) garbage += static_cast<char>(i * 31 % 256);
  std::thread sender([&] { EXPECT_TRUE(peer.Send(garbage + "\n15492781\n")); });
  std::string received;
  while (!received.ends_with("is prime\n")) {
    const auto more = peer.Read(1);
    ASSERT_EQ(more.end, End::kOpen);
    received += more.bytes;
  }
  sender.join();
  EXPECT_THAT(received, StartsWith("error: "));
  EXPECT_GT(server.Metric("prime_answers_total{answer=\"error\"}"), 0);
}

TEST(PrimeProgramsTest, ResetsAreCountedAndLeaveNothingBehind) {
  PrimeServer server;
  const std::size_t descriptors = server.process().open_descriptors();
  for (int i = 0; i < 50; ++i) {
    RawPeer peer = server.Connect();
    ExpectAnswers(peer, "7\n", "is prime\n");
    peer.Reset();
  }
  EXPECT_TRUE(Eventually(kDeadline, "nothing is left", [&] {
    return server.Metric("prime_connections_open") == 0 &&
           server.process().open_descriptors() <= descriptors + 1;
  }));
  EXPECT_EQ(server.Metric("prime_peers_gone_total"), 50);
}

TEST(PrimeProgramsTest, APeerThatReadsNothingCostsLittleAndIsGivenUp) {
  PrimeServer server({"--idle-timeout", "1"});
  const std::uint64_t before = server.process().resident_bytes();
  RawPeer peer = server.Connect({.receive_buffer_bytes = 4096});
  std::string flood;
  while (flood.size() < (64U << 20U)) flood += "4\n4\n4\n4\n4\n4\n4\n4\n";
  EXPECT_FALSE(peer.Send(flood)) << "the server does not read what it cannot answer";
  EXPECT_LT(server.process().resident_bytes(), before + (8U << 20U));
  EXPECT_TRUE(Eventually(kDeadline, "it is given up",
                         [&] { return server.Metric("prime_idle_timeouts_total") == 1; }));
  RawPeer other = server.Connect();
  ExpectAnswers(other, "7\n", "is prime\n");
}

TEST(PrimeProgramsTest, ASlowReaderGetsEveryAnswer) {
  PrimeServer server;
  RawPeer peer = server.Connect({.receive_buffer_bytes = 4096});
  constexpr std::size_t kNumbers = 200'000;
  std::string numbers;
  for (std::size_t i = 0; i < kNumbers; ++i) numbers += "4\n";
  std::thread sender([&] {
    EXPECT_TRUE(peer.Send(numbers));
    peer.ShutdownWrite();
  });
  std::size_t received = 0;
  for (;;) {
    const auto more = peer.Read(7777);
    received += more.bytes.size();
    if (more.end == End::kOpen) continue;
    EXPECT_EQ(more.end, End::kClosed);
    break;
  }
  sender.join();
  EXPECT_EQ(received, kNumbers * std::string_view("is not prime\n").size());
}

TEST(PrimeProgramsTest, SilentPeersAreGivenUpAfterTheIdleTimeout) {
  PrimeServer server({"--idle-timeout", "0.2"});
  server.process().Pause();  // so that all of it arrives in time
  RawPeer silent = server.Connect();
  RawPeer half = server.Connect();
  ASSERT_TRUE(half.Send("2\n12"));
  server.process().Resume();
  EXPECT_EQ(silent.ReadToEnd().end, End::kClosed);
  EXPECT_EQ(half.ReadToEnd().bytes, "is prime\n");
  EXPECT_EQ(server.Metric("prime_idle_timeouts_total"), 2);
}

TEST(PrimeProgramsTest, ConnectionsBeyondTheLimitAreToldSoAndClosed) {
  PrimeServer server({"--max-connections", "3"});
  std::vector<RawPeer> peers;
  for (int i = 0; i < 3; ++i) {
    peers.push_back(server.Connect());
    ExpectAnswers(peers.back(), "7\n", "is prime\n");
  }
  const auto refused = server.Connect().ReadToEnd();
  EXPECT_EQ(refused.bytes, "error: too many connections\n");
  EXPECT_EQ(refused.end, End::kClosed);
  EXPECT_EQ(server.Metric("prime_connections_refused_total"), 1);
  const ToolResult result = RunTool("prime-client", {server.address(), "7"});
  EXPECT_EQ(result.exit_code, 1);
  peers.pop_back();
  EXPECT_TRUE(Eventually(kDeadline, "there is room again", [&] {
    return RunTool("prime-client", {server.address(), "7"}).exit_code == 0;
  }));
}

TEST(PrimeProgramsTest, WithoutDescriptorsTheRestWaitsAndIsServed) {
  PrimeServer server({}, {.program = "", .open_files_max = 100});
  std::vector<RawPeer> peers;
  for (int i = 0; i < 90; ++i) peers.push_back(server.Connect());
  int served = 0;
  for (RawPeer& peer : peers) {
    peer.Send("7\n");
    served += peer.Read(9).bytes == "is prime\n" ? 1 : 0;
  }
  EXPECT_GE(served, 20);
  EXPECT_GT(server.Metric("prime_connections_refused_total"), 0);
}

// --- Ends ---

TEST(PrimeProgramsTest, ShutdownAnswersWhatHasArrivedAndClosesInOrder) {
  PrimeServer server;
  std::string numbers;
  for (int i = 0; i < 20'000; ++i) numbers += "4\n";
  RawPeer lines = server.Connect();
  RawPeer bare = server.Connect();
  RawPeer idle = server.Connect();
  ExpectAnswers(lines, "2\n", "is prime\n");
  ExpectAnswers(bare, "2", "is prime");
  ExpectAnswers(idle, "2", "is prime");
  server.process().Pause();  // so that all of it arrives before the signal
  ASSERT_TRUE(lines.Send(numbers));
  ASSERT_TRUE(bare.Send("7"));
  server.process().Signal(SIGTERM);
  server.process().Resume();
  const auto answers = lines.ReadToEnd();
  EXPECT_EQ(answers.bytes.size(), 20'000 * std::string_view("is not prime\n").size());
  EXPECT_EQ(answers.end, End::kClosed);
  const auto last = bare.ReadToEnd();
  EXPECT_EQ(last.bytes, "is prime");
  EXPECT_EQ(last.end, End::kClosed);
  EXPECT_EQ(idle.ReadToEnd().end, End::kClosed);
  lines.Close();
  bare.Close();
  idle.Close();
  EXPECT_TRUE(server.process().Wait().Exited(0));
}

TEST(PrimeProgramsTest, APeerThatTakesNothingIsCutOffByTheDrainTimeout) {
  PrimeServer server({"--drain-timeout", "0.5"});
  RawPeer peer = server.Connect({.receive_buffer_bytes = 4096});
  std::thread sender([&] {
    std::string flood;
    while (flood.size() < (16U << 20U)) flood += "4\n4\n4\n4\n";
    peer.Send(flood);
  });
  ASSERT_TRUE(Eventually(kDeadline, "answers are under way", [&] {
    return server.Metric("prime_answers_total{answer=\"not_prime\"}") > 10'000;
  }));
  EXPECT_EQ(server.process().Terminate(), 0);
  sender.join();
}

TEST(PrimeProgramsTest, AServerThatWasKilledStartsAgainOnItsPort) {
  PrimeServer first;
  const std::string port = std::to_string(first.process().port());
  RawPeer peer = first.Connect();
  ExpectAnswers(peer, "7\n", "is prime\n");
  first.process().Kill();
  testing::DaemonProcess second(
      {.program = "prime-server", .arguments = {"--listen", "127.0.0.1:" + port}});
  ASSERT_TRUE(second.StartAndWaitReady().ok());
  EXPECT_EQ(RunTool("prime-client", {"127.0.0.1:" + port, "7"}).exit_code, 0);
}

TEST(PrimeProgramsTest, ASecondServerOnThePortFails) {
  PrimeServer server;
  const ToolResult result = RunTool("prime-server", {"--listen", server.address()});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("(is another server running?)"));
}

TEST(PrimeProgramsTest, EveryConnectionOfACrowdIsPrinted) {
  PrimeServer server;
  for (int i = 0; i < 2000; ++i) {
    RawPeer peer = server.Connect();
    if (i % 100 == 0) ExpectAnswers(peer, "7\n", "is prime\n");
  }
  EXPECT_TRUE(Eventually(kDeadline, "every line is printed",
                         [&] { return server.LinesBeginningWith("Disconnected ") == 2000; }));
  EXPECT_EQ(server.Metric("prime_lines_lost_total"), 0);
}

// --- The client ---

TEST(PrimeClientTest, NoServerIsAClearError) {
  std::string address;
  {
    PrimeServer server;
    address = server.address();
    EXPECT_EQ(server.process().Terminate(), 0);
  }
  const ToolResult result = RunTool("prime-client", {address});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, StartsWith("prime-client: connect " + address + ": "));
  EXPECT_EQ(result.out, "");
}

TEST(PrimeClientTest, AServerThatGoesInMidRunIsAClearErrorAfterTheAnswersThatCame) {
  ClassicServer server(ClassicServer::Answers::kWhole, /*answers_max=*/2);
  const ToolResult result = RunTool("prime-client", {server.address(), "2", "4", "5", "6"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out,
            fmt::format("Connected to {}\n2 is prime\n4 is not prime\n", server.address()));
  EXPECT_THAT(result.err, HasSubstr("no answer to 5"));
}

TEST(PrimeClientTest, BadNumbersAreErrorsOfTheirOwnAndTheRestGoesOn) {
  PrimeServer server;
  const ToolResult result =
      RunTool("prime-client", {server.address(), "7", "x", "", "18446744073709551616", "-7", "+9"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, Session(server.address(), "7 is prime\n-7 is not prime\n9 is not prime\n"));
  EXPECT_EQ(result.err,
            "prime-client: \"x\" is not a number\n"
            "prime-client: \"\" is not a number\n"
            "prime-client: \"18446744073709551616\" is too large (numbers have 64 bits)\n");
}

TEST(PrimeClientTest, AFileWithBadLinesIsReadToItsEnd) {
  PrimeServer server;
  const TempDir folder;
  folder.Write("numbers", "7\r\n\n 0x7\n" + std::string(100'000, '1') + "\n  8\n11");
  for (const auto& flags : {std::vector<std::string>{}, {"--pipeline"}}) {
    std::vector<std::string> arguments = {server.address(), "--file", folder.path() + "/numbers"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const ToolResult result = RunTool("prime-client", arguments);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.out, Session(server.address(), "7 is prime\n8 is not prime\n11 is prime\n"));
    EXPECT_THAT(result.err, HasSubstr("numbers\" line 3: \"0x7\" is not a number\n"));
    EXPECT_THAT(result.err, HasSubstr("numbers\" line 4: longer than 64 bytes\n"));
  }
}

TEST(PrimeClientTest, ALargeFileStreamsThroughAPipe) {
  PrimeServer server;
  std::string numbers;
  for (int i = 0; i < 300'000; ++i) numbers += "1000003\n";
  const ToolResult result = RunTool("prime-client", {server.address(), "--file", "-", "--pipeline"},
                                    {.stdin_text = numbers});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(static_cast<std::size_t>(std::count(result.out.begin(), result.out.end(), '\n')),
            300'002U);
}

TEST(PrimeClientTest, AMissingFileIsAClearError) {
  PrimeServer server;
  const ToolResult result =
      RunTool("prime-client", {server.address(), "--file", "/nonexistent/numbers"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, StartsWith("prime-client: open \"/nonexistent/numbers\": "));
}

TEST(PrimeClientTest, JsonIsOneObjectForEachNumber) {
  PrimeServer server;
  const ToolResult result = RunTool("prime-client", {server.address(), "--json", "7", "x", "8"});
  EXPECT_EQ(result.out,
            "{\"number\":\"7\",\"prime\":true}\n"
            "{\"error\":\"\\\"x\\\" is not a number\"}\n"
            "{\"number\":\"8\",\"prime\":false}\n");
  EXPECT_EQ(result.exit_code, 1);
}

TEST(PrimeClientTest, AnAnswerThatCannotBePrintedIsAFailure) {
  PrimeServer server;
  for (const auto& [output, why] : std::vector<std::pair<std::string, std::string>>{
           {" >&-", "Bad file descriptor"}, {" >/dev/full", "No space left on device"}}) {
    const ToolResult result = RunTool(
        "/bin/sh",
        {"-c", "exec \"$DS_BIN_DIR/prime-client\" " + server.address() + " --json 7" + output});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.err, "prime-client: write to standard output: " + why + "\n");
  }
}

TEST(PrimeClientTest, CtrlCEndsItWith130) {
  PrimeServer server;
  const TempDir folder;
  std::string numbers;
  for (int i = 0; i < 100'000; ++i) numbers += "7\n";  // 20 ms each
  folder.Write("numbers", numbers);
  ToolProcess client("prime-client", {server.address(), "--file", folder.path() + "/numbers"});
  ASSERT_TRUE(client.Start().ok());
  ASSERT_TRUE(Eventually(kDeadline, "it is at work",
                         [&] { return client.out().find("7 is prime") != std::string::npos; }));
  EXPECT_TRUE(client.Signal(SIGINT));
  EXPECT_EQ(client.Wait().exit_code, 130);
}

TEST(PrimeClientTest, UsageErrorsAreFoundBeforeAnythingIsDone) {
  EXPECT_EQ(RunTool("prime-client", {}).exit_code, 2);
  EXPECT_EQ(RunTool("prime-client", {"nowhere"}).exit_code, 2);
  EXPECT_EQ(RunTool("prime-client", {"127.0.0.1:1", "7", "--file", "x"}).exit_code, 2);
  EXPECT_EQ(RunTool("prime-server", {"0", "--workers", "-1"}).exit_code, 2);
  EXPECT_EQ(RunTool("prime-server", {"--listen", "0.0.0.0:0"}).exit_code, 2);
}

// --- The load generator ---

TEST(PrimeBenchTest, ReportsALoadWithoutErrors) {
  PrimeServer server;
  PrimeServer echo({"--echo"});
  for (const auto& flags :
       {std::vector<std::string>{}, {"--depth", "16"}, {"--bare"}, {"--depth", "5000"}}) {
    for (PrimeServer* const target : {&server, &echo}) {
      std::vector<std::string> arguments = {target->address(), "--json", "-d", "0.2", "-c", "3"};
      arguments.insert(arguments.end(), flags.begin(), flags.end());
      if (target == &echo) arguments.emplace_back("--echo");
      if (target == &echo && flags == std::vector<std::string>{"--bare"}) continue;
      const ToolResult result = RunTool("prime-bench", arguments);
      EXPECT_EQ(result.exit_code, 0) << result.err;
      const auto report = nlohmann::json::parse(result.out);
      EXPECT_GT(report["requests"], 0);
      EXPECT_TRUE(report["errors"].empty());
      EXPECT_LE(report["latency_us"]["p50"], report["latency_us"]["max"]);
    }
  }
}

TEST(PrimeBenchTest, WrongAnswersAreErrors) {
  PrimeServer echo({"--echo"});
  const ToolResult result = RunTool("prime-bench", {echo.address(), "--json", "-d", "60"});
  EXPECT_EQ(result.exit_code, 1) << "and it ends at once, since no connection is left";
  EXPECT_EQ(nlohmann::json::parse(result.out)["errors"]["wrong"], 1);
}

TEST(PrimeBenchTest, CtrlCEndsItWithWhatThereIs) {
  PrimeServer server;
  ToolProcess bench("prime-bench", {server.address(), "--json", "-d", "600"});
  ASSERT_TRUE(bench.Start().ok());
  ASSERT_TRUE(Eventually(kDeadline, "it is at work", [&] {
    return server.Metric("prime_answers_total{answer=\"prime\"}") > 0;
  }));
  EXPECT_TRUE(bench.Signal(SIGINT));
  const ToolResult result = bench.Wait();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_GT(nlohmann::json::parse(result.out)["requests"], 0);
}

}  // namespace
}  // namespace ds::compute
