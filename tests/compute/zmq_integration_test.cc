#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "tests/compute/vectors.h"
#include "tests/harness/daemon_process.h"
#include "tests/harness/eventually.h"
#include "tests/harness/loopback_lease.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/temp_dir.h"
#include "tests/harness/typed_session.h"

// zmq-server, its workers and its client as processes, among themselves and with classic peers that
// are none of ours (zmq_peer.py).

namespace ds::compute {
namespace {

using ds::testing::DaemonProcess;
using ds::testing::Eventually;
using ds::testing::kDeadline;
using ds::testing::LoopbackLease;
using ds::testing::RunTool;
using ds::testing::ToolProcess;
using ds::testing::ToolResult;
using ds::testing::TypedSession;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kPython = "/usr/bin/python3";
/// Seconds. Such a test does not wait for them, and fails earlier.
constexpr const char* kNoLimit = "600";
constexpr std::string_view kDefaultLimit = "";

std::vector<std::string> PeerArguments(std::vector<std::string> arguments) {
  const char* source =
      std::getenv("DS_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  arguments.insert(arguments.begin(),
                   std::string(source != nullptr ? source : ".") + "/tests/compute/zmq_peer.py");
  return arguments;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// Whether somebody has a connection to `host` that he has not closed, whatever its other end did.
bool HasConnectionTo(const std::string& host) {
  in_addr address{};
  CHECK(::inet_pton(AF_INET, host.c_str(), &address) == 1);
  std::ifstream table("/proc/net/tcp");
  for (std::string line, slot, local, remote, state; std::getline(table, line);) {
    std::istringstream(line) >> slot >> local >> remote >> state;
    const bool open = state == "01" || state == "08";  // ESTABLISHED, CLOSE_WAIT
    if (open && remote.starts_with(fmt::format("{:08X}:", address.s_addr))) return true;
  }
  return false;
}

/// A foreign worker or server, which runs until the test is over.
class ForeignPeer {
 public:
  explicit ForeignPeer(std::vector<std::string> arguments)
      : process_(kPython, PeerArguments(std::move(arguments))) {
    EXPECT_TRUE(process_.Start().ok());
  }
  ::testing::AssertionResult WaitFor(const std::string& text) {
    return Eventually(kDeadline, "the peer says " + text,
                      [&] { return process_.out().find(text) != std::string::npos; });
  }
  std::vector<std::string> lines() const { return Lines(process_.out()); }

 private:
  ToolProcess process_;
};

class ZmqTest : public ::testing::Test {
 protected:
  /// Not before somebody needs it: some tests have a server of their own. A slow machine may keep
  /// a worker from its answer: only tests of the time limit have one.
  void StartServer(std::vector<std::string> options = {}, std::string_view limit = kNoLimit) {
    options.insert(options.begin(),
                   {"0", "0", "0", "0", "--reliable", "0", "--metrics", "127.0.0.1:0"});
    if (limit != kDefaultLimit) {
      options.insert(options.end(), {"--answer-timeout", std::string(limit)});
    }
    server_ = std::make_unique<DaemonProcess>(
        DaemonProcess::Options{.program = "zmq-server", .arguments = std::move(options)});
    ASSERT_TRUE(server_->StartAndWaitReady().ok());
  }
  std::string In() const { return server_->Key("client_in"); }
  std::string Out() const { return server_->Key("client_out"); }
  std::unique_ptr<DaemonProcess> Worker(const std::string& program) {
    auto worker = std::make_unique<DaemonProcess>(
        DaemonProcess::Options{.program = program,
                               .arguments = {server_->Key("worker_in"), server_->Key("worker_out"),
                                             "--reliable", server_->Key("reliable")}});
    EXPECT_TRUE(worker->StartAndWaitReady().ok());
    return worker;
  }
  ToolResult Ask(const std::string& line) {
    return RunTool("zmq-client", {"--timeout", kNoLimit, In(), Out(), line});
  }
  ToolResult AskReliably(const std::string& line) {
    return RunTool("zmq-client",
                   {"--timeout", kNoLimit, "--reliable", server_->Key("reliable"), line});
  }
  ToolResult Pipe(const std::string& text) {
    return RunTool("zmq-client", {"--timeout", kNoLimit, In(), Out()}, {.stdin_text = text});
  }
  double Metric(const std::string& name) const {
    const ToolResult result =
        RunTool(kPython, PeerArguments({"metric", server_->Key("metrics"), name}));
    return result.out.empty() ? -1 : std::stod(result.out);
  }
  ::testing::AssertionResult EventuallyMetric(const std::string& name, double value) {
    return Eventually(kDeadline, fmt::format("{} is {}", name, value),
                      [&] { return Metric(name) == value; });
  }

  std::unique_ptr<DaemonProcess> server_;
};

TEST_F(ZmqTest, TheVectorsHoldOverBothServices) {
  StartServer();
  const auto prime = Worker("zmq-prime");
  const auto gcd = Worker("zmq-gcd");
  const auto vectors = ReadVectors();
  std::string lines;
  std::vector<std::string> expected;  // "": an error
  for (const auto& vector : vectors["isprime"]) {
    lines += "isprime " + vector["text"].get<std::string>() + "\n";
    expected.push_back(vector.contains("error")
                           ? ""
                           : fmt::format("{} is {}prime", vector["number"].get<std::string>(),
                                         vector["prime"].get<bool>() ? "" : "not "));
  }
  for (const auto& vector : vectors["gcd"]) {
    lines +=
        fmt::format("gcd {} {}\n", vector["a"].get<std::string>(), vector["b"].get<std::string>());
    expected.push_back(vector.contains("error") ? "" : " is " + vector["gcd"].get<std::string>());
  }
  const auto check = [&](const std::vector<std::string>& answers, bool with_errors) {
    std::size_t next = 0;
    for (const std::string& want : expected) {
      if (want.empty() && !with_errors) continue;
      ASSERT_LT(next, answers.size());
      const std::string& answer = answers[next++];
      if (want.empty()) {
        EXPECT_THAT(answer, StartsWith("error: "));
      } else {
        EXPECT_TRUE(answer.ends_with(want)) << answer << ", not " << want;
      }
    }
    EXPECT_EQ(next, answers.size());
  };
  const ToolResult classic = Pipe(lines);
  EXPECT_EQ(classic.exit_code, 1);  // some were refused, each by its answer
  EXPECT_EQ(classic.err, "");
  check(Lines(classic.out), true);
  const ToolResult reliable =
      RunTool("zmq-client", {"--timeout", kNoLimit, "--reliable", server_->Key("reliable")},
              {.stdin_text = lines});
  EXPECT_EQ(reliable.exit_code, 1);  // some were refused, each on stderr
  check(Lines(reliable.out), false);
}

TEST_F(ZmqTest, AForeignClientIsServed) {
  StartServer({"--echo-commands"});
  const auto prime = Worker("zmq-prime");
  const auto gcd = Worker("zmq-gcd");
  const ToolResult client = RunTool(kPython, PeerArguments({"client", In(), Out(), "hello world",
                                                            "isprime 15492781", "gcd 12 18"}));
  EXPECT_THAT(Lines(client.out), ElementsAre("hello world", "isprime 15492781", "15492781 is prime",
                                             "gcd 12 18", "gcd for 12 18 is 6"))
      << client.err;
}

TEST_F(ZmqTest, ForeignWorkersServe) {
  StartServer();
  ForeignPeer prime({"worker", server_->Key("worker_in"), server_->Key("worker_out"), "isprime"});
  ForeignPeer gcd({"worker", server_->Key("worker_in"), server_->Key("worker_out"), "gcd", "2"});
  ASSERT_TRUE(prime.WaitFor("READY"));
  ASSERT_TRUE(gcd.WaitFor("READY"));
  const ToolResult client = Pipe("isprime 0013\ngcd 12 18\nisprime 15\ngcd 7 21\nend\n");
  EXPECT_THAT(Lines(client.out), ElementsAre("13 is prime", "gcd for 12 18 is 6", "15 is not prime",
                                             "gcd for 7 21 is 7", "end"));
  EXPECT_TRUE(prime.WaitFor("isprime 15\n"));
  EXPECT_THAT(prime.lines(), ElementsAre("READY", "isprime 13", "isprime 15"));
}

TEST_F(ZmqTest, OurWorkersAndClientServeAForeignBroker) {
  for (const char* echo : {"", "echo"}) {
    ForeignPeer broker({"server", echo});
    ASSERT_TRUE(broker.WaitFor("\n"));
    std::istringstream ready(broker.lines()[0].substr(6));
    std::string in, out, worker_in, worker_out;
    ready >> in >> out >> worker_in >> worker_out;
    DaemonProcess prime({.program = "zmq-prime", .arguments = {worker_in, worker_out}});
    DaemonProcess gcd({.program = "zmq-gcd", .arguments = {worker_in, worker_out}});
    ASSERT_TRUE(prime.StartAndWaitReady().ok());
    ASSERT_TRUE(gcd.StartAndWaitReady().ok());
    ASSERT_TRUE(broker.WaitFor("SUBSCRIBED 2"));
    EXPECT_EQ(RunTool("zmq-client", {"--timeout", kNoLimit, in, out, "hello"}).out, "hello\n");
    const ToolResult client = RunTool("zmq-client", {"--timeout", kNoLimit, in, out},
                                      {.stdin_text = "isprime 7\ngcd 12 18\nisprime x\n"});
    if (*echo == '\0') {
      EXPECT_THAT(client.out, StartsWith("7 is prime\ngcd for 12 18 is 6\nerror: isprime x: "));
    } else {
      EXPECT_THAT(client.out,
                  StartsWith("isprime 7\n7 is prime\ngcd 12 18\ngcd for 12 18 is 6\nisprime x\n"));
    }
    EXPECT_EQ(client.exit_code, 1) << client.err;
  }
}

TEST_F(ZmqTest, APipedSessionFailsIfAnAnswerIsAnError) {
  StartServer({}, "0.1");
  for (const auto& [line, code] : std::vector<std::pair<std::string, int>>{
           {"gcd 12", 1}, {"isprime 7", 1}, {"hello", 0}, {"error: hello", 0}}) {
    const ToolResult session = Pipe(line + "\nend\n");
    EXPECT_EQ(session.exit_code, code) << session.out;
    EXPECT_EQ(session.err, "");
  }
  EXPECT_EQ(Ask("error: hello").out, "error: hello\n");
}

TEST_F(ZmqTest, AMissingWorkerIsAnErrorAndTheServerGoesOn) {
  StartServer({}, kDefaultLimit);
  const ToolResult missing = Ask("isprime 7");
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_EQ(missing.err, "zmq-client: isprime 7: there is no worker for isprime\n");
  EXPECT_EQ(Ask("hello").out, "hello\n");
  const auto prime = Worker("zmq-prime");
  // It has a second for an answer, which a slow machine may not keep.
  EXPECT_TRUE(Eventually(kDeadline, "the worker answers",
                         [&] { return Ask("isprime 7").out == "7 is prime\n"; }));
}

TEST_F(ZmqTest, ASilentWorkersLateAnswersAreTakenForNoOthers) {
  StartServer({}, "3");
  const auto prime = Worker("zmq-prime");
  const auto gcd = Worker("zmq-gcd");
  prime->Pause();
  EXPECT_EQ(Pipe("isprime 7\ngcd 4 6\n").out,
            "error: isprime 7: no worker has answered within 3 s\ngcd for 4 6 is 2\n");
  prime->Resume();
  ASSERT_TRUE(EventuallyMetric("zmq_classic_dropped_answers_total", 1));
  EXPECT_EQ(Pipe("isprime 9\nisprime 7\n").out, "9 is not prime\n7 is prime\n");
}

TEST_F(ZmqTest, AWorkerKilledInMidRequestIsAnErrorInTheClassicService) {
  StartServer({}, kDefaultLimit);
  const auto prime = Worker("zmq-prime");
  prime->Pause();
  ToolProcess client("zmq-client", {"--timeout", kNoLimit, In(), Out(), "isprime 7"});
  ASSERT_TRUE(client.Start().ok());
  ASSERT_TRUE(EventuallyMetric("zmq_classic_requests_total", 1));
  prime->Kill();
  const ToolResult result = client.Wait();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("isprime 7: no worker has answered within 1 s"));
  const auto next = Worker("zmq-prime");
  EXPECT_TRUE(Eventually(kDeadline, "the next worker answers in time",
                         [&] { return Ask("isprime 7").out == "7 is prime\n"; }));
}

TEST_F(ZmqTest, AWorkerKilledInMidRequestIsReplacedInTheReliableService) {
  StartServer();
  const auto first = Worker("zmq-prime");
  first->Pause();
  ToolProcess client("zmq-client", {"--timeout", kNoLimit, "--reliable", server_->Key("reliable"),
                                    "isprime", "7"});
  ASSERT_TRUE(client.Start().ok());
  ASSERT_TRUE(EventuallyMetric("zmq_reliable_requests_total", 1));
  first->Kill();
  const auto second = Worker("zmq-prime");
  const ToolResult result = client.Wait();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "7 is prime\n");
  EXPECT_EQ(Metric("zmq_reliable_answered_total"), 1);
}

TEST_F(ZmqTest, ASleepingWorkerIsReplacedAndItsLateResultCountsForNothing) {
  StartServer();
  const auto first = Worker("zmq-prime");
  first->Pause();
  ToolProcess client("zmq-client", {"--timeout", kNoLimit, "--reliable", server_->Key("reliable"),
                                    "isprime", "7"});
  ASSERT_TRUE(client.Start().ok());
  ASSERT_TRUE(EventuallyMetric("zmq_reliable_requests_total", 1));
  const auto second = Worker("zmq-prime");
  EXPECT_EQ(client.Wait().out, "7 is prime\n");
  first->Resume();
  ASSERT_TRUE(EventuallyMetric("zmq_reliable_workers", 2));  // it has said READY again
  EXPECT_EQ(Metric("zmq_reliable_answered_total"), 1);
  EXPECT_EQ(AskReliably("isprime 9").out, "9 is not prime\n");
}

TEST_F(ZmqTest, OfTwoEqualWorkersOneAnswerIsPublished) {
  StartServer();
  const auto first = Worker("zmq-prime");
  const auto second = Worker("zmq-prime");
  std::string lines;
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    lines += "isprime 13\n";
    expected += "13 is prime\n";
  }
  EXPECT_EQ(Pipe(lines + "end\n").out, expected + "end\n");
  ASSERT_TRUE(EventuallyMetric("zmq_classic_dropped_answers_total", 100));
}

