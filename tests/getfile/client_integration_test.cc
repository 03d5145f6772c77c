#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/parse.h"
#include "common/base/unique_fd.h"
#include "tests/getfile/getfile_server.h"
#include "tests/harness/child_process.h"
#include "tests/harness/eventually.h"
#include "tests/harness/fake_server.h"
#include "tests/harness/loopback_lease.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/sha256.h"
#include "tests/harness/temp_dir.h"

namespace ds::getfile {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::Eventually;
using testing::FakeServer;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::LoopbackLease;
using ::testing::MatchesRegex;
using ::testing::Not;
using testing::RunTool;
using testing::Sha256Hex;
using ::testing::SizeIs;
using ::testing::StartsWith;
using testing::TempDir;
using testing::ToolProcess;
using testing::ToolResult;

namespace stdfs = std::filesystem;

constexpr std::size_t kKiB = 1024;
constexpr std::size_t kMiB = 1024 * kKiB;

/// A ToolResult with this exit code and these lines on stdout.
MATCHER_P2(Ends, code, out, "") { return arg.exit_code == code && arg.out == out; }

/// A ToolResult: exit code `code`, nothing on stdout, one line on stderr that has `text` in it.
MATCHER_P2(Refuses, code, text, "") {
  return arg.exit_code == code && arg.out.empty() && arg.err.starts_with("getfile-client: ") &&
         std::count(arg.err.begin(), arg.err.end(), '\n') == 1 &&
         arg.err.find(text) != std::string::npos;
}

/// The command line of a client of `server` that saves below `folder`, one transfer at a time.
std::vector<std::string> Flags(std::uint16_t port, const TempDir& folder,
                               const std::vector<std::string>& more) {
  std::vector<std::string> flags = {"-s", "127.0.0.1", "-p", std::to_string(port),
                                    "-t", "1",         "-o", folder.path()};
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

ToolResult RunClient(const std::vector<std::string>& flags) {
  return RunTool("getfile-client", flags);
}

ToolResult Fetch(const FakeServer& server, const TempDir& folder,
                 const std::vector<std::string>& more) {
  return RunClient(Flags(server.port(), folder, more));
}

void Symlink(const std::string& target, const std::string& link) {
  CHECK(::symlink(target.c_str(), link.c_str()) == 0, link);
}

/// The bytes of a file, or what cannot be taken for them if there is none.
std::string BytesOf(const TempDir& folder, const std::string& name) {
  return folder.Exists(name) ? folder.Read(name) : fmt::format("<no file \"{}\">", name);
}

/// How much a process has written so far into files below `folder`, named or not.
std::uintmax_t BytesOpenBelow(pid_t pid, const std::string& folder) {
  std::uintmax_t sum = 0;
  std::error_code error;
  stdfs::directory_iterator entry(fmt::format("/proc/{}/fd", pid), error);
  for (; !error && entry != stdfs::directory_iterator(); entry.increment(error)) {
    std::error_code gone;
    const std::string target = stdfs::read_symlink(entry->path(), gone).string();
    struct stat info {};
    if (target.starts_with(folder + "/") && ::stat(entry->path().c_str(), &info) == 0 &&
        S_ISREG(info.st_mode)) {
      sum += static_cast<std::uintmax_t>(info.st_size);
    }
  }
  return sum;
}

// --- What is an answer, and what is not ---

TEST(GetfileClientTest, BothDialectsAreUnderstoodAndSurplusIsIgnored) {
  struct Case {
    std::string answer;
    std::string body;
  };
  const std::vector<Case> cases = {
      {"GETFILE OK 5\r\n\r\nhello", "hello"},
      {"GETFILE OK 0\r\n\r\n", ""},
      {"GETFILE OK 5\r\n\r\nhello and more", "hello"},
      {"GETFILE OK 0\r\n\r\nnothing of this", ""},
      {"GETFILE OK 6\r\n\r\n\r\n\r\nab", "\r\n\r\nab"},
      {"GETFILE OK 4\r\n\r\n abc", " abc"},
      {"GETFILE OK 00000000000000000005\r\n\r\nhello", "hello"},
      {"GETFILE OK 5 hello", "hello"},
      {"GETFILE OK 5 hello and more", "hello"},
      {"GETFILE OK 0 ", ""},
      {"GETFILE OK 3  ab", " ab"},
      {"GETFILE OK 6 \r\n\r\nab", "\r\n\r\nab"},
      {"GETFILE OK 4 \r\n\r\nab", "\r\n\r\n"},
      {"GETFILE OK 2 42", "42"},
  };
  for (const Case& c : cases) {
    for (const bool slowly : {false, true}) {
      FakeServer server({[&](FakeServer::Conversation& peer) {
        if (peer.ReadRequest().empty()) return;
        slowly ? peer.SendSlowly(c.answer) : peer.Send(c.answer);
      }});
      const TempDir folder;
      EXPECT_THAT(Fetch(server, folder, {"/a"}),
                  Ends(0, fmt::format("/a OK {0} of {0}\n", c.body.size())))
          << EscapeBytes(c.answer);
      EXPECT_EQ(BytesOf(folder, "a"), c.body) << EscapeBytes(c.answer);
      EXPECT_THAT(server.requests(), ElementsAre(Get("/a")));
    }
  }
}

TEST(GetfileClientTest, ABrokenAnswerIsAFailureAndLeavesNoFile) {
  struct Case {
    std::string answer;
    std::string line;
  };
  const std::vector<Case> cases = {
      // Closed early.
      {"", "FAILED 0 of 0"},
      {"G", "FAILED 0 of 0"},
      {"GETFILE", "FAILED 0 of 0"},
      {"GETFILE OK", "FAILED 0 of 0"},
      {"GETFILE OK 5", "FAILED 0 of 0"},
      {"GETFILE OK 5\r", "FAILED 0 of 0"},
      {"GETFILE OK 5\r\n", "FAILED 0 of 0"},
      {"GETFILE OK 5\r\n\r", "FAILED 0 of 0"},
      {"GETFILE OK 5\r\n\r\n", "BROKEN 0 of 5"},
      {"GETFILE OK 5\r\n\r\nhell", "BROKEN 4 of 5"},
      {"GETFILE OK 5 hell", "BROKEN 4 of 5"},
      {"GETFILE OK 18446744073709551615\r\n\r\nabc", "BROKEN 3 of 18446744073709551615"},
      {"GETFILE FILE_NOT_FOUND", "FAILED 0 of 0"},
      {"GETFILE FILE_NOT_FOUND\r\n\r", "FAILED 0 of 0"},
      // Another scheme or status.
      {"PUTFILE OK 5\r\n\r\nhello", "FAILED 0 of 0"},
      {"getfile OK 5\r\n\r\nhello", "FAILED 0 of 0"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "FAILED 0 of 0"},
      {" GETFILE OK 5\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE  OK 5\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE OKAY 5\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE ok 5\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE FOUND 5\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE FILE\r\n\r\n", "FAILED 0 of 0"},
      {"GETFILE \r\n\r\n", "FAILED 0 of 0"},
      // The length.
      {"GETFILE OK\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE OK \r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE OK -5\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE OK +5\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE OK five\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE OK 5x\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE OK 0x5\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE OK 5.0\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE OK  5\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE OK 18446744073709551616\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE OK 99999999999999999999\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE OK " + std::string(100000, '9') + "\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE FILE_NOT_FOUND 5\r\n\r\nhello", "FAILED 0 of 0"},
      {"GETFILE ERROR 5\n", "FAILED 0 of 0"},
      {"GETFILE INVALID 00\n", "FAILED 0 of 0"},
      // The terminator.
      {"GETFILE OK 5\n\nhello", "FAILED 0 of 0"},
      {"GETFILE OK 5\r\n\nhello", "FAILED 0 of 0"},
      {"GETFILE OK 5\r\nhello", "FAILED 0 of 0"},
      {"GETFILE OK 5\r\r\n\nhello", "FAILED 0 of 0"},
      {"GETFILE OK 5\thello", "FAILED 0 of 0"},
      {std::string("GETFILE OK 5\0hello", 18), "FAILED 0 of 0"},
      {"GETFILE ERROR\n\n", "FAILED 0 of 0"},
      {"GETFILE ERROR 0\r\n", "FAILED 0 of 0"},
      {"GETFILE INVALIDATED\r\n\r\n", "FAILED 0 of 0"},
  };
  for (const Case& c : cases) {
    FakeServer server({FakeServer::Answer(c.answer)});
    const TempDir folder;
    const ToolResult result = Fetch(server, folder, {"/a"});
    const std::string what = EscapeBytes(c.answer.substr(0, 100));
    EXPECT_THAT(result, Ends(1, "/a " + c.line + "\n")) << what;
    EXPECT_THAT(result.err, StartsWith("getfile-client: fetch \"/a\": ")) << what;
    EXPECT_THAT(FilesBelow(folder.path()), IsEmpty()) << what;
    EXPECT_THAT(server.requests(), SizeIs(1)) << what;
  }
}

TEST(GetfileClientTest, TheServersWordIsPrintedInBothDialects) {
  for (const char* status : {"FILE_NOT_FOUND", "ERROR", "INVALID"}) {
    for (const char* end : {"\r\n\r\n", " 0\n"}) {
      FakeServer server({FakeServer::Answer(fmt::format("GETFILE {}{}", status, end))});
      const TempDir folder;
      EXPECT_THAT(Fetch(server, folder, {"/a"}), Ends(1, fmt::format("/a {} 0 of 0\n", status)));
      EXPECT_THAT(FilesBelow(folder.path()), IsEmpty());
    }
  }
}

TEST(GetfileClientTest, AResetInTheMiddleIsAFailureAndLeavesNoFile) {
  FakeServer server({[](FakeServer::Conversation& peer) {
    peer.ReadRequest();
    peer.Send("GETFILE OK 5\r\n\r\nhel");
    peer.Reset();
  }});
  const TempDir folder;
  const ToolResult result = Fetch(server, folder, {"/a"});
  EXPECT_EQ(result.exit_code, 1);
  // The reset may overtake what was sent before it.
  EXPECT_THAT(result.out, MatchesRegex("/a (BROKEN [0-3] of 5|FAILED 0 of 0)\n"));
  EXPECT_THAT(FilesBelow(folder.path()), IsEmpty());
}

TEST(GetfileClientTest, TheOtherDialectIsRefusedWhenOneIsAskedFor) {
  const std::string standard = "GETFILE OK 5\r\n\r\nhello";
  const std::string legacy = "GETFILE OK 5 hello";
  for (const auto& [dialect, good, bad] :
       {std::tuple{"standard", standard, legacy}, std::tuple{"legacy", legacy, standard}}) {
    FakeServer right({FakeServer::Answer(good)});
    FakeServer wrong({FakeServer::Answer(bad)});
    const TempDir folder;
    EXPECT_THAT(Fetch(right, folder, {"--dialect", dialect, "/a"}), Ends(0, "/a OK 5 of 5\n"));
    EXPECT_THAT(Fetch(wrong, folder, {"--dialect", dialect, "/b"}), Ends(1, "/b FAILED 0 of 0\n"));
    EXPECT_THAT(FilesBelow(folder.path()), ElementsAre("a"));
  }
}

TEST(GetfileClientTest, OneFailureAmongManyIsAFailureAndTheOthersArrive) {
  FakeServer server({FakeServer::Answer(Ok("first")), FakeServer::Answer("GETFILE OK 5\r\n\r\nhe"),
                     FakeServer::Answer(std::string(kNotFound)), FakeServer::Answer(Ok("last"))});
  const TempDir folder;
  EXPECT_THAT(Fetch(server, folder, {"/a", "/b", "/c", "/d"}),
              Ends(1, "/a OK 5 of 5\n/b BROKEN 2 of 5\n/c FILE_NOT_FOUND 0 of 0\n/d OK 4 of 4\n"));
  EXPECT_THAT(FilesBelow(folder.path()), ElementsAre("a", "d"));
}

// --- Connections ---

TEST(GetfileClientTest, KeepAliveUsesOneConnection) {
  FakeServer server({FakeServer::AnswerAll(Ok("again"))});
  const TempDir folder;
  EXPECT_THAT(Fetch(server, folder, {"--keep-alive", "/a", "/b", "/c"}),
              Ends(0, "/a OK 5 of 5\n/b OK 5 of 5\n/c OK 5 of 5\n"));
  EXPECT_THAT(server.requests(),
              ElementsAre(GetKeepAlive("/a"), GetKeepAlive("/b"), GetKeepAlive("/c")));
  EXPECT_EQ(server.connections(), 1U);
}

TEST(GetfileClientTest, KeepAliveIsGivenUpWhenTheServerDoesNotKnowIt) {
  FakeServer server({[](FakeServer::Conversation& peer) {
    const std::string request = peer.ReadRequest();
    peer.Send(request.find("Connection") == std::string::npos ? Ok("plain")
                                                              : std::string(kInvalid));
  }});
  const TempDir folder;
  EXPECT_THAT(Fetch(server, folder, {"--keep-alive", "/a", "/b"}),
              Ends(0, "/a OK 5 of 5\n/b OK 5 of 5\n"));
  EXPECT_THAT(server.requests(), ElementsAre(GetKeepAlive("/a"), Get("/a"), Get("/b")));
}

TEST(GetfileClientTest, AStaleConnectionIsReplacedWithoutAFailure) {
  for (const bool reset : {false, true}) {
    FakeServer server({[reset](FakeServer::Conversation& peer) {
                         peer.ReadRequest();
                         peer.Send(Ok("first"));
                         peer.ReadRequest();  // and no answer to it
                         if (reset) peer.Reset();
                       },
                       FakeServer::AnswerAll(Ok("second"))});
    const TempDir folder;
    EXPECT_THAT(Fetch(server, folder, {"--keep-alive", "/a", "/b", "/c"}),
                Ends(0, "/a OK 5 of 5\n/b OK 6 of 6\n/c OK 6 of 6\n"))
        << (reset ? "reset" : "closed");
    EXPECT_THAT(server.requests(), ElementsAre(GetKeepAlive("/a"), GetKeepAlive("/b"),
                                               GetKeepAlive("/b"), GetKeepAlive("/c")));
  }
}

TEST(GetfileClientTest, ABrokenAnswerOnAReusedConnectionIsNotHiddenByAnotherAttempt) {
  FakeServer server({[](FakeServer::Conversation& peer) {
                       peer.ReadRequest();
                       peer.Send(Ok("first"));
                       peer.ReadRequest();
                       peer.Send("GETFILE OK 6\r\n\r\nsec");
                     },
                     FakeServer::AnswerAll(Ok("third"))});
  const TempDir folder;
  EXPECT_THAT(Fetch(server, folder, {"--keep-alive", "/a", "/b", "/c"}),
              Ends(1, "/a OK 5 of 5\n/b BROKEN 3 of 6\n/c OK 5 of 5\n"));
}

TEST(GetfileClientTest, WhatBrokeIsRetriedAndWhatWasRefusedIsNot) {
  {
    FakeServer server({FakeServer::Answer(""), FakeServer::Answer("GETFILE OK 5\r\n\r\nhe"),
                       FakeServer::Answer(std::string(kError)), FakeServer::Answer(Ok("hello"))});
    const TempDir folder;
    EXPECT_THAT(Fetch(server, folder, {"--retries", "3", "/a"}), Ends(0, "/a OK 5 of 5\n"));
    EXPECT_EQ(BytesOf(folder, "a"), "hello");
    EXPECT_THAT(server.requests(), SizeIs(4));
  }
  {
    FakeServer server({FakeServer::Answer("GETFILE OK 5\r\n\r\nhe")});
    const TempDir folder;
    EXPECT_THAT(Fetch(server, folder, {"--retries", "2", "/a"}), Ends(1, "/a BROKEN 2 of 5\n"));
    EXPECT_THAT(server.requests(), SizeIs(3));
  }
  for (const std::string& answer :
       {std::string(kNotFound), std::string(kInvalid), std::string("GETFILE NONSENSE\r\n\r\n")}) {
    FakeServer server({FakeServer::Answer(answer)});
    const TempDir folder;
    EXPECT_EQ(Fetch(server, folder, {"--retries", "3", "/a"}).exit_code, 1);
    EXPECT_THAT(server.requests(), SizeIs(1)) << answer;
  }
}

TEST(GetfileClientTest, ASilentServerIsGivenUpAfterTheTimeout) {
  FakeServer server({[](FakeServer::Conversation& peer) { peer.WaitForEnd(); },
                     [](FakeServer::Conversation& peer) {
                       peer.ReadRequest();
                       peer.Send("GETFILE OK 5\r\n\r\nhe");
                       peer.WaitForEnd();
                     }});
  const TempDir folder;
  const ToolResult result = Fetch(server, folder, {"--timeout", "1", "/a", "/b"});
  EXPECT_THAT(result, Ends(1, "/a FAILED 0 of 0\n/b BROKEN 2 of 5\n"));
  EXPECT_THAT(result.err, HasSubstr("no progress for 1 s"));
  EXPECT_THAT(FilesBelow(folder.path()), IsEmpty());
}

TEST(GetfileClientTest, AServerThatIsNotThereIsNamed) {
  const LoopbackLease lease(1);
  const TempDir folder;
  const ToolResult refused =
      RunClient({"-s", lease.address(0), "-p", "10880", "-o", folder.path(), "/a"});
  EXPECT_THAT(refused, Ends(1, "/a FAILED 0 of 0\n"));
  EXPECT_THAT(refused.err,
              HasSubstr(fmt::format("connect {}:10880: Connection refused", lease.address(0))));
  EXPECT_THAT(RunClient({"-s", "no-such-host.invalid", "-o", folder.path(), "/a"}),
              Refuses(1, "resolve \"no-such-host.invalid\": "));
}

TEST(GetfileClientTest, AServerMayBeNamedOrHaveAnAddressOfEitherFamily) {
  const TempDir root;
  root.Write("a", "here");
  GetfileServer server({"--root", root.path()});
  for (const char* host : {"127.0.0.1", "::1", "localhost"}) {
    if (std::string_view(host) == "::1" && !testing::MachineHasIpv6()) continue;
    const TempDir folder;
    EXPECT_THAT(
        RunClient({"-s", host, "-p", std::to_string(server.port()), "-o", folder.path(), "/a"}),
        Ends(0, "/a OK 4 of 4\n"))
        << host;
  }
}

// --- What to fetch ---

TEST(GetfileClientTest, AWorkloadIsFetchedOnceOrCycled) {
  const TempDir lists;
  const std::string workload = lists.Write("workload", "\n /a\t/b\r\n\r\n/c \v\f");
  const auto paths = [&](const std::vector<std::string>& flags) {
    FakeServer server({FakeServer::Answer(Ok("x"))});
    const TempDir folder;
    const ToolResult result = Fetch(server, folder, flags);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    std::string all;
    for (const std::string& request : server.requests()) {
      all += request.substr(std::string_view("GETFILE GET /").size(), 1);
    }
    return all;
  };
  EXPECT_EQ(paths({"-w", workload}), "abc");
  EXPECT_EQ(paths({"-w", workload, "-r", "8"}), "abcabcab");
  EXPECT_EQ(paths({"-w", workload, "-r", "2"}), "ab");
  EXPECT_EQ(paths({"-l", workload, "-n", "4"}), "abca");
  EXPECT_EQ(paths({"--workload", workload, "--requests", "5"}), "abcab");
  EXPECT_EQ(paths({"/x", "/y", "-r", "3"}), "xyx");
}

TEST(GetfileClientTest, OptionsHaveLongNames) {
  FakeServer server({FakeServer::Answer(Ok("long"))});
  const TempDir folder;
  const std::string workload = folder.Write("workload", "/a");
  EXPECT_THAT(
      RunClient({"--server", "127.0.0.1", "--port", std::to_string(server.port()), "--workload",
                 workload, "--requests", "2", "--threads", "1", "--output", folder.path("out")}),
      Ends(0, "/a OK 4 of 4\n/a OK 4 of 4\n"));
  EXPECT_EQ(BytesOf(folder, "out/a"), "long");
}

TEST(GetfileClientTest, BadUsageIsFoundBeforeAnythingIsFetched) {
  FakeServer server({FakeServer::Answer(Ok("x"))});
  const TempDir lists;
  const std::string good = lists.Write("good", "/a\n");
  const std::string empty = lists.Write("empty", "");
  const std::string blank = lists.Write("blank", " \n\t\n");
  const std::string bad_path = lists.Write("bad path", "/a\nno-slash\n/b\n");
  const std::string bad_sums = lists.Write("bad sums", "0123  a\n");
  const std::vector<std::vector<std::string>> bad = {
      {},
      {"/a", "-w", good},
      {"-w", lists.path("missing")},
      {"-w", lists.path()},
      {"-w", empty},
      {"-w", blank},
      {"-w", bad_path},
      {"-w", good, "-r", "-1"},
      {"-w", good, "-r", "many"},
      {"a"},
      {""},
      {"/a b"},
      {"/a\n"},
      {"/a\x7f"},
      {"/" + std::string(4096, 'a')},
      {"/a", "--verify", lists.path("missing")},
      {"/a", "--verify", bad_sums},
      {"/a", "-t", "0"},
      {"/a", "-t", "-1"},
      {"/a", "-p", "65536"},
      {"/a", "--retries", "-1"},
      {"/a", "--timeout", "0"},
      {"/a", "--timeout", "-1"},
      {"/a", "--dialect", "klingon"},
      {"/a", "--dialect", "1"},
      {"/a", "-o", good},
      {"/a", "--no-such-option"},
  };
  for (const std::vector<std::string>& more : bad) {
    const TempDir folder;
    std::vector<std::string> flags = {"-s", "127.0.0.1"};
    flags.insert(flags.end(), more.begin(), more.end());
    const auto given = [&](const char* flag) {
      return std::find(more.begin(), more.end(), flag) != more.end();
    };
    if (!given("-p")) flags.insert(flags.end(), {"-p", std::to_string(server.port())});
    if (!given("-o")) flags.insert(flags.end(), {"-o", folder.path()});
    EXPECT_THAT(RunClient(flags), Refuses(2, ""))
        << EscapeBytes(fmt::format("{}", fmt::join(more, " ")).substr(0, 100));
    EXPECT_THAT(FilesBelow(folder.path()), IsEmpty());
  }
  EXPECT_THAT(server.requests(), IsEmpty());
}

TEST(GetfileClientTest, HelpAndVersionGoToStandardOutput) {
  const ToolResult help = RunClient({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.err, IsEmpty());
  for (const char* text : {"--server", "--port", "10880", "--workload", "--requests", "--threads",
                           "--output", "--verify", "--keep-alive", "--resume", "--dialect",
                           "--retries", "--timeout", "Seconds", "--json", "130"}) {
    EXPECT_THAT(help.out, HasSubstr(text));
  }
  const ToolResult version = RunClient({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.out, MatchesRegex("getfile-client [0-9]+\\.[0-9]+\\.[0-9]+ \\(.*\\)\n"));
}

// --- Where files go ---

TEST(GetfileClientTest, FoldersAreCreatedAndNamesAreBytes) {
  FakeServer server({FakeServer::Answer(Ok("x"))});
  const TempDir folder;
  const std::string output = folder.path("new/output");
  const std::vector<std::string> paths = {"/a",          "/x/y/z",   "//slashes///b",
                                          "/./dots/./c", "/.hidden", "/gr\xc3\xbc\xff",
                                          "/x%20?#",     "/..."};
  std::vector<std::string> flags = {"-o", output};
  flags.insert(flags.end(), paths.begin(), paths.end());
  flags.insert(flags.end(), {"-s", "127.0.0.1", "-p", std::to_string(server.port()), "-t", "1"});
  EXPECT_EQ(RunClient(flags).exit_code, 0);
  EXPECT_THAT(FilesBelow(output), ElementsAre("...", ".hidden", "a", "dots/c", "gr\xc3\xbc\xff",
                                              "slashes/b", "x%20?#", "x/y/z"));
  EXPECT_EQ(server.requests().back(), Get("/..."));
}

TEST(GetfileClientTest, APathWithoutAFileNameOrWithDotDotIsNotSaved) {
  FakeServer server({FakeServer::Answer(Ok("evil"))});
  const TempDir folder;
  folder.Write("out/x/keep", "");
  for (const char* path : {"/../evil", "/x/../evil", "/x/../../evil", "/x/..", "/..", "/", "//",
                           "/x/", "/.", "/x/.", "/x/keep/"}) {
    const ToolResult result = RunClient(
        {"-s", "127.0.0.1", "-p", std::to_string(server.port()), "-o", folder.path("out"), path});
    EXPECT_EQ(result.exit_code, 1) << path;
    EXPECT_THAT(result.out, Not(HasSubstr(" OK "))) << path;
    EXPECT_THAT(FilesBelow(folder.path()), ElementsAre("out/x/keep")) << path;
  }
}

TEST(GetfileClientTest, NothingIsWrittenOutsideThroughLinks) {
  FakeServer server({FakeServer::Answer(Ok("evil"))});
  const TempDir outside;
  outside.Write("target", "precious");
  const TempDir folder;
  const std::string outside_name = stdfs::path(outside.path()).filename();
  Symlink(outside.path(), folder.path("absolute"));
  Symlink("../" + outside_name, folder.path("relative"));
  Symlink("..", folder.path("up"));
  for (const std::string& path :
       {std::string("/absolute/a"), std::string("/relative/a"), std::string("/absolute/new/a"),
        "/up/" + outside_name + "/a", std::string("/absolute/target")}) {
    EXPECT_EQ(Fetch(server, folder, {path}).exit_code, 1) << path;
  }
  // A link in the place of the file is replaced, not followed.
  Symlink(outside.path("target"), folder.path("link"));
  Symlink(outside.path("fresh"), folder.path("dangling"));
  EXPECT_THAT(Fetch(server, folder, {"/link", "/dangling"}),
              Ends(0, "/link OK 4 of 4\n/dangling OK 4 of 4\n"));
  for (const char* name : {"link", "dangling"}) {
    EXPECT_TRUE(stdfs::is_regular_file(stdfs::symlink_status(folder.path(name)))) << name;
    EXPECT_EQ(BytesOf(folder, name), "evil");
  }
  EXPECT_THAT(FilesBelow(outside.path()), ElementsAre("target"));
  EXPECT_EQ(BytesOf(outside, "target"), "precious");
}

TEST(GetfileClientTest, ALinkToAFolderInsideIsFollowed) {
  FakeServer server({FakeServer::Answer(Ok("fine"))});
  const TempDir folder;
  folder.Write("real/keep", "");
  Symlink("real", folder.path("link"));
  EXPECT_EQ(Fetch(server, folder, {"/link/sub/a"}).exit_code, 0);
  EXPECT_EQ(BytesOf(folder, "real/sub/a"), "fine");
}

TEST(GetfileClientTest, AnOlderFileIsReplacedAsAWholeOrNotAtAll) {
  FakeServer server({FakeServer::Answer(Ok("new")), FakeServer::Answer("GETFILE OK 5\r\n\r\nhe"),
                     FakeServer::Answer(std::string(kNotFound))});
  const TempDir folder;
  folder.Write("a", "the old one");
  ASSERT_EQ(::link(folder.path("a").c_str(), folder.path("witness").c_str()), 0);
  EXPECT_THAT(Fetch(server, folder, {"/a"}), Ends(0, "/a OK 3 of 3\n"));
  EXPECT_EQ(BytesOf(folder, "a"), "new");
  EXPECT_EQ(BytesOf(folder, "witness"), "the old one");
  EXPECT_EQ(Fetch(server, folder, {"/a"}).exit_code, 1);
  EXPECT_EQ(Fetch(server, folder, {"/a"}).exit_code, 1);
  EXPECT_EQ(BytesOf(folder, "a"), "new");
  EXPECT_THAT(FilesBelow(folder.path()), ElementsAre("a", "witness"));
}

TEST(GetfileClientTest, AFolderInThePlaceOfTheFileStays) {
  FakeServer server({FakeServer::Answer(Ok("new"))});
  const TempDir folder;
  folder.Write("a/keep", "");
  EXPECT_EQ(Fetch(server, folder, {"/a"}).exit_code, 1);
  folder.Write("b", "a file where a folder is needed");
  EXPECT_EQ(Fetch(server, folder, {"/b/c"}).exit_code, 1);
  EXPECT_THAT(FilesBelow(folder.path()), ElementsAre("a/keep", "b"));
}

// --- What it says ---

TEST(GetfileClientTest, VerifiedFilesAreKeptAndOthersAreNot) {
  FakeServer server({FakeServer::Answer(Ok("hello"))});
  const TempDir lists;
  const std::string right = Sha256Hex("hello");
  const std::string sums = lists.Write(
      "sums", right + "  good\n" + right + " *./sub/binary\n" + Sha256Hex("other") + "  bad\n");
  const TempDir folder;
  folder.Write("bad", "the old one");
  const ToolResult result =
      Fetch(server, folder, {"--verify", sums, "/good", "/sub/binary", "/bad", "/unlisted"});
  EXPECT_THAT(result, Ends(1,
                           "/good OK 5 of 5\n/sub/binary OK 5 of 5\n/bad FAILED 5 of 5\n"
                           "/unlisted FAILED 5 of 5\n"));
  EXPECT_THAT(result.err, AllOf(HasSubstr("fetch \"/bad\": verify: SHA-256 is " + right),
                                HasSubstr("fetch \"/unlisted\": verify: not in the list")));
  EXPECT_THAT(FilesBelow(folder.path()), ElementsAre("bad", "good", "sub/binary"));
  EXPECT_EQ(BytesOf(folder, "bad"), "the old one");
}

TEST(GetfileClientTest, JsonResultsAreOneObjectALine) {
  FakeServer server({FakeServer::Answer(Ok("hello")), FakeServer::Answer(std::string(kNotFound)),
                     FakeServer::Answer("GETFILE OK 5\r\n\r\nhe"), FakeServer::Answer("")});
  const TempDir folder;
  const ToolResult result = Fetch(server, folder, {"--json", "/a", "/b\"\\\xff", "/c", "/d"});
  EXPECT_EQ(result.exit_code, 1);
  std::vector<nlohmann::json> lines;
  std::istringstream out(result.out);
  for (std::string text; std::getline(out, text);) {
    lines.push_back(nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false));
    ASSERT_TRUE(lines.back().is_object()) << text;
    EXPECT_TRUE(lines.back()["seconds"].is_number_float()) << text;
  }
  ASSERT_THAT(lines, SizeIs(4));
  const char* const statuses[] = {"OK", "FILE_NOT_FOUND", "BROKEN", "FAILED"};
  const int bytes[] = {5, 0, 2, 0};
  const int lengths[] = {5, 0, 5, 0};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(lines[i]["status"], statuses[i]);
    EXPECT_EQ(lines[i]["bytes"], bytes[i]);
    EXPECT_EQ(lines[i]["length"], lengths[i]);
    EXPECT_EQ(lines[i].contains("error"), i >= 2);
  }
  EXPECT_EQ(lines[0]["path"], "/a");
  EXPECT_EQ(lines[1]["path"], "/b\"\\\xef\xbf\xbd");  // what is no UTF-8 is replaced
}

TEST(GetfileClientTest, ResultsThatCannotBePrintedAreAFailure) {
  FakeServer server({FakeServer::Answer(Ok("hello"))});
  const TempDir folder;
  const auto client = testing::FindProgram("getfile-client", /*search_path=*/false);
  ASSERT_TRUE(client.ok());
  std::vector<std::string> arguments = {"-c", "exec \"$0\" \"$@\" >/dev/full", *client};
  const auto flags = Flags(server.port(), folder, {"/a"});
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  const ToolResult result = RunTool("/bin/sh", arguments);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("No space left on device"));
}

// --- When it is interrupted ---

class GetfileClientInterruptTest : public ::testing::TestWithParam<std::pair<int, int>> {};

TEST_P(GetfileClientInterruptTest, LeavesNoPartOfAFile) {
  const auto [signal, code] = GetParam();
  FakeServer server({FakeServer::Answer(Ok("whole")), [](FakeServer::Conversation& peer) {
                       peer.ReadRequest();
                       peer.Send("GETFILE OK 1000000\r\n\r\n" + std::string(500000, 'x'));
                       peer.WaitForEnd();
                     }});
  const TempDir folder;
  ToolProcess client("getfile-client",
                     Flags(server.port(), folder, {"--retries", "5", "/a", "/b", "/c"}));
  ASSERT_TRUE(client.Start().ok());
  ASSERT_TRUE(Eventually(kDeadline, "half of the second file has been written",
                         [&] { return BytesOpenBelow(client.pid(), folder.path()) == 500000; }));
  EXPECT_THAT(FilesBelow(folder.path()), ElementsAre("a"));
  ASSERT_TRUE(client.Signal(signal));
  EXPECT_EQ(client.Wait().exit_code, code);
  EXPECT_THAT(FilesBelow(folder.path()), ElementsAre("a"));
  EXPECT_EQ(BytesOf(folder, "a"), "whole");
}

INSTANTIATE_TEST_SUITE_P(Signals, GetfileClientInterruptTest,
                         ::testing::Values(std::pair{SIGINT, 130}, std::pair{SIGTERM, 143},
                                           std::pair{SIGKILL, 137}),
                         [](const auto& instance) {
                           return std::string(::sigabbrev_np(instance.param.first));
                         });

TEST(GetfileClientTest, AListThatDoesNotEndDoesNotHoldUpAnInterrupt) {
  const TempDir folder;
  const std::string pipe = folder.path("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0666), 0);
  for (const auto& [program, signal] : {std::pair{"getfile-client", SIGINT},
                                        {"getfile-client", SIGTERM},
                                        {"getfile-bench", SIGINT}}) {
    ToolProcess tool(program, {"-w", pipe});
    ASSERT_TRUE(tool.Start().ok());
    const UniqueFd writer(::open(pipe.c_str(), O_WRONLY | O_CLOEXEC));  // once it is being read
    ASSERT_EQ(::write(writer.get(), "/a ", 3), 3);
    ASSERT_TRUE(tool.Signal(signal));
    EXPECT_EQ(tool.Wait().exit_code, 128 + signal) << program;
  }
}

TEST(GetfileClientTest, ASilentServerDoesNotHoldUpAnInterrupt) {
  FakeServer server({[](FakeServer::Conversation& peer) {
    peer.ReadRequest();
    peer.WaitForEnd();
  }});
  const TempDir folder;
  ToolProcess client("getfile-client", Flags(server.port(), folder, {"--timeout", "3600", "/a"}));
  ASSERT_TRUE(client.Start().ok());
  ASSERT_TRUE(Eventually(kDeadline, "it has asked", [&] { return server.requests().size() == 1; }));
  ASSERT_TRUE(client.Signal(SIGINT));
  EXPECT_EQ(client.Wait().exit_code, 130);
}

TEST(GetfileClientTest, AFullDiskIsAFailureAndLeavesNoFile) {
  FakeServer server({FakeServer::Answer(Ok("small")), FakeServer::Answer(Ok(Content(2 * kMiB))),
                     FakeServer::Answer(Ok("small"))});
  const auto client = testing::FindProgram("getfile-client", /*search_path=*/false);
  ASSERT_TRUE(client.ok());
  const TempDir folder;
  // A file system of 1 MiB that only this command sees.
  const ToolResult result =
      RunTool("unshare", {"-Urm", "sh", "-c",
                          "mount -t tmpfs -o size=1m tmpfs \"$2\" || exit 99\n"
                          "\"$1\" -s 127.0.0.1 -p \"$3\" -t 1 -o \"$2\" /a /b /c\n"
                          "code=$?\n"
                          "echo files: $(ls -A \"$2\")\n"
                          "exit $code",
                          "sh", *client, folder.path(), std::to_string(server.port())});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, MatchesRegex("/a OK 5 of 5\n"
                                       "/b BROKEN [0-9]+ of 2097152\n"
                                       "/c OK 5 of 5\n"
                                       "files: a c\n"));
  EXPECT_THAT(result.err, HasSubstr("No space left on device"));
}

// --- Broken transfers that go on ---

/// nginx as its distribution packages it, serving one folder at two ports: a slow and a fast one.
class Nginx {
 public:
  explicit Nginx(const TempDir& root)
      : lease_(1),
        process_("/usr/sbin/nginx",
                 {"-p", prefix_.path(), "-e", "stderr", "-c",
                  prefix_.Write("nginx.conf", Configuration(root))},
                 {.timeout = std::chrono::minutes(5)}) {}

