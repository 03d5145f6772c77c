#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "tests/getfile/getfile_server.h"
#include "tests/getfile/http_reply.h"
#include "tests/harness/eventually.h"
#include "tests/harness/raw_peer.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/sha256.h"
#include "tests/harness/temp_dir.h"

// The clients that HTTP is there for: a load generator, a browser, and many clients of both
// protocols at once.

namespace ds::getfile {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::RunTool;
using testing::Sha256Hex;
using testing::TempDir;
using testing::ToolResult;

constexpr std::size_t kKiB = 1024;

// --- wrk ---

/// Runs wrk for a second; every answer must be 200 and have `body_size` bytes.
void LoadWithWrk(std::size_t body_size, const std::vector<std::string>& more) {
  const TempDir root;
  root.Write("file", Content(body_size));
  // An answer of the wrong length is told on stderr; wrk itself counts codes and broken
  // connections.
  const std::string script = root.Write("check.lua", fmt::format(R"(
    function response(status, headers, body)
      if status ~= 200 or #body ~= {} then io.stderr:write("wrong answer\n") end
    end)",
                                                                 body_size));
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  std::vector<std::string> flags = {"-t", "2",         "-c",  "16", "-d",
                                    "1s", "--timeout", "60s", "-s", script};
  flags.insert(flags.end(), more.begin(), more.end());
  flags.push_back(Url(server, "/file"));
  const ToolResult result = RunTool("wrk", flags);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err.substr(0, 1000), "");
  EXPECT_THAT(result.out, Not(HasSubstr("Socket errors")));
  EXPECT_THAT(result.out, Not(HasSubstr("Non-2xx")));
  // "  4711 requests in 1.00s, 1.10MB read". The server has begun more than wrk waited for.
  const std::size_t count_end = result.out.find(" requests in ");
  ASSERT_NE(count_end, std::string::npos) << result.out;
  const std::size_t count_begin = result.out.find_last_not_of("0123456789", count_end - 1) + 1;
  const double count = std::strtod(result.out.c_str() + count_begin, nullptr);
  EXPECT_GT(count, 0) << result.out;
  EXPECT_TRUE(testing::Eventually(kDeadline, "all of them are counted", [&] {
    return server.Metric("getfile_requests_total{protocol=\"http\",status=\"OK\"}") >= count;
  }));
  const std::string page = server.MetricsPage();
  for (const char* status : {"FILE_NOT_FOUND", "ERROR", "INVALID"}) {
    EXPECT_EQ(
        FindMetric(
            page, fmt::format("getfile_requests_total{{protocol=\"http\",status=\"{}\"}}", status)),
        0);
  }
  const double connections = FindMetric(page, "getfile_connections_accepted_total");
  if (more.empty()) {
    EXPECT_LE(connections, 2 * 16 + 1);  // each thread tries one connection at its start
  } else {
    EXPECT_GE(connections, count);
  }
}

TEST(GetfileHttpWrkTest, SmallAnswersOverKeptConnections) { LoadWithWrk(1000, {}); }
TEST(GetfileHttpWrkTest, LargeAnswersOverKeptConnections) { LoadWithWrk(300 * kKiB, {}); }
TEST(GetfileHttpWrkTest, AConnectionPerRequest) { LoadWithWrk(1000, {"-H", "Connection: close"}); }
TEST(GetfileHttpWrkTest, LargeAnswersOnAConnectionEach) {
  LoadWithWrk(300 * kKiB, {"-H", "Connection: close"});
}

// --- A browser ---

TEST(GetfileHttpBrowserTest, ChromiumShowsAPageWithItsStyleScriptAndImage) {
  const TempDir root;
  root.Write("site/index.html", R"(<!DOCTYPE html>
<html>
<head>
<link rel="stylesheet" href="css/style.css">
<script src="script.js?version=1" defer></script>
</head>
<body><img id="picture" src="two%20words.png"><p id="text">not yet</p></body>
</html>
)");
  root.Write("site/css/style.css", "#text { text-indent: 17px; }\n");
  root.Write("site/script.js", R"(
addEventListener('load', () => {
  const text = document.getElementById('text');
  const picture = document.getElementById('picture');
  text.textContent = ['the script ran', document.characterSet, getComputedStyle(text).textIndent,
                      picture.naturalWidth + 'x' + picture.naturalHeight].join(', ');
});
)");
  constexpr std::string_view kPicture(  // 3 x 2 pixels
      "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\3\0\0\0\2\x08\2\0\0\0\x12\x16\xf1\x4d\0\0\0\x10IDAT"
      "\x78\x9c\x63\xf8\xcf\xc0\0\x41\x0c\x70\x16\0\x41\xd2\x05\xfb\x87\xf0\xb9\x48\0\0\0\0IEND"
      "\xae\x42\x60\x82",
      73);
  root.Write("site/two words.png", kPicture);
  const TempDir logs;
  const TempDir profile;
  GetfileServer server({"--root", root.path(), "--access-log", logs.path("access.log")});
  const ToolResult result = RunTool(
      "chromium",
      {"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
       "--disable-background-networking", "--disable-component-update", "--disable-sync",
       "--disable-dev-shm-usage", "--no-proxy-server", "--user-data-dir=" + profile.path("data"),
       "--dump-dom", Url(server, "/site")},  // redirected to its slash
      {.environment = {{"HOME", profile.path()}, {"TMPDIR", profile.path()}},
       .timeout = std::chrono::minutes(2)});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("the script ran, UTF-8, 17px, 3x2")) << result.err;
  EXPECT_EQ(server.process().Terminate(), 0);
  const std::string log = logs.Read("access.log");
  for (const char* line :
       {"\"GET /site HTTP\" 301 ", "\"GET /site/ HTTP\" 200 ",
        "\"GET /site/css/style.css HTTP\" 200 ", "\"GET /site/script.js HTTP\" 200 ",
        "\"GET /site/two%20words.png HTTP\" 200 73 "}) {
    EXPECT_THAT(log, HasSubstr(line));
  }
}