TEST_F(ZmqTest, NoClientLosesItsFirstAnswer) {
  StartServer();
  const auto prime = Worker("zmq-prime");
  for (int i = 0; i < 50; ++i) EXPECT_EQ(Ask("isprime 7").out, "7 is prime\n") << i;
}

TEST_F(ZmqTest, WrongOperandsAreAnError) {
  StartServer();
  for (const ToolResult& result : {Ask("gcd 1 x"), AskReliably("gcd 1 x")}) {
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.err, "zmq-client: gcd 1 x: \"x\" is not a number\n");
  }
}

TEST_F(ZmqTest, OptionsStandAnywhereAndBehindTwoDashesAllIsText) {
  StartServer();
  const auto ask = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"--timeout", kNoLimit, In(), Out()});
    return RunTool("zmq-client", words).out;
  };
  EXPECT_EQ(ask({"[a,b]", "--json"}), "{\"answer\":\"[a,b]\",\"error\":false}\n");
  EXPECT_EQ(ask({"--json", "hello"}), "{\"answer\":\"hello\",\"error\":false}\n");
  EXPECT_EQ(ask({"--", "--json", "-7"}), "--json -7\n");
  EXPECT_EQ(ask({"-7"}), "-7\n");
  EXPECT_EQ(ask({"--json", "error: hello"}), "{\"answer\":\"error: hello\",\"error\":false}\n");
}