  [[nodiscard]] ::testing::AssertionResult Start() {
    if (const absl::Status started = process_.Start(); !started.ok()) {
      return ::testing::AssertionFailure()
             << Message(started) << " (it is in the package nginx-light)";
    }
    const auto ready = Eventually(kDeadline, "nginx accepts connections", [&] {
      return !process_.running() || RawPeer::Connect(host(), kFast).ok();
    });
    if (!ready || !process_.running()) {
      return ::testing::AssertionFailure() << "nginx did not start: " << process_.err();
    }
    return ready;
  }
  void Kill() {
    process_.Signal(SIGKILL);
    EXPECT_EQ(process_.Wait().exit_code, 137);
  }

  const std::string& host() const { return lease_.address(0); }
  std::vector<std::string> SlowFlags(const TempDir& folder) const { return Flags(kSlow, folder); }
  std::vector<std::string> FastFlags(const TempDir& folder) const { return Flags(kFast, folder); }

 private:
  static constexpr std::uint16_t kSlow = 10980;
  static constexpr std::uint16_t kFast = 10981;

  std::vector<std::string> Flags(std::uint16_t port, const TempDir& folder) const {
    return {"-s", host(), "-p", std::to_string(port), "-o", folder.path(), "--resume"};
  }
  std::string Configuration(const TempDir& root) const {
    constexpr const char* kForm = R"(daemon off;
master_process off;
{user}
pid nginx.pid;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path client_body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  root {root};
  server {{ listen {host}:{slow}; limit_rate 256k; }}
  server {{ listen {host}:{fast}; }}
}}
)";
    return fmt::format(kForm, fmt::arg("user", ::geteuid() == 0 ? "user root;" : ""),
                       fmt::arg("root", root.path()), fmt::arg("host", lease_.address(0)),
                       fmt::arg("slow", kSlow), fmt::arg("fast", kFast));
  }

  const LoopbackLease lease_;
  const TempDir prefix_;
  ToolProcess process_;
};

