// text-server and text-client as their users meet them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/compute/text_server.h"
#include "tests/compute/vectors.h"
#include "tests/harness/certificates.h"
#include "tests/harness/eventually.h"
#include "tests/harness/loopback_lease.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/typed_session.h"
#include "tests/rpc/echo_server.h"

namespace ds::compute {
namespace {

using ::testing::HasSubstr;
using testing::RunTool;
using testing::ToolResult;
using testing::TypedSession;

ToolResult Ask(const std::string& server, std::vector<std::string> arguments,
               const std::string& typed = "") {
  arguments.insert(arguments.begin(), server);
  return RunTool("text-client", arguments, {.stdin_text = typed});
}

TEST(TextClientTest, OneCommandIsAnsweredAndPrinted) {
  TextServer server;
  EXPECT_EQ(Ask(server.address(), {"reverse", "hello", "world"}).out, "dlrow olleh\n");
  EXPECT_EQ(Ask(server.address(), {"reverse", "", "x"}).out, "x \n");
  EXPECT_EQ(Ask(server.address(), {"reverse"}).out, "\n");
  EXPECT_EQ(Ask(server.address(), {"reverse", "ab", "--json"}).out, "{\"text\":\"ba\"}\n");
  EXPECT_EQ(Ask(server.address(), {"reverse", "--", "--json", "--"}).out, "-- nosj--\n");
  EXPECT_EQ(Ask(server.address(), {"reverse", "[a,b]", "-", "- x"}).out, "x - - ]b,a[\n");
  EXPECT_EQ(Ask(server.address(), {"split", "a b", "", "c"}).out,
            "Number of parts: 4\na\nb\n\nc\n");
  EXPECT_EQ(Ask(server.address(), {"split"}).out, "Number of parts: 1\n\n");
  const ToolResult primes = Ask(server.address(), {"isprime", "2", "10", "-7", "+007"});
  EXPECT_EQ(primes.out, "2 is prime\n10 is not prime\n-7 is not prime\n7 is prime\n");
  EXPECT_EQ(primes.exit_code, 0) << primes.err;
  EXPECT_EQ(Ask(server.address(), {"exit"}).out, "Shutting down\n");
}

TEST(TextClientTest, ResultsAreJsonObjectsWhereTheyAreAskedFor) {
  TextServer server;
  const auto ask = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--json", server.address()});
    return RunTool("text-client", arguments).out;
  };
  EXPECT_EQ(ask({"reverse", "ab"}), "{\"text\":\"ba\"}\n");
  EXPECT_EQ(ask({"split", "a", "b"}), "{\"count\":2,\"parts\":[\"a\",\"b\"]}\n");
  EXPECT_EQ(ask({"isprime", "3", "x"}),
            "{\"number\":\"3\",\"prime\":true}\n"
            "{\"error\":\"\\\"x\\\" is not a number\",\"number\":\"x\"}\n");
}

TEST(TextClientTest, AnErrorOfOneNumberIsItsOwn) {
  TextServer server;
  const ToolResult some =
      Ask(server.address(), {"isprime", "2", "two", "18446744073709551616", "3"});
  EXPECT_EQ(some.out, "2 is prime\n3 is prime\n");
  EXPECT_EQ(some.err,
            "text-client: isprime: \"two\" is not a number\n"
            "text-client: isprime: \"18446744073709551616\" is too large (numbers have 64 "
            "bits)\n");
  EXPECT_EQ(some.exit_code, 1);
}

TEST(TextClientTest, ASessionFromAPipeAnswersLineByLine) {
  TextServer server;
  const ToolResult session = Ask(server.address(), {},
                                 "reverse  ab \n\nsplit a b\nisprime 4 5\nnonsense\n"
                                 "  reverse x\nexit\nreverse never\n");
  EXPECT_EQ(session.out,
            " ba \nNumber of parts: 2\na\nb\n4 is not prime\n5 is prime\nx\nShutting down\n");
  EXPECT_THAT(session.err, HasSubstr("\"nonsense\": no such command"));
  EXPECT_EQ(session.exit_code, 1);
  EXPECT_EQ(Ask(server.address(), {}, "").exit_code, 0);
  EXPECT_EQ(Ask(server.address(), {}, "isprime 4 5\nexit\n").exit_code, 0);
  EXPECT_EQ(Ask(server.address(), {}, "isprime 4 x\n").exit_code, 1);
}

TEST(TextClientTest, AtATerminalThereIsAPrompt) {
  TextServer server;
  const testing::TempDir home;
  auto session = TypedSession::Start({.program = "text-client",
                                      .arguments = {server.address()},
                                      .environment = {{"TERM", "xterm"}, {"HOME", home.path()}}});
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_TRUE((*session)->See("> "));
  (*session)->Type("reverse abc\n");
  EXPECT_TRUE((*session)->See("\ncba"));
  (*session)->Type("exit\n");
  EXPECT_TRUE((*session)->See("Shutting down"));
  EXPECT_EQ((*session)->Wait(), 0);
  EXPECT_THAT(home.Read(".local/state/distsys/text-client_history"), HasSubstr("reverse"));
}

TEST(TextClientTest, WhatIsWrongIsSaidInOneLine) {
  const ToolResult missing = Ask("127.0.0.1:1", {"reverse", "x"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.err, HasSubstr("text-client: reverse at 127.0.0.1:1: "));
  EXPECT_THAT(missing.err, HasSubstr("Connection refused"));
  EXPECT_EQ(Ask("127.0.0.1:1", {}, "reverse x\n").exit_code, 1);
  for (const std::vector<std::string>& usage :
       std::vector<std::vector<std::string>>{{"bogus"},
                                             {"-x"},
                                             {"reverse", "a", "-x"},
                                             {"isprime", "2", "--jsno"},
                                             {"isprime"},
                                             {"reverse", "\xff"},
                                             {"exit", "now"}}) {
    const ToolResult refused = Ask("127.0.0.1:1", usage);
    EXPECT_EQ(refused.exit_code, 2) << usage.front();
    EXPECT_EQ(std::count(refused.err.begin(), refused.err.end(), '\n'), 1) << refused.err;
  }
  EXPECT_EQ(Ask("nowhere", {"reverse", "x"}).exit_code, 2);
}

TEST(TextClientTest, AnAnswerThatCannotBePrintedIsAFailure) {
  TextServer server;
  for (const char* command : {" reverse ab", " split a b", " isprime 2 3", " exit", ""}) {
    const ToolResult full = RunTool(
        "/bin/sh",
        {"-c", "exec \"$DS_BIN_DIR/text-client\" " + server.address() + command + " >/dev/full"},
        {.stdin_text = "reverse ab\nreverse cd\n"});
    EXPECT_EQ(full.exit_code, 1) << command;
    EXPECT_EQ(full.err, "text-client: write to standard output: No space left on device\n")
        << command;
  }
  const ToolResult closed =
      RunTool("/bin/sh", {"-c", "exec \"$DS_BIN_DIR/text-client\" " + server.address() + " >&-"},
              {.stdin_text = "reverse ab\n"});
  EXPECT_EQ(closed.exit_code, 1);
  EXPECT_EQ(closed.err, "text-client: write to standard output: Bad file descriptor\n");
}

TEST(TextClientTest, ACommandMeetsItsDeadline) {
  TextServer server;
  server.process().Pause();
  const ToolResult late =
      RunTool("text-client", {"--timeout", "0.3", server.address(), "reverse", "x"});
  server.process().Resume();
  EXPECT_EQ(late.exit_code, 1);
  EXPECT_THAT(late.err, HasSubstr("Deadline Exceeded"));
}

TEST(TextClientTest, CtrlCEndsACommandThatWaits) {
  TextServer server;
  auto session = TypedSession::Start({.program = "text-client",
                                      .arguments = {server.address()},
                                      .kind = TypedSession::Kind::kPipe});
  ASSERT_TRUE(session.ok());
  (*session)->Type("reverse ab\n");
  ASSERT_TRUE((*session)->See("ba\n"));
  server.process().Pause();
  (*session)->Type("reverse cd\n");
  (*session)->Signal(SIGINT);
  EXPECT_EQ((*session)->Wait(), 130);
  server.process().Resume();
}

TEST(TextClientTest, AMessageOver4MiBIsRefusedAndTheSessionGoesOn) {
  TextServer server;
  const ToolResult session =
      Ask(server.address(), {}, "reverse " + std::string((4U << 20U) + 1, 'x') + "\nreverse ab\n");
  EXPECT_EQ(session.out, "ba\n");
  EXPECT_THAT(session.err, HasSubstr("larger than max"));
  EXPECT_EQ(session.exit_code, 1);
}

TEST(TextClientTest, AClosedStandardInputIsItsEnd) {
  TextServer server;
  const ToolResult session =
      RunTool("/bin/sh", {"-c", "exec \"$DS_BIN_DIR/text-client\" " + server.address() + " <&-"});
  EXPECT_EQ(session.exit_code, 0) << session.err;
  const ToolResult ended = RunTool(
      "/bin/sh",
      {"-c", "exec \"$DS_BIN_DIR/text-server\" --listen 127.0.0.1:0 --exit-on-stdin-close <&-"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
}

TEST(TextClientTest, ASessionOutlivesAKilledServer) {
  const testing::LoopbackLease lease(1);
  const std::string address = lease.address(0) + ":50051";
  testing::DaemonProcess server({.program = "text-server", .arguments = {"--listen", address}});
  ASSERT_TRUE(server.StartAndWaitReady().ok());
  auto session = TypedSession::Start(
      {.program = "text-client", .arguments = {address}, .kind = TypedSession::Kind::kPipe});
  ASSERT_TRUE(session.ok());
  for (int round = 0; round < 3; ++round) {
    (*session)->Type("isprime 2 3\n");
    ASSERT_TRUE((*session)->See("2 is prime\n3 is prime\n")) << round;
    server.Kill();
    ASSERT_TRUE(server.StartAndWaitReady().ok());
  }
  server.Kill();
  (*session)->Type("reverse ab\n");
  ASSERT_TRUE((*session)->See("is text-server running there?)\n"));
  ASSERT_TRUE(server.StartAndWaitReady().ok());
  (*session)->Type("reverse ab\nexit\n");
  EXPECT_TRUE((*session)->See("Shutting down\n"));
  EXPECT_EQ((*session)->Wait(), 1);  // one command has failed
}

TEST(TextClientTest, ACallThatFailsIsMadeAgainUntilItsServerIsBack) {
  // A connected channel whose server does not serve: as between a server's end and the moment at
  // which the channel knows of it.
  rpc::EchoServer server;
  std::atomic<int> calls{0};
  std::atomic<int> failures{0};
  server.service.answer = [&](auto*, const rpc::ReverseRequest&) {
    ++calls;
    return failures-- > 0 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone") : grpc::Status::OK;
  };
  auto session = TypedSession::Start({.program = "text-client",
                                      .arguments = {server.address()},
                                      .kind = TypedSession::Kind::kPipe});
  ASSERT_TRUE(session.ok());
  (*session)->Type("reverse first\n");
  ASSERT_TRUE((*session)->See("first\n"));
  failures = 5;
  (*session)->Type("reverse second\n");
  EXPECT_TRUE((*session)->See("second\n"));
  // It ends, and has not asked without a pause.
  calls = 0;
  failures = std::numeric_limits<int>::max();
  (*session)->Type("reverse third\n");
  EXPECT_TRUE((*session)->See("gone (is text-server running there?)\n"));
  EXPECT_GE(calls, 2);
  EXPECT_LE(calls, 102);
  (*session)->Type("exit\n");
  EXPECT_EQ((*session)->Wait(), 1);
}

TEST(TextServerTest, TlsIsSpokenByBothAndPermitsToLeaveLoopback) {
  testing::CertificateAuthority ca("ca");
  const auto [cert, key] = ca.Issue("server");
  const auto mine = ca.Issue("client");
  testing::DaemonProcess server({.program = "text-server",
                                 .arguments = {"--listen", "0.0.0.0:0", "--tls-cert", cert,
                                               "--tls-key", key, "--tls-ca", ca.file()}});
  ASSERT_TRUE(server.StartAndWaitReady().ok());
  const std::string address = "127.0.0.1:" + std::to_string(server.port());
  const auto ask = [&](std::vector<std::string> flags) {
    flags.insert(flags.end(), {address, "reverse", "ab"});
    return RunTool("text-client", flags);
  };
  EXPECT_EQ(ask({"--tls-ca", ca.file(), "--tls-cert", mine.cert, "--tls-key", mine.key}).out,
            "ba\n");
  EXPECT_EQ(ask({"--tls-ca", ca.file()}).exit_code, 1);
  EXPECT_EQ(ask({}).exit_code, 1);
  EXPECT_EQ(ask({"--tls-ca", "/none"}).exit_code, 2);
}

TEST(TextServerTest, WhatCannotBeServedIsRefusedAtTheStart) {
  const ToolResult open = RunTool("text-server", {"--listen", "0.0.0.0:0"});
  EXPECT_EQ(open.exit_code, 2);
  EXPECT_THAT(open.err, HasSubstr("see --tls-cert, --allow-insecure"));
  const ToolResult half = RunTool("text-server", {"0", "--tls-cert", "/none"});
  EXPECT_EQ(half.exit_code, 2);
  EXPECT_THAT(half.err, HasSubstr("--tls-cert"));
  TextServer server;
  const ToolResult second = RunTool("text-server", {std::to_string(server.process().port())});
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_THAT(second.err, HasSubstr("ddress already in use (is another server running?)"));
  EXPECT_EQ(Ask(server.address(), {"reverse", "ab"}).out, "ba\n");
}

TEST(TextServerTest, AForeignClientLearnsTheServiceFromReflectionAndUsesIt) {
  TextServer server;
  const char* source =
      std::getenv("DS_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  const ToolResult foreign = RunTool(
      "/usr/bin/python3",
      {std::string(source != nullptr ? source : ".") + "/tests/compute/text_foreign_client.py",
       server.address()});
  EXPECT_EQ(foreign.exit_code, 0) << foreign.out << foreign.err;
  EXPECT_THAT(foreign.out, HasSubstr("all answers are right"));
}

}  // namespace
}  // namespace ds::compute