TEST_F(ZmqTest, AnAnswerThatCannotBePrintedIsAFailure) {
  StartServer();
  for (const auto& [output, why] : std::vector<std::pair<std::string, std::string>>{
           {" >&-", "Bad file descriptor"}, {" >/dev/full", "No space left on device"}}) {
    for (const char* words : {" hello", " --json hello", ""}) {
      const ToolResult result = RunTool(
          "/bin/sh",
          {"-c",
           fmt::format("exec \"$DS_BIN_DIR/zmq-client\" {} {}{}{}", In(), Out(), words, output)},
          {.stdin_text = "isprime x\nhello\n"});
      EXPECT_EQ(result.exit_code, 1) << words << output;
      // A session ends at a flush that fails, which leaves no reason behind.
      const std::string said = words[0] == '\0' ? "not all of it was taken" : why;
      EXPECT_EQ(result.err, "zmq-client: write to standard output: " + said + "\n") << words;
    }
  }
}

TEST_F(ZmqTest, HostilePeersHurtNobody) {
  StartServer();
  const auto prime = Worker("zmq-prime");
  const ToolResult peer =
      RunTool(kPython, PeerArguments({"hostile", In(), server_->Key("worker_in"),
                                      server_->Key("worker_out"), server_->Key("reliable")}));
  EXPECT_EQ(peer.exit_code, 0) << peer.err;
  EXPECT_THAT(peer.out, HasSubstr("DONE"));
  EXPECT_EQ(Ask("isprime 7").out, "7 is prime\n");
  EXPECT_EQ(AskReliably("isprime 7").out, "7 is prime\n");
  EXPECT_GE(Metric("zmq_reliable_malformed_total"), 6);
  EXPECT_GE(Metric("zmq_classic_refused_total"), 3);
  EXPECT_LT(server_->resident_bytes(), 200U << 20U);
}