std::vector<std::string> With(std::vector<std::string> flags,
                              const std::vector<std::string>& more) {
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

class GetfileClientResumeTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kSize = 16 * kMiB;

  /// Fetches /sub/large slowly until a part of it is on the disk.
  void StartSlowTransfer() {
    root_.Write("sub/large", body_);
    ASSERT_TRUE(nginx_.Start());
    slow_.emplace("getfile-client", With(nginx_.SlowFlags(folder_), {"/sub/large"}));
    ASSERT_TRUE(slow_->Start().ok());
    ASSERT_TRUE(Eventually(kDeadline, "a part has arrived", [&] {
      return folder_.Exists(kPart) && stdfs::file_size(folder_.path(kPart)) > 64 * kKiB;
    }));
  }
  /// And interrupts it.
  void LeaveAPart() {
    ASSERT_NO_FATAL_FAILURE(StartSlowTransfer());
    ASSERT_TRUE(slow_->Signal(SIGKILL));
    ASSERT_EQ(slow_->Wait().exit_code, 137);
    ASSERT_THAT(FilesBelow(folder_.path()), ElementsAre("sub/large.part", "sub/large.part.etag"));
  }
  ToolResult Continue(const std::vector<std::string>& more = {"/sub/large"}) {
    return RunClient(With(nginx_.FastFlags(folder_), more));
  }

  static constexpr const char* kPart = "sub/large.part";
  const std::string body_ = Content(kSize);
  const TempDir root_;
  const TempDir folder_;
  Nginx nginx_{root_};
  std::optional<ToolProcess> slow_;
};

