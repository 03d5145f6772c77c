#include "common/repl/repl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/harness/eventually.h"
#include "tests/harness/temp_dir.h"
#include "tests/harness/typed_session.h"

namespace ds::repl {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::TypedSession;

constexpr const char* kUp = "\x1b[A";
constexpr const char* kEndOfInput = "\x04";
constexpr const char* kInterrupt = "\x03";

class ReplTest : public ::testing::Test {
 protected:
  std::unique_ptr<TypedSession> Start(TypedSession::Kind kind,
                                      std::vector<std::string> arguments = {}) {
    auto session = TypedSession::Start(
        {.program = program_,
         .arguments = std::move(arguments),
         .environment = {{"TERM", "xterm"}, {"LC_ALL", "C"}, {"HOME", folder_.path()}},
         .kind = kind});
    EXPECT_TRUE(session.ok()) << session.status();
    return std::move(*session);
  }
  std::unique_ptr<TypedSession> AtTerminal(std::vector<std::string> arguments = {}) {
    arguments.insert(arguments.end(), {"--history", history_});
    auto session = Start(TypedSession::Kind::kTerminal, std::move(arguments));
    AwaitPrompt(*session);
    return session;
  }
  /// What is typed from now on is libedit's.
  static void AwaitPrompt(TypedSession& session) {
    EXPECT_TRUE(session.See("> "));
    EXPECT_TRUE(testing::Eventually(testing::kDeadline, "the terminal is libedit's",
                                    [&] { return !session.terminal_is_cooked(); }));
  }

  static std::string FindProgram() {
    const char* programs = std::getenv("DS_BIN_DIR");  // NOLINT(concurrency-mt-unsafe)
    EXPECT_NE(programs, nullptr) << "run by ctest";
    return std::string(programs != nullptr ? programs : ".") + "/../tests/repl_echo";
  }