TEST_F(ZmqTest, AThousandClientsAreServed) {
  StartServer();
  const auto prime = Worker("zmq-prime");
  const ToolResult clients = RunTool(kPython, PeerArguments({"many", In(), Out(), "1000"}));
  EXPECT_EQ(clients.out, "1000 clients served\n") << clients.err;
}

TEST_F(ZmqTest, AKilledBrokerIsFoundAgain) {
  const LoopbackLease lease(1);
  const auto at = [&](int port) { return fmt::format("{}:{}", lease.address(0), port); };
  DaemonProcess prime(
      {.program = "zmq-prime", .arguments = {at(5557), at(5558), "--reliable", at(5559)}});
  ASSERT_TRUE(prime.Start().ok());  // before there is a broker
  server_ = std::make_unique<DaemonProcess>(
      DaemonProcess::Options{.program = "zmq-server",
                             .arguments = {at(5555), at(5556), at(5557), at(5558), "--reliable",
                                           at(5559), "--answer-timeout", "3"}});
  ASSERT_TRUE(server_->StartAndWaitReady().ok());
  ASSERT_TRUE(prime.WaitReady().ok());
  EXPECT_EQ(Ask("isprime 7").out, "7 is prime\n");

  server_->Kill();
  ToolProcess client("zmq-client", {"--timeout", kNoLimit, "--reliable", at(5559), "isprime", "9"});
  ASSERT_TRUE(client.Start().ok());
  ASSERT_TRUE(server_->StartAndWaitReady().ok());
  EXPECT_EQ(client.Wait().out, "9 is not prime\n");
  EXPECT_TRUE(Eventually(kDeadline, "the worker is back",
                         [&] { return Ask("isprime 7").out == "7 is prime\n"; }));
}