TEST_F(GetfileClientResumeTest, AKilledTransferIsContinuedByTheNextRun) {
  ASSERT_NO_FATAL_FAILURE(LeaveAPart());
  const auto had = stdfs::file_size(folder_.path(kPart));
  const TempDir lists;
  const ToolResult result =
      Continue({"/sub/large", "--verify", lists.Write("sums", Sha256Hex(body_) + "  sub/large\n")});
  EXPECT_THAT(result, Ends(0, fmt::format("/sub/large OK {0} of {0}\n", kSize)));
  EXPECT_THAT(result.err, HasSubstr(fmt::format("continued at byte {}\n", had)));
  EXPECT_THAT(FilesBelow(folder_.path()), ElementsAre("sub/large"));
  EXPECT_EQ(Sha256Hex(BytesOf(folder_, "sub/large")), Sha256Hex(body_));
}

TEST_F(GetfileClientResumeTest, AnInterruptedTransferIsContinuedByTheNextRun) {
  ASSERT_NO_FATAL_FAILURE(StartSlowTransfer());
  ASSERT_TRUE(slow_->Signal(SIGINT));
  EXPECT_EQ(slow_->Wait().exit_code, 130);
  EXPECT_FALSE(folder_.Exists("sub/large"));
  const ToolResult result = Continue();
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("continued at byte "));
  EXPECT_EQ(Sha256Hex(BytesOf(folder_, "sub/large")), Sha256Hex(body_));
}