// --- Both protocols ---

TEST(GetfileHttpMixedTest, BothProtocolsAreServedOnOnePortAtTheSameTime) {
  constexpr unsigned kFiles = 40;
  constexpr unsigned kRequests = 400;
  constexpr std::size_t kSizes[] = {0, 1, 1000, 16384, 16385, 100000, 1048577};
  const TempDir root;
  const TempDir lists;
  std::string workload;
  std::string digests;
  for (unsigned i = 0; i < kFiles; ++i) {
    const std::string body = Content(kSizes[i % std::size(kSizes)], i);
    root.Write(fmt::format("file{}", i), body);
    workload += fmt::format("/file{}\n", i);
    digests += fmt::format("{}  file{}\n", Sha256Hex(body), i);
  }
  lists.Write("workload", workload);
  lists.Write("digests", digests);
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  {
    std::vector<std::jthread> clients;
    for (const bool keep_alive : {false, true}) {
      clients.emplace_back([&, keep_alive] {
        const TempDir output;
        std::vector<std::string> flags = {
            "-s",       server.host(),          "-p", std::to_string(server.port()),
            "-w",       lists.path("workload"), "-r", std::to_string(kRequests),
            "--verify", lists.path("digests"),  "-o", output.path()};
        if (keep_alive) flags.emplace_back("--keep-alive");
        const ToolResult result = RunTool("getfile-client", flags);
        EXPECT_EQ(result.exit_code, 0) << result.err.substr(0, 1000);
      });
    }
    clients.emplace_back([&] {  // one curl, one connection after the other in parallel
      const TempDir output;
      std::vector<std::string> flags = CurlFlags({"-f", "-Z", "--parallel-max", "8"});
      for (unsigned i = 0; i < kRequests; ++i) {
        flags.insert(flags.end(), {"-o", output.path(fmt::format("file{}", i)),
                                   Url(server, fmt::format("/file{}", i % kFiles))});
      }
      const ToolResult result = RunTool("curl", flags);
      EXPECT_EQ(result.exit_code, 0) << result.err.substr(0, 1000);
      for (unsigned i = 0; i < kRequests; ++i) {
        EXPECT_EQ(Sha256Hex(output.Read(fmt::format("file{}", i))),
                  Sha256Hex(Content(kSizes[i % kFiles % std::size(kSizes)], i % kFiles)));
      }
    });
    clients.emplace_back([&] {  // both protocols in turn on one connection
      RawPeer peer = server.Connect();
      for (unsigned i = 0; i < kRequests / 2; ++i) {
        const std::string body = Content(kSizes[i % kFiles % std::size(kSizes)], i % kFiles);
        const std::string answer = Ok(body);
        ASSERT_TRUE(peer.Send(GetKeepAlive(fmt::format("/file{}", i % kFiles))));
        ASSERT_EQ(Sha256Hex(peer.Read(answer.size()).bytes), Sha256Hex(answer)) << i;
        ASSERT_TRUE(
            peer.Send(fmt::format("GET /file{} HTTP/1.1\r\nHost: here\r\n\r\n", i % kFiles)));
        std::string head;
        while (!head.ends_with("\r\n\r\n")) {
          const std::string byte = peer.Read(1).bytes;
          ASSERT_EQ(byte.size(), 1U) << head;
          head += byte;
        }
        const std::string whole = head + peer.Read(body.size()).bytes;
        const auto replies = ReadReplies(whole);
        ASSERT_EQ(replies.size(), 1U);
        ASSERT_EQ(replies[0].code, 200) << head;
        ASSERT_EQ(Sha256Hex(replies[0].body), Sha256Hex(body)) << i;
      }
    });
  }
  const auto half = kRequests / 2;
  EXPECT_TRUE(server.Counts("getfile_requests_total{protocol=\"getfile\",status=\"OK\"}",
                            2 * kRequests + half));
  EXPECT_TRUE(
      server.Counts("getfile_requests_total{protocol=\"http\",status=\"OK\"}", kRequests + half));
  EXPECT_EQ(server.Metric("getfile_answers_broken_total"), 0);
}

}  // namespace
}  // namespace ds::getfile