TEST_F(ZmqTest, ASessionLosesNoAnswerToTheFirstLineAfterItsBrokerWasKilled) {
  const LoopbackLease lease(1);
  const auto at = [&](int port) { return fmt::format("{}:{}", lease.address(0), port); };
  server_ = std::make_unique<DaemonProcess>(DaemonProcess::Options{
      .program = "zmq-server", .arguments = {at(5555), at(5556), at(5557), at(5558)}});
  ASSERT_TRUE(server_->StartAndWaitReady().ok());
  const auto session =
      TypedSession::Start({.program = "zmq-client",
                           .arguments = {"--timeout", kNoLimit, at(5555), at(5556)},
                           .kind = TypedSession::Kind::kPipe});
  ASSERT_TRUE(session.ok());
  // Both connections come back by themselves, in any order.
  for (int round = 0; round < 20; ++round) {
    const std::string line = fmt::format("line {}\n", round);
    (*session)->Type(line);
    ASSERT_TRUE((*session)->See(line)) << (*session)->unseen();
    server_->Kill();
    ASSERT_TRUE(Eventually(kDeadline, "the client has seen it",
                           [&] { return !HasConnectionTo(lease.address(0)); }));
    ASSERT_TRUE(server_->StartAndWaitReady().ok());
  }
  (*session)->CloseInput();
  EXPECT_EQ((*session)->Wait(), 0);
}