TEST_F(GetfileClientResumeTest, ATransferThatTheServerBrokeLeavesItsPart) {
  ASSERT_NO_FATAL_FAILURE(StartSlowTransfer());
  nginx_.Kill();
  const ToolResult result = slow_->Wait();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, MatchesRegex(fmt::format("/sub/large [A-Z]+ [0-9]+ of {}\n", kSize)));
  EXPECT_FALSE(folder_.Exists("sub/large"));
  const std::string part = BytesOf(folder_, kPart);
  EXPECT_GT(part.size(), 64 * kKiB);
  EXPECT_TRUE(body_.starts_with(part));
}

TEST_F(GetfileClientResumeTest, AChangedFileStartsOver) {
  ASSERT_NO_FATAL_FAILURE(LeaveAPart());
  const std::string changed = Content(kSize + 1, 2);
  root_.Write("sub/large", changed);
  const ToolResult result = Continue();
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, AllOf(HasSubstr("starting over"), Not(HasSubstr("continued"))));
  EXPECT_THAT(FilesBelow(folder_.path()), ElementsAre("sub/large"));
  EXPECT_EQ(Sha256Hex(BytesOf(folder_, "sub/large")), Sha256Hex(changed));
}

TEST_F(GetfileClientResumeTest, APartWithoutItsValidatorStartsOver) {
  ASSERT_NO_FATAL_FAILURE(LeaveAPart());
  ASSERT_EQ(::unlink(folder_.path("sub/large.part.etag").c_str()), 0);
  const ToolResult result = Continue();
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, AllOf(HasSubstr("starting over"), Not(HasSubstr("continued"))));
  EXPECT_EQ(Sha256Hex(BytesOf(folder_, "sub/large")), Sha256Hex(body_));
}

