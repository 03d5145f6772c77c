#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <ctime>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/parse.h"
#include "common/base/unique_fd.h"
#include "tests/getfile/getfile_server.h"
#include "tests/getfile/http_reply.h"
#include "tests/harness/eventually.h"
#include "tests/harness/raw_peer.h"
#include "tests/harness/run_tool.h"
#include "tests/harness/sha256.h"
#include "tests/harness/temp_dir.h"

// HTTP on the server's port, as curl and raw sockets see it.

namespace ds::getfile {
namespace {

using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using testing::RunTool;
using testing::Sha256Hex;
using ::testing::SizeIs;
using ::testing::StartsWith;
using testing::TempDir;
using testing::ToolResult;
using End = RawPeer::End;

constexpr std::size_t kMiB = std::size_t{1} << 20U;
constexpr std::time_t kModified = 1700000000;
constexpr const char* kModifiedText = "Tue, 14 Nov 2023 22:13:20 GMT";
constexpr const char* kEarlierText = "Tue, 14 Nov 2023 22:13:19 GMT";
constexpr const char* kLaterText = "Tue, 14 Nov 2023 22:13:21 GMT";

/// An HttpReply with this code and body.
MATCHER_P2(Is, code, body, "") { return arg.code == code && arg.body == body; }
MATCHER_P(HasCode, code, "") { return arg.code == code; }

/// Writes a file that was last modified at kModified.
void WriteOld(const TempDir& root, const std::string& name, std::string_view bytes) {
  const std::string file = root.Write(name, bytes);
  const timespec times[] = {{kModified, 0}, {kModified, 123456789}};
  CHECK(::utimensat(AT_FDCWD, file.c_str(), times, 0) == 0);
}

std::string Request(std::string_view method, std::string_view target, std::string_view more = "") {
  return fmt::format("{} {} HTTP/1.1\r\nHost: here\r\n{}\r\n", method, target, more);
}

/// Sends `request` over a connection of its own and reads all that comes: answers, and then an
/// orderly end.
std::vector<HttpReply> Ask(const GetfileServer& server, std::string_view request,
                           const std::set<std::size_t>& bodiless = {}) {
  const auto received = server.Exchange(request);
  EXPECT_EQ(received.end, End::kClosed) << EscapeBytes(request.substr(0, 200));
  return ReadReplies(received.bytes, bodiless);
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// --- Whole files ---

TEST(GetfileHttpTest, AFileIsAnsweredWithItsBytesAndItsFields) {
  const TempDir root;
  const std::vector<std::pair<std::string, std::string>> files = {
      {"plain.txt", "hello\n"},
      {"empty", ""},
      {"one", "x"},
      {"terminators", "\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\r\n\r\n"},
      {"nuls", std::string("\0\0\0", 3)},
      {"a/b/deep", "deep"},
      {"small", Content(16384)},
      {"larger", Content(16385)},
      {"large", Content(3 * kMiB + 17)},
  };
  for (const auto& [name, body] : files) WriteOld(root, name, body);
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  std::set<std::string> tags;
  for (const auto& [name, body] : files) {
    const HttpReply reply = Curl(server, "/" + name);
    EXPECT_THAT(reply, Is(200, body)) << name;
    EXPECT_EQ(reply.version, "HTTP/1.1");
    EXPECT_EQ(reply.Field("Content-Length"), std::to_string(body.size()));
    EXPECT_EQ(reply.Field("Last-Modified"), kModifiedText);
    EXPECT_EQ(reply.Field("Accept-Ranges"), "bytes");
    EXPECT_EQ(reply.Field("Connection"), "<none>") << "HTTP/1.1 stays open by itself";
    EXPECT_THAT(reply.Field("ETag"), MatchesRegex("\"[^\"]+\""));
    tags.insert(reply.Field("ETag"));
  }
  EXPECT_THAT(tags, SizeIs(files.size()));
  EXPECT_TRUE(server.Counts("getfile_requests_total{protocol=\"http\",status=\"OK\"}",
                            static_cast<double>(files.size())));
  EXPECT_EQ(server.Metric("getfile_requests_total{protocol=\"getfile\",status=\"OK\"}"), 0);
}

TEST(GetfileHttpTest, HeadIsTheSameWithoutTheBody) {
  const TempDir root;
  WriteOld(root, "a.html", "<p>hello");
  GetfileServer server({"--root", root.path()});
  HttpReply get = Curl(server, "/a.html");
  HttpReply head = Curl(server, "/a.html", {"-I"});
  ASSERT_THAT(get, Is(200, "<p>hello"));
  EXPECT_THAT(head, Is(200, ""));
  const auto drop_date = [](HttpReply* reply) {
    std::erase_if(reply->fields, [](const auto& field) { return field.starts_with("Date: "); });
  };
  drop_date(&get);
  drop_date(&head);
  EXPECT_EQ(head.fields, get.fields);
  EXPECT_THAT(Curl(server, "/missing", {"-I"}), Is(404, ""));
  // The next answer follows at once, so that nothing can hide behind the head.
  const auto replies = Ask(server,
                           Request("HEAD", "/a.html") + Request("HEAD", "/missing") +
                               Request("GET", "/a.html", "Connection: close\r\n"),
                           {0, 1});
  EXPECT_THAT(replies, ElementsAre(HasCode(200), HasCode(404), Is(200, "<p>hello")));
}

TEST(GetfileHttpTest, WhatIsNotThereIsNotFound) {
  const TempDir outside;
  outside.Write("secret", "secret");
  const TempDir root;
  root.Write("file", "file");
  root.Write(".hidden", "hidden");
  ASSERT_EQ(::mkfifo(root.path("fifo").c_str(), 0666), 0);
  ASSERT_EQ(::symlink(outside.path("secret").c_str(), root.path("escape").c_str()), 0);
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  const std::vector<std::string> targets = {
      "/missing",
      "/file/more",
      "/file/",
      "/fifo",
      "/escape",
      "/.hidden",
      "/%2ehidden",
      "/../../../../../../../../etc/passwd",
      "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
      "/..%2f..%2f..%2f..%2f..%2fetc/passwd",
      "/%2Fetc/passwd",
      "/%2566ile",  // decoded once, not twice
      "/FILE",
  };
  for (const std::string& target : targets) {
    const HttpReply reply = Curl(server, target);
    EXPECT_THAT(reply, Is(404, "404 Not Found\n")) << target;
    EXPECT_EQ(reply.Field("Content-Type"), "text/plain");
    EXPECT_EQ(reply.Field("ETag"), "<none>");
  }
  EXPECT_TRUE(server.Counts("getfile_requests_total{protocol=\"http\",status=\"FILE_NOT_FOUND\"}",
                            static_cast<double>(targets.size())));
}

TEST(GetfileHttpTest, AFileWithoutPermissionIsAServerError) {
  const TempDir root;
  root.Write("secret", "secret");
  ASSERT_EQ(::chmod(root.path("secret").c_str(), 0), 0);
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"},
                       {.program = "", .as_nobody = true});
  EXPECT_THAT(Curl(server, "/secret"), Is(500, "500 Internal Server Error\n"));
  EXPECT_TRUE(server.Counts("getfile_requests_total{protocol=\"http\",status=\"ERROR\"}", 1));
}

TEST(GetfileHttpTest, PercentEscapesAreDecodedAndTheQueryIsIgnored) {
  const TempDir root;
  root.Write("a b", "blank");
  root.Write("100%", "percent");
  root.Write("gr\xc3\xbc\xc3\x9f", "UTF-8");
  root.Write("\xff", "byte");
  root.Write("what?#", "marks");
  root.Write("a+b", "plus");
  root.Write("folder/file", "inside");
  GetfileServer server({"--root", root.path()});
  EXPECT_THAT(Curl(server, "/a%20b"), Is(200, "blank"));
  EXPECT_THAT(Curl(server, "/100%25"), Is(200, "percent"));
  EXPECT_THAT(Curl(server, "/gr%C3%bc%c3%9F"), Is(200, "UTF-8"));
  EXPECT_THAT(Curl(server, "/%ff"), Is(200, "byte"));
  EXPECT_THAT(Curl(server, "/what%3F%23"), Is(200, "marks"));
  EXPECT_THAT(Curl(server, "/a+b"), Is(200, "plus"));
  EXPECT_THAT(Curl(server, "/folder%2ffile"), Is(200, "inside"));
  EXPECT_THAT(Curl(server, "/folder/%66%69le"), Is(200, "inside"));
  EXPECT_THAT(Curl(server, "/a+b?"), Is(200, "plus"));
  EXPECT_THAT(Curl(server, "/a+b?x=/../%zz&y=%00"), Is(200, "plus"));
  EXPECT_THAT(Curl(server, "/what?#"), HasCode(404));
  // The form for proxies names the server once more.
  EXPECT_THAT(Ask(server, Request("GET", "http://there:80/a+b?x", "Connection: close\r\n")),
              ElementsAre(Is(200, "plus")));
}

TEST(GetfileHttpTest, AFolderIsItsIndexAndWithoutSlashARedirect) {
  const TempDir root;
  root.Write("index.html", "<p>top");
  root.Write("folder/index.html", "<p>folder");
  root.Write("folder/x y/index.html", "<p>deeper");
  root.Write("bare/file", "file");
  GetfileServer server({"--root", root.path()});
  const HttpReply top = Curl(server, "/");
  EXPECT_THAT(top, Is(200, "<p>top"));
  EXPECT_EQ(top.Field("Content-Type"), "text/html; charset=utf-8");
  EXPECT_THAT(Curl(server, "/?query"), Is(200, "<p>top"));
  EXPECT_THAT(Curl(server, "/folder/"), Is(200, "<p>folder"));
  EXPECT_THAT(Curl(server, "/bare/"), HasCode(404));

  const HttpReply redirect = Curl(server, "/folder?a=b&c=%20");
  EXPECT_THAT(redirect, HasCode(301));
  EXPECT_EQ(redirect.Field("Location"), "/folder/?a=b&c=%20");
  EXPECT_EQ(Curl(server, "/folder/x%20y").Field("Location"), "/folder/x%20y/");
  EXPECT_EQ(Curl(server, "//folder").Field("Location"), "/folder/") << "not another server";
  EXPECT_THAT(Curl(server, "/bare"), HasCode(301));

  const ToolResult followed = RunTool(
      "curl",
      CurlFlags({"-L", "-w", "|%{num_redirects} %{url_effective}", Url(server, "/folder")}));
  EXPECT_EQ(followed.out, "<p>folder|1 " + Url(server, "/folder/"));

  const TempDir empty;
  GetfileServer without({"--root", empty.path()});
  EXPECT_THAT(Curl(without, "/"), HasCode(404));
}

TEST(GetfileHttpTest, TheContentTypeIsThatOfTheSharedMimeDatabase) {
  const TempDir root;
  GetfileServer server({"--root", root.path()});
  const std::vector<std::pair<std::string, std::string>> types = {
      {"page.html", "text/html; charset=utf-8"},
      {"PAGE.HTML", "text/html; charset=utf-8"},
      {"style.css", "text/css; charset=utf-8"},
      {"notes.txt", "text/plain; charset=utf-8"},
      {"picture.png", "image/png"},
      {"drawing.svg", "image/svg+xml"},
      {"data.json", "application/json"},
      {"film.mp4", "video/mp4"},
      {"archive.gz", "application/gzip"},
      {"archive.tar.gz", "application/x-compressed-tar"},
      {"folder.html/no-type", "application/octet-stream"},
      {"unknown.suffix-that-nobody-has", "application/octet-stream"},
  };
  for (const auto& [name, type] : types) {
    root.Write(name, "x");
    EXPECT_EQ(Curl(server, "/" + name).Field("Content-Type"), type) << name;
  }
  // Both names of it are in use.
  root.Write("script.js", "x");
  EXPECT_THAT(Curl(server, "/script.js").Field("Content-Type"),
              MatchesRegex("(text|application)/javascript(; charset=utf-8)?"));
}

TEST(GetfileHttpTest, TheDateIsThatOfTheAnswer) {
  const TempDir root;
  root.Write("a", "a");
  const auto date_of = [](const HttpReply& reply) -> std::time_t {
    std::tm parts{};
    const std::string date = reply.Field("Date");
    const char* const end = ::strptime(date.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    EXPECT_TRUE(end != nullptr && *end == '\0') << date;
    return ::timegm(&parts);
  };
  const std::time_t before = std::time(nullptr);
  GetfileServer server({"--root", root.path()});
  const std::time_t first = date_of(Curl(server, "/a"));
  EXPECT_GE(first, before);
  EXPECT_LE(first, std::time(nullptr));
  EXPECT_TRUE(Eventually(kDeadline, "the date moves on, for files and for errors", [&] {
    return date_of(Curl(server, "/a")) > first && date_of(Curl(server, "/missing")) > first;
  }));
}

// --- Parts of files ---

TEST(GetfileHttpTest, OneRangeIsAnsweredWithThatPart) {
  const std::string body = Content(100);
  const TempDir root;
  root.Write("a", body);
  const std::string large = Content(2 * kMiB);
  root.Write("large", large);
  GetfileServer server({"--root", root.path()});
  struct Case {
    const char* range;
    std::size_t first;
    std::size_t last;
  };
  for (const Case& c : std::vector<Case>{
           {"0-0", 0, 0},
           {"5-9", 5, 9},
           {"99-99", 99, 99},
           {"0-99", 0, 99},
           {"95-", 95, 99},
           {"0-", 0, 99},
           {"-1", 99, 99},
           {"-5", 95, 99},
           {"-100", 0, 99},
           {"-1000", 0, 99},
           {"90-100000", 90, 99},
           {"90-99999999999999999999999", 90, 99},
       }) {
    const HttpReply reply = Curl(server, "/a", {"-r", c.range});
    EXPECT_THAT(reply, Is(206, body.substr(c.first, c.last - c.first + 1))) << c.range;
    EXPECT_EQ(reply.Field("Content-Range"), fmt::format("bytes {}-{}/100", c.first, c.last));
    EXPECT_EQ(reply.Field("Content-Length"), std::to_string(c.last - c.first + 1));
    EXPECT_THAT(reply.Field("ETag"), StartsWith("\""));
  }
  EXPECT_THAT(Curl(server, "/large", {"-r", "1000000-1999999"}),
              Is(206, large.substr(1000000, 1000000)));
}

TEST(GetfileHttpTest, ARangeBeyondTheEndIsNotSatisfiable) {
  const TempDir root;
  root.Write("a", Content(100));
  root.Write("empty", "");
  GetfileServer server({"--root", root.path()});
  for (const char* range : {"100-", "100-200", "99999999999999999999-", "-0"}) {
    const HttpReply reply = Curl(server, "/a", {"-H", fmt::format("Range: bytes={}", range)});
    EXPECT_THAT(reply, HasCode(416)) << range;
    EXPECT_EQ(reply.Field("Content-Range"), "bytes */100");
    EXPECT_EQ(reply.Field("Content-Length"), std::to_string(reply.body.size()));
  }
  EXPECT_THAT(Curl(server, "/empty", {"-r", "-1"}), HasCode(200)) << "at most its last byte";
  for (const char* range : {"0-", "0-0", "-0"}) {
    const HttpReply reply = Curl(server, "/empty", {"-r", range});
    EXPECT_THAT(reply, HasCode(416)) << range;
    EXPECT_EQ(reply.Field("Content-Range"), "bytes */0");
  }
}

TEST(GetfileHttpTest, SeveralRangesAndMalformedOnesAreAnsweredWithTheWholeFile) {
  const std::string body = Content(100);
  const TempDir root;
  root.Write("a", body);
  GetfileServer server({"--root", root.path()});
  for (const char* range :
       {"bytes=0-1,5-6", "bytes=0-1, -2", "bytes=-1,", "bytes=", "bytes=-", "bytes=a-b",
        "bytes=9-5", "bytes=1", "bytes=1-2-3", "bytes=+1-2", "items=0-1", "0-1", "bytes 0-1"}) {
    const HttpReply reply = Curl(server, "/a", {"-H", fmt::format("Range: {}", range)});
    EXPECT_THAT(reply, Is(200, body)) << range;
    EXPECT_EQ(reply.Field("Content-Range"), "<none>");
  }
  // A range is a matter of GET alone (RFC 9110 section 14.2).
  const HttpReply head = Curl(server, "/a", {"-I", "-r", "0-1"});
  EXPECT_THAT(head, HasCode(200));
  EXPECT_EQ(head.Field("Content-Length"), "100");
}

TEST(GetfileHttpTest, PartsBeyondFourGiBAreServed) {
  constexpr std::uint64_t kSize = 5ULL << 30U;
  constexpr std::string_view kMark = "four gibibytes in";
  constexpr std::uint64_t kMarkAt = (4ULL << 30U) + 12345;
  const TempDir root;
  root.Write("huge", "the beginning");
  {
    const UniqueFd file(::open(root.path("huge").c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::ftruncate(file.get(), kSize), 0);
    ASSERT_EQ(::pwrite(file.get(), kMark.data(), kMark.size(), kMarkAt),
              static_cast<ssize_t>(kMark.size()));
  }
  GetfileServer server({"--root", root.path()});
  EXPECT_EQ(Curl(server, "/huge", {"-I"}).Field("Content-Length"), "5368709120");
  const HttpReply part =
      Curl(server, "/huge", {"-r", fmt::format("{}-{}", kMarkAt, kMarkAt + kMark.size() - 1)});
  EXPECT_THAT(part, Is(206, kMark));
  EXPECT_EQ(part.Field("Content-Range"), "bytes 4294979641-4294979657/5368709120");
  EXPECT_THAT(Curl(server, "/huge", {"-r", "-3"}), Is(206, std::string(3, '\0')));
  EXPECT_THAT(Curl(server, "/huge", {"-r", "5368709120-"}), HasCode(416));
  // Over 2 GiB in one answer, counted by curl.
  const ToolResult most =
      RunTool("curl", CurlFlags({"-r", "3000000000-", "-o", "/dev/null", "-w",
                                 "%{http_code} %{size_download}", Url(server, "/huge")}));
  EXPECT_EQ(most.out, "206 2368709120") << most.err;
}

TEST(GetfileHttpTest, CurlContinuesABrokenDownload) {
  const std::string body = Content(kMiB);
  const TempDir root;
  root.Write("a", body);
  GetfileServer server({"--root", root.path()});
  const TempDir folder;
  folder.Write("a", body.substr(0, 300000));
  const ToolResult result =
      RunTool("curl", CurlFlags({"-C", "-", "-o", folder.path("a"), "-w",
                                 "%{http_code} %{size_download}", Url(server, "/a")}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, fmt::format("206 {}", kMiB - 300000));
  EXPECT_EQ(Sha256Hex(folder.Read("a")), Sha256Hex(body));
}

// --- Conditions ---

TEST(GetfileHttpTest, WhatTheClientHasAlreadyIsNotSentAgain) {
  const TempDir root;
  WriteOld(root, "a", "content");
  GetfileServer server({"--root", root.path()});
  const std::string tag = Curl(server, "/a").Field("ETag");
  const auto ask = [&](const std::vector<std::string>& fields) {
    std::vector<std::string> flags;
    for (const std::string& field : fields) flags.insert(flags.end(), {"-H", field});
    return Curl(server, "/a", flags);
  };
  const std::string if_none = "If-None-Match: ";
  for (const std::string& tags :
       {tag, "W/" + tag, "\"other\", " + tag, "\"a,b\"," + tag + ",\"c\"", std::string("*")}) {
    const HttpReply reply = ask({if_none + tags});
    EXPECT_THAT(reply, Is(304, "")) << tags;
    EXPECT_EQ(reply.Field("ETag"), tag);
    EXPECT_EQ(reply.Field("Last-Modified"), kModifiedText);
  }
  EXPECT_THAT(ask({if_none + "\"other\""}), Is(200, "content"));
  EXPECT_THAT(ask({if_none + tag.substr(1)}), Is(200, "content"));

  const std::string since = "If-Modified-Since: ";
  EXPECT_THAT(ask({since + kModifiedText}), Is(304, ""));
  EXPECT_THAT(ask({since + kLaterText}), Is(304, ""));
  EXPECT_THAT(ask({since + kEarlierText}), Is(200, "content"));
  EXPECT_THAT(ask({since + "yesterday"}), Is(200, "content"));
  EXPECT_THAT(ask({since + "Tuesday, 14-Nov-23 22:13:20 GMT"}), HasCode(304)) << "RFC 850";
  // The tag decides where both are given.
  EXPECT_THAT(ask({if_none + "\"other\"", since + kLaterText}), Is(200, "content"));
  EXPECT_THAT(ask({if_none + tag, since + kEarlierText}), Is(304, ""));

  EXPECT_THAT(ask({"If-Match: " + tag}), Is(200, "content"));
  EXPECT_THAT(ask({"If-Match: \"other\""}), HasCode(412));
  EXPECT_THAT(ask({"If-Match: W/" + tag}), HasCode(412));
  EXPECT_THAT(ask({std::string("If-Unmodified-Since: ") + kModifiedText}), Is(200, "content"));
  EXPECT_THAT(ask({std::string("If-Unmodified-Since: ") + kEarlierText}), HasCode(412));
  EXPECT_THAT(Curl(server, "/missing", {"-H", if_none + "*"}), HasCode(404));
}

TEST(GetfileHttpTest, ARangeIsSentOnlyIfTheFileIsStillTheSame) {
  const TempDir root;
  WriteOld(root, "a", "content");
  GetfileServer server({"--root", root.path()});
  const std::string tag = Curl(server, "/a").Field("ETag");
  const auto ask = [&](const std::string& validator) {
    return Curl(server, "/a", {"-r", "3-", "-H", "If-Range: " + validator});
  };
  EXPECT_THAT(ask(tag), Is(206, "tent"));
  EXPECT_THAT(ask(kModifiedText), Is(206, "tent"));
  EXPECT_THAT(ask("\"other\""), Is(200, "content"));
  EXPECT_THAT(ask("W/" + tag), Is(200, "content"));
  EXPECT_THAT(ask(kEarlierText), Is(200, "content"));
  EXPECT_THAT(ask(kLaterText), Is(200, "content"));
  EXPECT_THAT(ask("nonsense"), Is(200, "content"));
}

TEST(GetfileHttpTest, TheTagChangesWithTheFile) {
  const TempDir root;
  const TempDir cache;
  WriteOld(root, "a", "first");
  GetfileServer server({"--root", root.path(), "--revalidate", "0"});
  // As curl keeps it: the tag in one file, the content in another.
  const auto refresh = [&] {
    return RunTool("curl",
                   CurlFlags({"--etag-save", cache.path("tag"), "--etag-compare", cache.path("tag"),
                              "-o", cache.path("a"), "-w", "%{http_code}", Url(server, "/a")}))
        .out;
  };
  cache.Write("tag", "");
  EXPECT_EQ(refresh(), "200");
  EXPECT_EQ(refresh(), "304");
  EXPECT_EQ(cache.Read("a"), "first");
  // Another file of the same size and time.
  WriteOld(root, "a.new", "later");
  ASSERT_EQ(::rename(root.path("a.new").c_str(), root.path("a").c_str()), 0);
  EXPECT_EQ(refresh(), "200");
  EXPECT_EQ(cache.Read("a"), "later");
  EXPECT_EQ(refresh(), "304");
}

// --- Connections ---

TEST(GetfileHttpTest, OneConnectionCarriesAnswersOfAllKinds) {
  const TempDir root;
  root.Write("a", Content(1000));
  root.Write("empty", "");
  root.Write("large", Content(2 * kMiB));
  root.Write("folder/file", "file");
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  std::vector<std::string> flags;
  std::string expected;
  const auto add = [&](const std::string& target, const std::vector<std::string>& more, int code,
                       std::size_t size) {
    if (!flags.empty()) flags.emplace_back("--next");
    const auto common = CurlFlags({"-w", "%{num_connects} %{http_code} %{size_download}\n", "-o",
                                   "/dev/null", Url(server, target)});
    // -q counts only as the first argument of all.
    flags.insert(flags.end(), common.begin() + (flags.empty() ? 0 : 1), common.end());
    flags.insert(flags.end(), more.begin(), more.end());
    expected += fmt::format("{} {} {}\n", expected.empty() ? 1 : 0, code, size);
  };
  add("/a", {}, 200, 1000);
  add("/large", {}, 200, 2 * kMiB);
  add("/a", {"-I"}, 200, 0);
  add("/missing", {}, 404, 14);
  add("/empty", {}, 200, 0);
  add("/a", {"-r", "5-14"}, 206, 10);
  add("/a", {"-r", "5000-"}, 416, 0);
  add("/a", {"-H", "If-None-Match: *"}, 304, 0);
  add("/a", {"-H", "If-Match: \"x\""}, 412, 24);
  add("/folder", {}, 301, 22);
  add("/a", {}, 200, 1000);
  const ToolResult result = RunTool("curl", flags);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, expected);
  EXPECT_EQ(server.Metric("getfile_connections_accepted_total"), 1);
}

TEST(GetfileHttpTest, TwoUrlsOfOneCurlShareAConnection) {
  const TempDir root;
  root.Write("a", "a");
  root.Write("b", "b");
  GetfileServer server({"--root", root.path()});
  const auto connects = [&](const std::vector<std::string>& more) {
    std::vector<std::string> flags = CurlFlags(more);
    flags.insert(flags.end(), {"-w", "%{num_connects}", Url(server, "/a"), Url(server, "/b")});
    return RunTool("curl", flags).out;
  };
  EXPECT_EQ(connects({}), "a1b0");
  EXPECT_EQ(connects({"-H", "Connection: close"}), "a1b1");
  EXPECT_EQ(connects({"-H", "Connection: x, Close"}), "a1b1");
  EXPECT_EQ(connects({"-0"}), "a1b1");
  EXPECT_EQ(connects({"-0", "-H", "Connection: Keep-Alive"}), "a1b0");
}

TEST(GetfileHttpTest, TheEndOfAConnectionIsAnnounced) {
  const TempDir root;
  root.Write("a", "content");
  GetfileServer server({"--root", root.path()});
  const auto close = [](const HttpReply& reply) { return reply.Field("Connection"); };
  EXPECT_EQ(close(Curl(server, "/a", {"-H", "Connection: close"})), "close");
  const HttpReply old = Curl(server, "/a", {"-0"});
  EXPECT_THAT(old, Is(200, "content"));
  EXPECT_EQ(old.version, "HTTP/1.1") << "the server's own version";
  EXPECT_EQ(close(old), "close");
  EXPECT_EQ(close(Curl(server, "/a", {"-0", "-H", "Connection: keep-alive"})), "keep-alive");
  // HTTP/1.0 knows no Host, and its last answer is followed by the end of the connection.
  EXPECT_THAT(Ask(server, "GET /a HTTP/1.0\r\n\r\nGET /a HTTP/1.0\r\n\r\n"),
              ElementsAre(Is(200, "content")));
  EXPECT_THAT(Ask(server, Request("GET", "/a", "Connection: close\r\n") + Request("GET", "/a")),
              ElementsAre(Is(200, "content")));
}

TEST(GetfileHttpTest, PipelinedRequestsAreAnsweredInOrder) {
  const TempDir root;
  const auto content = [](unsigned i) { return Content(std::size_t{i} * 1000, i); };
  for (unsigned i = 0; i < 37; ++i) root.Write(fmt::format("file{}", i), content(i));
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  constexpr unsigned kRequests = 1000;
  std::string requests;
  std::set<std::size_t> heads;
  for (unsigned i = 0; i < kRequests; ++i) {
    const std::string name = i % 10 == 9 ? "missing" : fmt::format("file{}", i % 37);
    const bool head = i % 7 == 3;
    if (head) heads.insert(i);
    requests += Request(head ? "HEAD" : "GET", "/" + name);
  }
  RawPeer peer = server.Connect();
  ASSERT_TRUE(peer.Send(requests));
  peer.ShutdownWrite();
  const auto received = peer.ReadToEnd();
  EXPECT_EQ(received.end, End::kClosed);
  const auto replies = ReadReplies(received.bytes, heads);
  ASSERT_THAT(replies, SizeIs(kRequests));
  for (unsigned i = 0; i < kRequests; ++i) {
    const bool missing = i % 10 == 9;
    const std::string body = missing ? "404 Not Found\n" : content(i % 37);
    ASSERT_THAT(replies[i], Is(missing ? 404 : 200, heads.contains(i) ? "" : body)) << i;
    ASSERT_EQ(replies[i].Field("Content-Length"), std::to_string(body.size())) << i;
  }
  EXPECT_EQ(server.Metric("getfile_connections_accepted_total"), 1);
}

TEST(GetfileHttpTest, ARequestMayComeInAnyPieces) {
  const TempDir root;
  root.Write("a", "content");
  GetfileServer server({"--root", root.path()});
  const std::string request = Request("GET", "/a", "X: y\r\n");
  RawPeer slow = server.Connect();
  ASSERT_TRUE(slow.SendSlowly("\r\n" + request + Request("GET", "/a", "Connection: close\r\n")));
  EXPECT_THAT(ReadReplies(slow.ReadToEnd().bytes),
              ElementsAre(Is(200, "content"), Is(200, "content")));
  for (std::size_t split = 1; split < request.size(); split += 3) {
    RawPeer peer = server.Connect();
    ASSERT_TRUE(peer.Send(request.substr(0, split)));
    ASSERT_TRUE(server.WaitUntilRead(peer));
    ASSERT_TRUE(peer.Send(request.substr(split)));
    peer.ShutdownWrite();
    EXPECT_THAT(ReadReplies(peer.ReadToEnd().bytes), ElementsAre(Is(200, "content"))) << split;
  }
  // Lines may end with LF alone (RFC 9112 section 2.2).
  EXPECT_THAT(Ask(server, "GET /a HTTP/1.1\nHost: x\nConnection: close\n\n"),
              ElementsAre(Is(200, "content")));
}

// --- Requests that are refused ---

TEST(GetfileHttpTest, OtherMethodsAreRefusedWithThoseThatAreAllowed) {
  const TempDir root;
  root.Write("a", "content");
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  const std::string upload = root.Write("upload", Content(3 * kMiB));
  const std::vector<std::vector<std::string>> uses = {{"-X", "POST"},
                                                      {"-X", "DELETE"},
                                                      {"-X", "OPTIONS"},
                                                      {"-X", "PATCH"},
                                                      {"-X", "TRACE"},
                                                      {"-d", "a=b"},
                                                      {"-T", upload},
                                                      {"--data-binary", "@" + upload},
                                                      {"-T", upload, "-H", "Expect:"}};
  for (const auto& flags : uses) {
    const HttpReply reply = Curl(server, "/a", flags);
    EXPECT_THAT(reply, Is(405, "405 Method Not Allowed\n")) << flags[0] << ' ' << flags[1];
    EXPECT_EQ(reply.Field("Allow"), "GET, HEAD");
    EXPECT_EQ(reply.Field("Connection"), "close");
  }
  EXPECT_TRUE(server.Counts("getfile_requests_total{protocol=\"http\",status=\"INVALID\"}",
                            static_cast<double>(uses.size())));
}

TEST(GetfileHttpTest, AMalformedRequestIsRefusedAndEndsTheConnection) {
  const TempDir root;
  root.Write("a", "content");
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  const std::string host = "Host: here\r\n";
  const std::vector<std::pair<std::string, int>> table = {
      {"GET /a HTTP/1.1\r\n\r\n", 400},
      {"GET /a HTTP/1.1\r\n" + host + host + "\r\n", 400},
      {"GET /a\r\n\r\n", 400},
      {"GET  HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET a HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET ftp://here/a HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET http:///a HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /a b HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /a\tb HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /a%zz HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /a%4 HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /a% HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /a%00 HTTP/1.1\r\n" + host + "\r\n", 400},
      {std::string("GET /a\0b HTTP/1.1\r\n", 19) + host + "\r\n", 400},
      {"GET /a http/1.1\r\n" + host + "\r\n", 400},
      {"GET /a HTTP/1,1\r\n" + host + "\r\n", 400},
      {"GET /a HTTP/x.1\r\n" + host + "\r\n", 400},
      {"GET /a HTTP/2.0\r\n" + host + "\r\n", 505},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"GET /a HTTP/1.1\r\n" + host + "no colon\r\n\r\n", 400},
      {"GET /a HTTP/1.1\r\n" + host + "Blank : x\r\n\r\n", 400},
      {"GET /a HTTP/1.1\r\n" + host + ": x\r\n\r\n", 400},
      {"GET /a HTTP/1.1\r\n" + host + "X: y\r\n folded\r\n\r\n", 400},
      {"GET /a HTTP/1.1\r\n" + host + "X: \x01\r\n\r\n", 400},
      {"GET /a HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n", 400},
      {"GET /a HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
      {"GET /a HTTP/1.1\r\n" + host +
           "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       400},
      {"GET /" + std::string(4096, 'x') + " HTTP/1.1\r\n" + host + "\r\n", 414},
  };
  for (const auto& [request, code] : table) {
    const auto replies = Ask(server, request + Request("GET", "/a"));
    ASSERT_THAT(replies, ElementsAre(HasCode(code))) << EscapeBytes(request.substr(0, 200));
    EXPECT_EQ(replies[0].Field("Connection"), "close");
    EXPECT_THAT(replies[0].body, StartsWith(std::to_string(code) + " "));
  }
  EXPECT_EQ(server.Metric("getfile_requests_total{protocol=\"http\",status=\"INVALID\"}") +
                server.Metric("getfile_requests_total{protocol=\"http\",status=\"ERROR\"}"),
            static_cast<double>(table.size()));
  EXPECT_THAT(Curl(server, "/a"), Is(200, "content"));
  // A good request in front of it is answered first.
  EXPECT_THAT(Ask(server, Request("GET", "/a") + "GET /a HTTP/1.1\r\n\r\n"),
              ElementsAre(Is(200, "content"), HasCode(400)));
  // Half a request and then no more.
  RawPeer peer = server.Connect();
  ASSERT_TRUE(peer.Send("GET /a HTTP/1.1\r\nHost: here\r\n"));
  peer.ShutdownWrite();
  EXPECT_THAT(ReadReplies(peer.ReadToEnd().bytes), ElementsAre(HasCode(400)));
}

TEST(GetfileHttpTest, ARequestWithABodyIsTheLastOfItsConnection) {
  const TempDir root;
  root.Write("a", "content");
  GetfileServer server({"--root", root.path()});
  const auto replies = Ask(server, Request("GET", "/a", "Content-Length: 32\r\n") +
                                       Request("GET", "/a") + Request("GET", "/a"));
  ASSERT_THAT(replies, ElementsAre(Is(200, "content")));
  EXPECT_EQ(replies[0].Field("Connection"), "close");
}

TEST(GetfileHttpTest, AHeaderThatIsTooLargeIsRefused) {
  const TempDir root;
  root.Write("a", "content");
  GetfileServer server({"--root", root.path()});
  const HttpReply one = Curl(server, "/a", {"-H", "X: " + std::string(9000, 'x')});
  EXPECT_THAT(one, Is(431, "431 Request Header Fields Too Large\n"));
  EXPECT_EQ(one.Field("Connection"), "close");
  std::vector<std::string> many;
  for (int i = 0; i < 1000; ++i) many.insert(many.end(), {"-H", fmt::format("X-{}: value", i)});
  EXPECT_THAT(Curl(server, "/a", many), HasCode(431));
  EXPECT_THAT(Curl(server, "/a", {"-H", "X: " + std::string(7000, 'x')}), Is(200, "content"));
  // Megabytes more of it destroy no answer.
  RawPeer peer = server.Connect();
  ASSERT_TRUE(peer.Send("GET /a HTTP/1.1\r\nX: " + std::string(2 * kMiB, 'x')));
  const auto received = peer.ReadToEnd();
  EXPECT_EQ(received.end, End::kClosed);
  EXPECT_THAT(ReadReplies(received.bytes), ElementsAre(HasCode(431)));
}

TEST(GetfileHttpTest, AHeaderThatDoesNotCompleteInTimeIsRefused) {
  const TempDir root;
  root.Write("a", "content");
  GetfileServer server(
      {"--root", root.path(), "--metrics", "127.0.0.1:0", "--header-timeout", "1"});
  RawPeer peer = server.Connect();
  ASSERT_TRUE(peer.Send("GET /a HTTP/1.1\r\nHost: here\r\n"));
  const auto received = peer.ReadToEnd();
  EXPECT_EQ(received.end, End::kClosed);
  const auto replies = ReadReplies(received.bytes);
  ASSERT_THAT(replies, ElementsAre(Is(408, "408 Request Timeout\n")));
  EXPECT_EQ(replies[0].Field("Connection"), "close");
  // Who is idle between two requests has asked nothing, and hears nothing.
  RawPeer idle = server.Connect();
  ASSERT_TRUE(idle.Send(Request("GET", "/a")));
  const auto all = idle.ReadToEnd();
  EXPECT_EQ(all.end, End::kClosed);
  EXPECT_THAT(ReadReplies(all.bytes), ElementsAre(Is(200, "content")));
  peer.Close();
  idle.Close();
  EXPECT_TRUE(Eventually(kDeadline, "both time-outs are counted", [&] {
    return server.Metric("getfile_timeouts_total{limit=\"header\"}") == 2;
  }));
}

TEST(GetfileHttpTest, ConnectionsBeyondTheMaximumAreAnsweredUnavailableUntilOneEnds) {
  const TempDir root;
  root.Write("a", "content");
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0", "--max-connections", "4",
                        "--header-timeout", "600"});
  std::vector<RawPeer> peers;
  for (int i = 0; i < 4; ++i) {
    peers.push_back(server.Connect());
    ASSERT_TRUE(peers.back().Send(Request("GET", "/a")));
    ASSERT_EQ(peers.back().Read(12).bytes, "HTTP/1.1 200");
  }
  const HttpReply refused = Curl(server, "/a");
  EXPECT_THAT(refused, Is(503, "503 Service Unavailable\n"));
  EXPECT_EQ(refused.Field("Connection"), "close");
  EXPECT_EQ(server.Metric("getfile_connections_refused_total"), 1);
  EXPECT_TRUE(server.Counts("getfile_requests_total{protocol=\"http\",status=\"ERROR\"}", 1));
  peers.pop_back();
  EXPECT_TRUE(Eventually(kDeadline, "a place has become free",
                         [&] { return Curl(server, "/a").code == 200; }));
}

// --- What it says about itself ---

TEST(GetfileHttpTest, TheAccessLogHasALineForEveryAnswer) {
  const TempDir root;
  root.Write("a", "12345");
  root.Write("x \"y\"", "");
  const TempDir logs;
  GetfileServer server({"--root", root.path(), "--access-log", logs.path("access.log")});
  Curl(server, "/a?query");
  Curl(server, "/a", {"-I"});
  Curl(server, "/a", {"-r", "1-3"});
  Curl(server, "/a", {"-r", "9-"});
  Curl(server, "/a", {"-H", "If-None-Match: *"});
  Curl(server, "/x%20%22y%22");
  Curl(server, "/missing");
  Curl(server, "/a", {"-X", "POST"});
  EXPECT_EQ(server.process().Terminate(), 0);
  const std::string stamp = " - - \\[[0-9]+/[A-Z][a-z]+/20[0-9]+:..:..:.. \\+0000\\] ";
  const auto line = [&](const std::string& what) {
    return MatchesRegex("127.0.0.1" + stamp + what + " [0-9]+\\.[0-9]+");
  };
  // The two workers may write in either order.
  EXPECT_THAT(Lines(logs.Read("access.log")),
              ::testing::UnorderedElementsAre(
                  line("\"GET /a HTTP\" 200 5"), line("\"HEAD /a HTTP\" 200 0"),
                  line("\"GET /a HTTP\" 206 3"), line("\"GET /a HTTP\" 416 0"),
                  line("\"GET /a HTTP\" 304 0"), line("\"GET /x%20%22y%22 HTTP\" 200 0"),
                  line("\"GET /missing HTTP\" 404 0"), line("\"-\" 405 0")));
}

TEST(GetfileHttpTest, HttpIsCountedApartFromGetfile) {
  const TempDir root;
  root.Write("a", "12345");
  GetfileServer server({"--root", root.path(), "--metrics", "127.0.0.1:0"});
  EXPECT_THAT(server.Exchange(Get("/a")), Answers(Ok("12345")));
  Curl(server, "/a");
  Curl(server, "/a", {"-I"});
  Curl(server, "/a", {"-H", "If-None-Match: *"});
  Curl(server, "/missing");
  Curl(server, "/a", {"-r", "9-"});
  Curl(server, "/a", {"-X", "POST"});
  EXPECT_TRUE(server.Counts("getfile_answer_seconds_count", 7));
  const std::string page = server.MetricsPage();
  const auto requests = [&](const std::string& protocol, const std::string& status) {
    return FindMetric(page, fmt::format("getfile_requests_total{{protocol=\"{}\",status=\"{}\"}}",
                                        protocol, status));
  };
  EXPECT_EQ(requests("getfile", "OK"), 1);
  EXPECT_EQ(requests("http", "OK"), 3);
  EXPECT_EQ(requests("http", "FILE_NOT_FOUND"), 1);
  EXPECT_EQ(requests("http", "INVALID"), 2);
  EXPECT_EQ(requests("http", "ERROR"), 0);
  EXPECT_EQ(FindMetric(page, "getfile_body_bytes_total"), 10);
  EXPECT_EQ(FindMetric(page, "getfile_answer_seconds_count"), 7);
  EXPECT_EQ(FindMetric(page, "getfile_connections_accepted_total"), 7);
}

}  // namespace
}  // namespace ds::getfile