TEST_F(ZmqTest, PeersThatSubscribeAndUnsubscribeForEverKeepNobodyWaiting) {
  StartServer();
  const auto prime = Worker("zmq-prime");
  ForeignPeer flood({"flood", Out(), server_->Key("worker_in")});
  ASSERT_TRUE(flood.WaitFor("FLOODING"));
  EXPECT_EQ(AskReliably("isprime 7").out, "7 is prime\n");
  EXPECT_EQ(server_->Terminate(), 0);
}

TEST_F(ZmqTest, NoRequestIsLostOnItsWayToAWorkerThatJoinsLate) {
  StartServer({}, kDefaultLimit);
  const ToolResult peer =
      RunTool(kPython, PeerArguments({"held", In(), Out(), server_->Key("worker_in")}));
  EXPECT_THAT(peer.out, HasSubstr("DONE")) << peer.err;
}

TEST_F(ZmqTest, AReliableClientWaitsAsLongAsItIsTold) {
  const testing::LoopbackLease lease(1);
  const std::string nobody = lease.address(0) + ":5559";
  const ToolResult result =
      RunTool("zmq-client", {"--timeout", "0.3", "--reliable", nobody, "isprime 7"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("no answer within 0.3 s"));
}

TEST_F(ZmqTest, AWorkerThatIsToldToEndAnswersWhatHasArrived) {
  StartServer();
  const auto prime = Worker("zmq-prime");
  prime->Pause();
  EXPECT_EQ(RunTool(kPython, PeerArguments({"lines", In(), "5000"})).out, "SENT\n");
  prime->Signal(SIGTERM);
  prime->Resume();
  EXPECT_TRUE(prime->Wait().Exited(0));
  // In time or not.
  EXPECT_TRUE(Eventually(kDeadline, "all answers have come", [&] {
    return Metric("zmq_classic_answered_total") + Metric("zmq_classic_dropped_answers_total") ==
           5000;
  }));
}

TEST_F(ZmqTest, AWorkerWhoseBrokerSpeaksAnotherVersionNowEndsWithAFailure) {
  const LoopbackLease lease(1);
  const auto at = [&](int port) { return fmt::format("{}:{}", lease.address(0), port); };
  server_ = std::make_unique<DaemonProcess>(DaemonProcess::Options{
      .program = "zmq-server",
      .arguments = {at(5555), at(5556), at(5557), at(5558), "--reliable", at(5559)}});
  ASSERT_TRUE(server_->StartAndWaitReady().ok());
  DaemonProcess prime({.program = "zmq-prime", .arguments = {"--reliable", at(5559)}});
  ASSERT_TRUE(prime.StartAndWaitReady().ok());
  server_->Kill();
  ForeignPeer broker({"newer", at(5559)});
  EXPECT_TRUE(prime.Wait().Exited(1));
  EXPECT_THAT(prime.stderr_text(), HasSubstr("it speaks another version"));
}

TEST_F(ZmqTest, CtrlCEndsAClientThatWaits) {
  const LoopbackLease lease(1);
  ToolProcess client("zmq-client",
                     {"--timeout", "600", lease.address(0) + ":1", lease.address(0) + ":2", "x"});
  ASSERT_TRUE(client.Start().ok());
  // Until BeginWork() Ctrl+C ends it without a word.
  ASSERT_TRUE(Eventually(kDeadline, "the client catches signals", [&] {
    std::ifstream status(fmt::format("/proc/{}/status", client.pid()));
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("SigBlk:")) return (std::stoull(line.substr(8), nullptr, 16) & 2) != 0;
    }
    return false;
  }));
  client.Signal(SIGINT);
  const ToolResult result = client.Wait();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_EQ(result.out, "Terminating client\n");
}