TEST_F(GetfileClientResumeTest, APartWithADamagedValidatorStartsOver) {
  root_.Write("sub/large", body_);
  ASSERT_TRUE(nginx_.Start());
  for (const std::string& validator :
       {std::string(52, '\0'), std::string("\"a\0b\"", 5), std::string("\"a\"\r\nX: y"),
        std::string("W/\"a\""), std::string("\""), std::string("a"), std::string(5000, 'a')}) {
    folder_.Write(kPart, Content(100 * kKiB, 7));  // not the bytes that came
    folder_.Write("sub/large.part.etag", validator);
    const ToolResult result = Continue();
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("starting over"));
    EXPECT_EQ(Sha256Hex(BytesOf(folder_, "sub/large")), Sha256Hex(body_));
    EXPECT_THAT(FilesBelow(folder_.path()), ElementsAre("sub/large"));
  }
}

TEST_F(GetfileClientResumeTest, APartThatIsWholeAlreadyIsPutInPlace) {
  ASSERT_NO_FATAL_FAILURE(LeaveAPart());
  folder_.Write(kPart, body_);  // killed between the last byte and the new name
  const ToolResult result = Continue();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(FilesBelow(folder_.path()), ElementsAre("sub/large"));
  EXPECT_EQ(Sha256Hex(BytesOf(folder_, "sub/large")), Sha256Hex(body_));
}