  const std::string program_ = FindProgram();
  const testing::TempDir folder_;
  const std::string history_ = folder_.path("state/distsys/echo_history");
};

TEST_F(ReplTest, AtATerminalThereIsAPromptAndLinesCanBeEdited) {
  auto session = AtTerminal();
  session->Type("helo\x02l\n");  // Ctrl+B: one back
  EXPECT_TRUE(session->See("got [hello]"));
  AwaitPrompt(*session);
  session->Type("p\xc3\xa4iv\xc3\xa5\x7f\xc3\xa4\n");  // and a character taken back
  EXPECT_TRUE(session->See("got [p\xc3\xa4iv\xc3\xa4]"));
  session->Type(kEndOfInput);
  EXPECT_TRUE(session->See("end"));
  EXPECT_EQ(session->Wait(), 0);
}

TEST_F(ReplTest, TheHistoryIsThereAgainNextTimeAndNobodyElsesToRead) {
  {
    auto session = AtTerminal();
    session->Type("first\nsecond\n");
    EXPECT_TRUE(session->See("got [second]"));
    AwaitPrompt(*session);
    session->Type(std::string(kUp) + kUp + "\n");
    EXPECT_TRUE(session->See("got [first]"));
    session->Type(kEndOfInput);
    EXPECT_EQ(session->Wait(), 0);
  }
  struct stat info {};
  ASSERT_EQ(::stat(history_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
  auto session = AtTerminal();
  session->Type(std::string(kUp) + "!\n");
  EXPECT_TRUE(session->See("got [first!]"));
  session->Type(kEndOfInput);
  EXPECT_EQ(session->Wait(), 0);
}

TEST_F(ReplTest, TheHistoryIsBounded) {
  auto session = AtTerminal({"--lines", "3"});
  for (int i = 0; i < 10; ++i) {
    session->Type("line" + std::to_string(i) + "\n");
    EXPECT_TRUE(session->See("got [line" + std::to_string(i) + "]"));
  }
  session->Type(kEndOfInput);
  EXPECT_EQ(session->Wait(), 0);
  const std::string kept = folder_.Read("state/distsys/echo_history");
  EXPECT_THAT(kept, HasSubstr("line7\nline8\nline9\n"));
  EXPECT_THAT(kept, Not(HasSubstr("line6")));
}

TEST_F(ReplTest, AHistoryThatIsNoneIsNoReasonToFail) {
  folder_.Write("state/distsys/echo_history", std::string(100'000, '\xff'));
  auto session = AtTerminal();
  session->Type("x\n");
  EXPECT_TRUE(session->See("got [x]"));
  session->Type(kEndOfInput);
  EXPECT_EQ(session->Wait(), 0);
}

TEST_F(ReplTest, CtrlCEndsWith130AndGivesTheTerminalBack) {
  auto session = AtTerminal();
  session->Type(std::string("half a li") + kInterrupt);
  EXPECT_EQ(session->Wait(), 130);
  EXPECT_TRUE(session->terminal_is_cooked());
}

TEST_F(ReplTest, FromAPipeThereIsNoPromptAndEveryAnswerComesAtOnce) {
  auto session = Start(TypedSession::Kind::kPipe);
  for (const char* line : {"one", "", " two ", "three\r"}) {
    session->Type(std::string(line) + "\n");
    const std::string seen = std::string(line).substr(0, std::string(line).find('\r'));
    ASSERT_TRUE(session->See("got [" + seen + "]\n"));  // before the next line is sent
    EXPECT_EQ(session->unseen(), "");
  }
  session->Type("no line end");
  session->CloseInput();
  EXPECT_TRUE(session->See("got [no line end]\nend\n"));
  EXPECT_EQ(session->Wait(), 0);
  EXPECT_THAT(session->unseen(), Not(HasSubstr(">")));
}

TEST_F(ReplTest, LinesOfAPipeAreBounded) {
  auto session = Start(TypedSession::Kind::kPipe, {"--line-bytes", "100"});
  session->Type(std::string(100, 'a') + "\n" + std::string(101, 'b') + "\n" +
                std::string(500'000, 'c') + "\nd\n" + std::string(1000, 'e'));
  session->CloseInput();
  EXPECT_TRUE(session->See("got [" + std::string(100, 'a') + "]\ntoo long\ntoo long\ngot [d]\n" +
                           "too long\nend\n"));
  EXPECT_EQ(session->Wait(), 0);
}

TEST_F(ReplTest, ASignalEndsAPipeToo) {
  auto session = Start(TypedSession::Kind::kPipe);
  session->Type("x\n");
  ASSERT_TRUE(session->See("got [x]"));
  session->Signal(SIGINT);
  EXPECT_EQ(session->Wait(), 130);
}

TEST_F(ReplTest, ASessionWhoseOutputIsLostEndsAndIsAFailure) {
  for (const auto& [output, why] : std::vector<std::pair<std::string, std::string>>{
           {" >&-", "Bad file descriptor"}, {" >/dev/full", "No space left on device"}}) {
    for (const std::string option : {"", " --help"}) {
      std::string command = "exec " + program_;
      command += option;
      command += output;
      auto session = TypedSession::Start(
          {.program = "/bin/sh", .arguments = {"-c", command}, .kind = TypedSession::Kind::kPipe});
      ASSERT_TRUE(session.ok()) << session.status();
      if (option.empty()) (*session)->Type("x\n");  // and there might be more to come
      EXPECT_TRUE((*session)->See("repl-echo: write to standard output: " + why + "\n"))
          << (*session)->unseen();
      EXPECT_EQ((*session)->Wait(), 1);
      EXPECT_EQ((*session)->unseen(), "");
    }
  }
}

TEST_F(ReplTest, SoDoesOneThatHasLostMoreThanIsBuffered) {
  auto session = TypedSession::Start({.program = "/bin/sh",
                                      .arguments = {"-c", "exec " + program_ + " >/dev/full"},
                                      .kind = TypedSession::Kind::kPipe});
  ASSERT_TRUE(session.ok()) << session.status();
  (*session)->Type(std::string(10'000, 'x') + "\n");
  EXPECT_TRUE((*session)->See("repl-echo: write to standard output: ")) << (*session)->unseen();
  EXPECT_EQ((*session)->Wait(), 1);
}

TEST(HistoryFileTest, IsInTheStateFolder) {
  EXPECT_EQ(HistoryFile("x", "/state", "/home/me"), "/state/distsys/x_history");
  EXPECT_EQ(HistoryFile("x", nullptr, "/home/me"), "/home/me/.local/state/distsys/x_history");
  EXPECT_EQ(HistoryFile("x", "", "/home/me"), "/home/me/.local/state/distsys/x_history");
  EXPECT_EQ(HistoryFile("x", "relative", "/home/me"), "/home/me/.local/state/distsys/x_history");
  EXPECT_EQ(HistoryFile("x", nullptr, nullptr), "");
}

}  // namespace
}  // namespace ds::repl