TEST_F(ZmqTest, AtATerminalThereIsAPromptAndCtrlCEndsIt) {
  StartServer();
  const auto prime = Worker("zmq-prime");
  const ds::testing::TempDir home;
  const char* bin = std::getenv("DS_BIN_DIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  ASSERT_NE(bin, nullptr);
  const ToolResult terminal =
      RunTool(kPython, PeerArguments({"terminal", std::string(bin) + "/zmq-client", In(), Out()}),
              {.environment = {{"XDG_STATE_HOME", home.path()}, {"TERM", "xterm"}}});
  EXPECT_EQ(terminal.out, "130\n") << terminal.err;
}

TEST_F(ZmqTest, WhoIsMissingIsNamed) {
  const LoopbackLease lease(1);
  const std::string address = lease.address(0) + ":1";
  const ToolResult client = RunTool("zmq-client", {"--timeout", "0.1", address, address, "x"});
  EXPECT_EQ(client.exit_code, 1);
  EXPECT_THAT(client.err, HasSubstr("connect to " + address + ": no ZeroMQ broker there"));
  const ToolResult worker = RunTool("zmq-prime", {address, address, "--start-timeout", "0.1"});
  EXPECT_EQ(worker.exit_code, 1);
  EXPECT_THAT(worker.err, HasSubstr("connect to the broker at " + address));
}

TEST_F(ZmqTest, UsageErrorsAreFoundBeforeAnything) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> usages = {
      {"zmq-server", {"0.0.0.0:0", "0", "0", "0"}},
      {"zmq-server", {"0", "0", "0", "0", "--reliable", "0.0.0.0:0"}},
      {"zmq-server", {"0", "0", "0", "65536"}},
      {"zmq-server", {"0", "0", "0", "x"}},
      {"zmq-server", {"--listen", "127.0.0.1:0"}},
      {"zmq-prime", {}},
      {"zmq-prime", {"5557"}},
      {"zmq-gcd", {"5557", "0"}},
      {"zmq-client", {"5555"}},
      {"zmq-client", {"5555", "x y"}},
      {"zmq-client", {"5555", "5556", "isprime", "7", "--jsno"}},
  };
  for (const auto& [program, arguments] : usages) {
    EXPECT_EQ(RunTool(program, arguments).exit_code, 2)
        << program << " " << ::testing::PrintToString(arguments);
  }
  StartServer();
  const ToolResult second = RunTool("zmq-server", {In(), "0", "0", "0"});
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_THAT(second.err, HasSubstr("ddress already in use"));
}

}  // namespace
}  // namespace ds::compute