TEST_F(GetfileClientResumeTest, AContinuedFileWithTheWrongDigestIsNotKept) {
  ASSERT_NO_FATAL_FAILURE(LeaveAPart());
  folder_.Write(kPart, Content(100 * kKiB, 7));  // not the bytes that came
  const TempDir lists;
  const ToolResult result =
      Continue({"/sub/large", "--verify", lists.Write("sums", Sha256Hex(body_) + "  sub/large\n")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("verify: SHA-256 is"));
  EXPECT_THAT(FilesBelow(folder_.path()), IsEmpty());
  EXPECT_EQ(Continue().exit_code, 0);
  EXPECT_EQ(Sha256Hex(BytesOf(folder_, "sub/large")), Sha256Hex(body_));
}

TEST_F(GetfileClientResumeTest, TwoRunsDoNotShareAPart) {
  ASSERT_NO_FATAL_FAILURE(StartSlowTransfer());
  const ToolResult result = Continue();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("in use by another process"));
  EXPECT_TRUE(slow_->running());
  slow_->Signal(SIGKILL);
}

TEST_F(GetfileClientResumeTest, WhatIsNotInterruptedArrivesAsWell) {
  const std::vector<std::pair<std::string, std::string>> files = {
      {"a", "small"},       {"empty", ""},          {"sub/b", Content(100000)},
      {"x%20y", "percent"}, {"what?is=this#", "?"}, {"gr\xc3\xbc", "UTF-8"},
      {"\xff", "byte"},     {"a+b&c;d=e", "marks"}};
  const TempDir lists;
  std::string digests;
  std::string workload;
  for (const auto& [name, body] : files) {
    root_.Write(name, body);
    digests += Sha256Hex(body) + "  " + name + "\n";
    workload += "/" + name + "\n";
  }
  ASSERT_TRUE(nginx_.Start());
  const ToolResult result = Continue({"-w", lists.Write("workload", workload), "-r", "80", "-t",
                                      "1", "--verify", lists.Write("sums", digests)});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(FilesBelow(folder_.path()), SizeIs(files.size()));
  const ToolResult missing = Continue({"/missing"});
  EXPECT_THAT(missing, Ends(1, "/missing FILE_NOT_FOUND 0 of 0\n"));
  EXPECT_THAT(FilesBelow(folder_.path()), SizeIs(files.size()));
}

TEST_F(GetfileClientResumeTest, NothingIsWrittenOutsideThroughALinkInThePlaceOfThePart) {
  const TempDir outside;
  outside.Write("target", "precious");
  root_.Write("a", "evil");
  Symlink(outside.path("target"), folder_.path("a.part"));
  Symlink(outside.path(), folder_.path("link"));
  root_.Write("link/b", "evil");
  ASSERT_TRUE(nginx_.Start());
  EXPECT_EQ(Continue({"/a", "/link/b"}).exit_code, 1);
  EXPECT_THAT(FilesBelow(outside.path()), ElementsAre("target"));
  EXPECT_EQ(BytesOf(outside, "target"), "precious");
}

TEST(GetfileClientTest, AGetfileServerContinuesAsWell) {
  const std::string body = Content(3 * kMiB);
  const TempDir root;
  root.Write("a", body);
  GetfileServer server({"--root", root.path()});
  const std::string head = server.Exchange("HEAD /a HTTP/1.0\r\n\r\n").bytes;
  const std::size_t tag = head.find("ETag: ");
  ASSERT_NE(tag, std::string::npos) << head;
  const std::string etag = head.substr(tag + 6, head.find('\r', tag) - tag - 6);
  // As a killed client leaves it.
  const TempDir folder;
  folder.Write("a.part", body.substr(0, kMiB));
  folder.Write("a.part.etag", etag);
  const ToolResult result = RunClient(Flags(server.port(), folder, {"--resume", "/a"}));
  EXPECT_THAT(result, Ends(0, fmt::format("/a OK {0} of {0}\n", body.size())));
  EXPECT_THAT(result.err, HasSubstr("continued at byte 1048576\n"));
  EXPECT_EQ(Sha256Hex(BytesOf(folder, "a")), Sha256Hex(body));
  EXPECT_THAT(FilesBelow(folder.path()), ElementsAre("a"));
}

/// A getfile-server that is killed in the middle of a transfer to `getfile-client --resume`: after
/// a part has left it that is not empty and not the whole.
class GetfileServerResumeTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kSize = 64 * kMiB;

  void KillInTheMiddle(const std::vector<std::string>& more = {}) {
    root_.Write("a", body_);
    // The client has asked and stands still before the server answers. What then leaves the server
    // is what the two kernels have room for.
    server_.process().Pause();
    std::vector<std::string> flags = {
        "-s", server_.host(), "-p",       std::to_string(server_.port()),
        "-o", folder_.path(), "--resume", "/a"};
    flags.insert(flags.end(), more.begin(), more.end());
    client_.emplace("getfile-client", flags);
    ASSERT_TRUE(client_->Start().ok());
    ASSERT_TRUE(
        Eventually(kDeadline, "the request has arrived", [&] { return ServersEnd().unread > 0; }));
    client_->Pause();
    server_.process().Resume();
    ASSERT_TRUE(Eventually(kDeadline, "the answer waits for its reader",
                           [&] { return ServersEnd().unacknowledged > 64 * kKiB; }));
    server_.process().Kill();
  }
  /// Of the one connection that is not over.
  TcpSocket ServersEnd() const {
    for (const TcpSocket& socket : TcpSocketsAt(server_.port())) {
      const bool idle = socket.unread == 0 && socket.unacknowledged == 0;
      if (socket.local_host == server_.host() && !idle) return socket;
    }
    return {};
  }
  /// The client goes on and ends; returns how much has come.
  std::size_t LetTheClientFail() {
    client_->Resume();
    const ToolResult result = client_->Wait();
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(FilesBelow(folder_.path()), ElementsAre("a.part", "a.part.etag"));
    const std::string part = BytesOf(folder_, "a.part");
    EXPECT_GT(part.size(), 64 * kKiB);
    EXPECT_LT(part.size(), kSize);
    EXPECT_TRUE(body_.starts_with(part));
    return part.size();
  }
  ToolResult Continue() {
    const TempDir lists;
    const std::string digest = Sha256Hex(root_.Read("a"));
    return RunClient({"-s", server_.host(), "-p", std::to_string(server_.port()), "-o",
                      folder_.path(), "--resume", "/a", "--verify",
                      lists.Write("sums", digest + "  a\n")});
  }

  const std::string body_ = Content(kSize);
  const LoopbackLease lease_{1};
  const TempDir root_;
  const TempDir folder_;
  GetfileServer server_{{"--root", root_.path(), "--listen", lease_.address(0) + ":10880"}};
  std::optional<ToolProcess> client_;
};

TEST_F(GetfileServerResumeTest, ATransferIsContinuedAfterTheServerWasKilled) {
  ASSERT_NO_FATAL_FAILURE(KillInTheMiddle());
  const std::size_t had = LetTheClientFail();
  ASSERT_TRUE(server_.process().StartAndWaitReady().ok());
  const ToolResult result = Continue();
  EXPECT_THAT(result, Ends(0, fmt::format("/a OK {0} of {0}\n", kSize)));
  EXPECT_THAT(result.err, HasSubstr(fmt::format("continued at byte {}\n", had)));
  EXPECT_THAT(FilesBelow(folder_.path()), ElementsAre("a"));
}

TEST_F(GetfileServerResumeTest, AFileThatChangedMeanwhileStartsOver) {
  ASSERT_NO_FATAL_FAILURE(KillInTheMiddle());
  LetTheClientFail();
  const std::string changed = Content(kSize, 2);
  root_.Write("a", changed);
  ASSERT_TRUE(server_.process().StartAndWaitReady().ok());
  const ToolResult result = Continue();
  EXPECT_THAT(result, Ends(0, fmt::format("/a OK {0} of {0}\n", kSize)));
  EXPECT_THAT(result.err, AllOf(HasSubstr("starting over"), Not(HasSubstr("continued"))));
  EXPECT_EQ(Sha256Hex(BytesOf(folder_, "a")), Sha256Hex(changed));
}

TEST_F(GetfileServerResumeTest, OneRunOutlivesItsServer) {
  ASSERT_NO_FATAL_FAILURE(KillInTheMiddle({"--retries", "1000"}));
  ASSERT_TRUE(server_.process().StartAndWaitReady().ok());
  client_->Resume();
  const ToolResult result = client_->Wait();
  EXPECT_THAT(result, Ends(0, fmt::format("/a OK {0} of {0}\n", kSize)));
  EXPECT_THAT(result.err, MatchesRegex(".*continued at byte [0-9]+\n"));
  EXPECT_EQ(Sha256Hex(BytesOf(folder_, "a")), Sha256Hex(body_));
  EXPECT_THAT(FilesBelow(folder_.path()), ElementsAre("a"));
}

TEST(GetfileClientTest, ARangeThatIsNotTheOneAskedForIsNotJoined) {
  const std::string body = "0123456789";
  FakeServer server(
      {FakeServer::Answer("HTTP/1.1 206 Partial Content\r\nETag: \"1\"\r\n"
                          "Content-Range: bytes 0-9/10\r\nContent-Length: 10\r\n"
                          "Connection: close\r\n\r\n" +
                          body)});
  const TempDir folder;
  folder.Write("a.part", "01234");
  folder.Write("a.part.etag", "\"1\"");
  const ToolResult result = Fetch(server, folder, {"--resume", "/a"});
  EXPECT_THAT(server.requests(), ElementsAre(AllOf(HasSubstr("Range: bytes=5-\r\n"),
                                                   HasSubstr("If-Range: \"1\"\r\n"))));
  // Giving up is right, and so is taking what was sent from its beginning.
  if (result.exit_code == 0) {
    EXPECT_EQ(BytesOf(folder, "a"), body);
  } else {
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_FALSE(folder.Exists("a"));
  }
}

TEST(GetfileClientTest, AMalformedHeadIsNotTrusted) {
  const std::string body = "56789";
  for (const std::string& head : {
           std::string("HTTP/1.1 206 Part\r\nContent-Range: bytes 5-9\r\nContent-Length: 5\r\n"),
           std::string("HTTP/1.1 206 Part\r\nContent-Range: bytes 5-9/10\r\n"
                       "Content-Range: bytes 0-4/10\r\nContent-Length: 5\r\n"),
           std::string("HTTP/1.1 206 Part\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n"
                       "In the middle: x\r\n"),
       }) {
    FakeServer server(
        {FakeServer::Answer(fmt::format("{}Connection: close\r\n\r\n{}", head, body))});
    const TempDir folder;
    folder.Write("a.part", "01234");
    folder.Write("a.part.etag", "\"1\"");
    const ToolResult result = Fetch(server, folder, {"--resume", "/a"});
    EXPECT_EQ(result.exit_code, 1) << head;
    EXPECT_THAT(result.err, HasSubstr("malformed answer: ")) << head;
    EXPECT_FALSE(folder.Exists("a"));
    EXPECT_EQ(BytesOf(folder, "a.part"), "01234");
  }
}

TEST(GetfileClientTest, AFileWithoutALengthArrivesByResumeToo) {
  FakeServer server(
      {FakeServer::Answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                          "Connection: close\r\n\r\n"
                          "3\r\n012\r\n7\r\n3456789\r\n0\r\nX-Trailer: x\r\n\r\n"),
       FakeServer::Answer("HTTP/1.1 103 Early\r\nETag: \"2\"\r\n\r\nHTTP/1.0 200 OK\r\n"
                          "ETag: \"1\"\r\n\r\nto the end")});
  const TempDir folder;
  EXPECT_THAT(Fetch(server, folder, {"--resume", "/a", "/b"}),
              Ends(0, "/a OK 10 of 10\n/b OK 10 of 10\n"));
  EXPECT_EQ(BytesOf(folder, "a"), "0123456789");
  EXPECT_EQ(BytesOf(folder, "b"), "to the end");
  EXPECT_THAT(FilesBelow(folder.path()), ElementsAre("a", "b"));
}

TEST(GetfileClientTest, ARangeOfAnotherVersionIsNotAppended) {
  FakeServer server({FakeServer::Answer(
      "HTTP/1.1 206 Partial Content\r\nETag: \"2\"\r\nContent-Range: bytes 5-9/10\r\n"
      "Content-Length: 5\r\nConnection: close\r\n\r\nXXXXX")});
  const TempDir folder;
  folder.Write("a.part", "01234");
  folder.Write("a.part.etag", "\"1\"");
  const ToolResult result = Fetch(server, folder, {"--resume", "/a"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("another version"));
  EXPECT_THAT(FilesBelow(folder.path()), IsEmpty()) << "the next run starts over";
}

TEST(GetfileClientTest, ARangeThatIsLongerThanItSaysIsNotKept) {
  FakeServer server({FakeServer::Answer(
      "HTTP/1.1 206 Partial Content\r\nETag: \"1\"\r\nContent-Range: bytes 5-9/10\r\n"
      "Content-Length: 7\r\nConnection: close\r\n\r\n5678999")});
  const TempDir folder;
  folder.Write("a.part", "01234");
  folder.Write("a.part.etag", "\"1\"");
  const ToolResult result = Fetch(server, folder, {"--resume", "/a"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("do not agree"));
  EXPECT_EQ(BytesOf(folder, "a.part"), "01234");
}

TEST(GetfileClientTest, ARangeThatEndsTooEarlyIsNotTakenForTheRest) {
  FakeServer server(
      {FakeServer::Answer("HTTP/1.1 206 Partial Content\r\nETag: \"1\"\r\n"
                          "Content-Range: bytes 5-7/10\r\nContent-Length: 3\r\n"
                          "Connection: close\r\n\r\n567")});
  const TempDir folder;
  folder.Write("a.part", "01234");
  folder.Write("a.part.etag", "\"1\"");
  const ToolResult result = Fetch(server, folder, {"--resume", "/a"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_FALSE(folder.Exists("a"));
  EXPECT_EQ(BytesOf(folder, "a.part"), "01234567") << "what came is kept";
}

TEST(GetfileClientTest, ResumeSaysWhenTheServerHasNoHttpAndFetchesAllTheSame) {
  FakeServer server({[](FakeServer::Conversation& peer) {
    const std::string request = peer.ReadRequest();
    peer.Send(request.starts_with("GETFILE ") ? Ok("hello") : std::string(kInvalid));
  }});
  const TempDir folder;
  const ToolResult result = Fetch(server, folder, {"--resume", "/a", "/b"});
  EXPECT_THAT(result, Ends(0, "/a OK 5 of 5\n/b OK 5 of 5\n"));
  EXPECT_THAT(result.err, MatchesRegex("getfile-client: resume: .*does not speak HTTP.*\n"));
  EXPECT_THAT(server.requests(),
              ElementsAre(StartsWith("GET /a HTTP/1.1\r\n"), Get("/a"), Get("/b")));
  EXPECT_THAT(FilesBelow(folder.path()), ElementsAre("a", "b"));
}

}  // namespace
}  // namespace ds::getfile
