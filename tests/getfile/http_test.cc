#include "getfile/core/http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "common/base/http_date.h"
#include "getfile/core/request_parser.h"
#include "getfile/core/server_connection.h"

namespace ds::getfile {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using namespace std::chrono_literals;

constexpr std::int64_t kModified = 784111777;  // Sun, 06 Nov 1994 08:49:37 GMT
const ContentFields kFields{.content_type = "text/plain; charset=utf-8",
                            .etag = "\"abc-1\"",
                            .last_modified = "Sun, 06 Nov 1994 08:49:37 GMT",
                            .modified_unix_s = kModified};
const HttpContext kContext{.date = "Mon, 07 Nov 1994 00:00:00 GMT", .keep_alive = true};

/// The request of "GET /a HTTP/1.1" with these further field lines.
Request RequestWith(const std::string& fields, const std::string& method = "GET") {
  Request request;
  EXPECT_EQ(ParseHttpRequest(method + " /a HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n", &request), 0)
      << fields;
  return request;
}

HttpAnswer Answer(const std::string& fields, std::uint64_t length = 100,
                  const std::string& method = "GET") {
  return AnswerWithContent(RequestWith(fields, method), kFields, length, kContext);
}

TEST(HttpDateTest, AllThreeFormsAreReadAndOneIsWritten) {
  EXPECT_EQ(FormatHttpDate(kModified), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(ParseHttpDate("Sun, 06 Nov 1994 08:49:37 GMT"), kModified);
  EXPECT_EQ(ParseHttpDate("Sunday, 06-Nov-94 08:49:37 GMT"), kModified);
  EXPECT_EQ(ParseHttpDate("Sun Nov  6 08:49:37 1994"), kModified);
  for (const char* bad : {"", "yesterday", "Sun, 06 Nov 1994", "Sun, 36 Nov 1994 08:49:37 GMT",
                          "Sun, 06 Nov 1994 08:49:37 GMT trailing"}) {
    EXPECT_FALSE(ParseHttpDate(bad).has_value()) << bad;
  }
}

TEST(HttpRequestTest, TargetsAreDecodedAndTheQueryIsSetAside) {
  struct Case {
    const char* target;
    const char* path;
  };
  for (const Case& c :
       {Case{"/a/b.txt", "/a/b.txt"}, Case{"/a%20b", "/a b"}, Case{"/a?x=1", "/a"},
        Case{"/%C3%a4", "/\xc3\xa4"}, Case{"/a%2Fb", "/a/b"}, Case{"/a%3fb?c", "/a?b"},
        Case{"http://host:80/x?y", "/x"}, Case{"http://host", "/"}, Case{"HTTPS://h/z", "/z"},
        Case{"/a#frag", "/a"}, Case{"/..%2f..", "/../.."}, Case{"//x", "//x"}}) {
    Request request;
    EXPECT_EQ(
        ParseHttpRequest(std::string("GET ") + c.target + " HTTP/1.1\r\nHost: h\r\n\r\n", &request),
        0);
    EXPECT_EQ(request.path, c.path);
    EXPECT_EQ(request.protocol, Protocol::kHttp);
  }
}

TEST(HttpRequestTest, MalformedHeadsAreRefusedWithTheRightCode) {
  using namespace std::string_literals;
  struct Case {
    std::string head;
    int code;
  };
  const std::string host = "Host: h\r\n";
  const std::vector<Case> table = {
      {"GET\r\n\r\n", 400},
      {"GET /\r\n\r\n", 400},
      {"GET  HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET / HTTP/1.1 x\r\n" + host + "\r\n", 400},
      {"GET /a b HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET / HTTP/2.0\r\n" + host + "\r\n", 505},
      {"GET / HTTP/0.9\r\n\r\n", 505},
      {"GET / HTTP/x.y\r\n\r\n", 400},
      {"GET / http/1.1\r\n" + host + "\r\n", 400},
      {"GET / HTTP/1.1.1\r\n" + host + "\r\n", 400},
      {"GET / HTTP/1.Z\r\n" + host + "\r\n", 400},
      {"GET / HTTP/1.\xff\r\n" + host + "\r\n", 400},
      {"GET / HTTP/11\r\n\r\n", 400},
      {"GET a HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET * HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET ftp://h/a HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET http:///a HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /%zz HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /%2 HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /%00 HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /a\0b HTTP/1.1\r\n"s + host + "\r\n", 400},
      {"GET /a\tb HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /\x7f HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /" + std::string(5000, 'a') + " HTTP/1.1\r\n" + host + "\r\n", 414},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + host + "\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "Bad Name: x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "Bad : x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + ": x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "NoColon\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + " folded: x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "X: a\0b\r\n\r\n"s, 400},
      {"GET / HTTP/1.1\r\n" + host + "X: a\rb\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "Content-Length: x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "Content-Length: 1, 1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
       400},
      {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\n" + host + "\r\n", 405},
      {"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", 405},
      {"PRI * HTTP/2.0\r\n\r\n", 505},
  };
  ASSERT_GE(table.size(), 40U);
  for (const Case& c : table) {
    Request request;
    EXPECT_EQ(ParseHttpRequest(c.head, &request), c.code) << c.head.substr(0, 80);
  }
}

TEST(HttpRequestTest, ConnectionsLastAsVersionAndFieldsSay) {
  const auto keeps = [](const std::string& version, const std::string& fields) {
    Request request;
    EXPECT_EQ(
        ParseHttpRequest("GET / HTTP/" + version + "\r\nHost: h\r\n" + fields + "\r\n", &request),
        0);
    return request.keep_alive;
  };
  EXPECT_TRUE(keeps("1.1", ""));
  EXPECT_FALSE(keeps("1.1", "Connection: close\r\n"));
  EXPECT_FALSE(keeps("1.1", "connection: Upgrade, CLOSE\r\n"));
  EXPECT_FALSE(keeps("1.0", ""));
  EXPECT_TRUE(keeps("1.0", "Connection: keep-alive\r\n"));
  EXPECT_FALSE(keeps("1.1", "Content-Length: 5\r\n")) << "the body is not read";
  EXPECT_TRUE(keeps("1.1", "Content-Length: 0\r\n"));
  EXPECT_FALSE(keeps("1.1", "Transfer-Encoding: chunked\r\n"));
}

TEST(HttpRequestTest, LinesMayEndInLineFeedAlone) {
  Request request;
  EXPECT_EQ(ParseHttpRequest("GET /a HTTP/1.1\nHost: h\nRange: bytes=1-2\n\n", &request), 0);
  EXPECT_EQ(request.conditions.range, "bytes=1-2");
}

TEST(HttpAnswerTest, ContentIsSentWhole) {
  const HttpAnswer answer = Answer("");
  EXPECT_EQ(answer.code, 200);
  EXPECT_EQ(answer.body_first, 0U);
  EXPECT_EQ(answer.body_length, 100U);
  EXPECT_EQ(answer.head,
            "HTTP/1.1 200 OK\r\nServer: getfile\r\nDate: Mon, 07 Nov 1994 00:00:00 GMT\r\n"
            "ETag: \"abc-1\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
            "Accept-Ranges: bytes\r\nContent-Type: text/plain; charset=utf-8\r\n"
            "Content-Length: 100\r\n\r\n");
}

TEST(HttpAnswerTest, HeadHasTheHeadOfGetAndNoBody) {
  const HttpAnswer get = Answer("");
  const HttpAnswer head = Answer("", 100, "HEAD");
  EXPECT_EQ(head.head, get.head);
  EXPECT_EQ(head.body_length, 0U);
}

TEST(HttpAnswerTest, RangesFollowRfc9110) {
  struct Case {
    const char* range;
    int code;
    std::uint64_t first;
    std::uint64_t length;
  };
  for (const Case& c : {Case{"bytes=0-0", 206, 0, 1},
                        Case{"bytes=0-99", 206, 0, 100},
                        Case{"bytes=10-", 206, 10, 90},
                        Case{"bytes=99-", 206, 99, 1},
                        Case{"bytes=-1", 206, 99, 1},
                        Case{"bytes=-1000", 206, 0, 100},
                        Case{"bytes=50-1000", 206, 50, 50},
                        Case{"BYTES=1-2", 206, 1, 2},
                        Case{"bytes=5-99999999999999999999999", 206, 5, 95},
                        Case{"bytes=100-", 416, 0, 0},
                        Case{"bytes=100-200", 416, 0, 0},
                        Case{"bytes=-0", 416, 0, 0},
                        Case{"bytes=99999999999999999999999-", 416, 0, 0},
                        Case{"bytes=2-1", 200, 0, 100},
                        Case{"bytes=", 200, 0, 100},
                        Case{"bytes=a-b", 200, 0, 100},
                        Case{"bytes=-", 200, 0, 100},
                        Case{"bytes=1", 200, 0, 100},
                        Case{"lines=1-2", 200, 0, 100},
                        Case{"bytes=0-1,5-6", 200, 0, 100},
                        Case{"bytes=1-2x", 200, 0, 100},
                        Case{"bytes=+1-2", 200, 0, 100}}) {
    const HttpAnswer answer = Answer(std::string("Range: ") + c.range + "\r\n");
    EXPECT_EQ(answer.code, c.code) << c.range;
    EXPECT_EQ(answer.body_first, c.first) << c.range;
    EXPECT_EQ(answer.body_length, c.length) << c.range;
    EXPECT_THAT(answer.head, HasSubstr("Content-Length: " + std::to_string(c.length) + "\r\n"));
  }
  EXPECT_THAT(Answer("Range: bytes=10-19\r\n").head,
              HasSubstr("Content-Range: bytes 10-19/100\r\n"));
  EXPECT_THAT(Answer("Range: bytes=100-\r\n").head, HasSubstr("Content-Range: bytes */100\r\n"));
  EXPECT_EQ(Answer("Range: bytes=0-\r\n", 0).code, 416) << "an empty file has no byte 0";
  EXPECT_EQ(Answer("Range: bytes=-1\r\n", 0).code, 200) << "and its last byte is all of it";
  EXPECT_EQ(Answer("Range: bytes=0-1\r\n", 100, "HEAD").code, 200) << "ranges are for GET";
}

TEST(HttpAnswerTest, PreconditionsFollowTheOrderOfRfc9110) {
  struct Case {
    const char* fields;
    int code;
  };
  const char* const same = "Sun, 06 Nov 1994 08:49:37 GMT";
  const char* const older = "Sun, 06 Nov 1994 08:49:36 GMT";
  const auto line = [](const char* name, const char* value) {
    return std::string(name) + ": " + value + "\r\n";
  };
  EXPECT_EQ(Answer(line("If-None-Match", "\"abc-1\"")).code, 304);
  EXPECT_EQ(Answer(line("If-None-Match", "W/\"abc-1\"")).code, 304);
  EXPECT_EQ(Answer(line("If-None-Match", "\"x, y\", \"abc-1\"")).code, 304);
  EXPECT_EQ(Answer(line("If-None-Match", "*")).code, 304);
  EXPECT_EQ(Answer(line("If-None-Match", "\"other\"")).code, 200);
  EXPECT_EQ(Answer(line("If-None-Match", "\"other\"") + line("If-Modified-Since", same)).code, 200)
      << "the tag wins over the date";
  EXPECT_EQ(Answer(line("If-Modified-Since", same)).code, 304);
  EXPECT_EQ(Answer(line("If-Modified-Since", older)).code, 200);
  EXPECT_EQ(Answer(line("If-Modified-Since", "nonsense")).code, 200);
  EXPECT_EQ(Answer(line("If-Match", "\"abc-1\"")).code, 200);
  EXPECT_EQ(Answer(line("If-Match", "*")).code, 200);
  EXPECT_EQ(Answer(line("If-Match", "W/\"abc-1\"")).code, 412) << "weak tags never match here";
  EXPECT_EQ(Answer(line("If-Match", "\"other\"")).code, 412);
  EXPECT_EQ(Answer(line("If-Unmodified-Since", same)).code, 200);
  EXPECT_EQ(Answer(line("If-Unmodified-Since", older)).code, 412);
  EXPECT_EQ(Answer(line("If-Match", "\"abc-1\"") + line("If-None-Match", "\"abc-1\"")).code, 304);
  const HttpAnswer unchanged = Answer(line("If-None-Match", "*"));
  EXPECT_EQ(unchanged.body_length, 0U);
  EXPECT_THAT(unchanged.head, Not(HasSubstr("Content-Length")));
}

TEST(HttpAnswerTest, IfRangeGuardsThePart) {
  const std::string range = "Range: bytes=1-2\r\n";
  EXPECT_EQ(Answer(range + "If-Range: \"abc-1\"\r\n").code, 206);
  EXPECT_EQ(Answer(range + "If-Range: \"other\"\r\n").code, 200);
  EXPECT_EQ(Answer(range + "If-Range: W/\"abc-1\"\r\n").code, 200);
  EXPECT_EQ(Answer(range + "If-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n").code, 206);
  EXPECT_EQ(Answer(range + "If-Range: Sun, 06 Nov 1994 08:49:38 GMT\r\n").code, 200);
}

TEST(HttpAnswerTest, ErrorsCarryTheirReasonAndHeadDoesNot) {
  const HttpAnswer answer = AnswerWithCode(RequestWith(""), 404, kContext);
  EXPECT_THAT(answer.head, StartsWith("HTTP/1.1 404 Not Found\r\n"));
  EXPECT_THAT(answer.head, HasSubstr("Content-Length: 14\r\n\r\n404 Not Found\n"));
  const HttpAnswer head = AnswerWithCode(RequestWith("", "HEAD"), 404, kContext);
  EXPECT_THAT(head.head, HasSubstr("Content-Length: 14\r\n\r\n"));
  EXPECT_THAT(head.head, Not(HasSubstr("\r\n\r\n404")));
  EXPECT_THAT(AnswerWithCode(RequestWith(""), 405, kContext).head,
              HasSubstr("Allow: GET, HEAD\r\n"));
}

TEST(HttpAnswerTest, RedirectsStayOnThisServer) {
  Request request = RequestWith("");
  request.path = "//evil.example/a b";
  request.query = "?q";
  EXPECT_THAT(AnswerWithCode(request, 301, kContext).head,
              HasSubstr("\r\nLocation: /evil.example/a%20b/?q\r\n"));
}

TEST(HttpAnswerTest, TheConnectionFieldSaysWhatTheVersionDoesNot) {
  const HttpContext closing{.date = kContext.date, .keep_alive = false};
  Request request = RequestWith("");
  EXPECT_THAT(AnswerWithCode(request, 404, kContext).head, Not(HasSubstr("Connection")));
  EXPECT_THAT(AnswerWithCode(request, 404, closing).head, HasSubstr("Connection: close\r\n"));
  request.http_1_0 = true;
  EXPECT_THAT(AnswerWithCode(request, 404, kContext).head, HasSubstr("Connection: keep-alive\r\n"));
}

const std::string kHttp = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

TEST(HttpStreamTest, HttpRequestsAreReadAtEverySplit) {
  for (const std::string& head : {kHttp, "\r\n\r\n" + kHttp}) {
    for (std::size_t split = 0; split <= head.size(); ++split) {
      RequestParser parser;
      EXPECT_EQ(parser.Feed(std::string_view(head).substr(0, split)), split);
      EXPECT_EQ(parser.Feed(head.substr(split) + "rest"), head.size() - split);
      ASSERT_EQ(parser.state(), RequestParser::State::kComplete) << split;
      EXPECT_EQ(parser.protocol(), Protocol::kHttp);
      EXPECT_EQ(parser.TakeRequest().path, "/a");
    }
  }
}

TEST(HttpStreamTest, EmptyLinesDoNotBeginARequest) {
  RequestParser parser;
  parser.Feed("\r\n");
  EXPECT_FALSE(parser.started());
  parser.Feed("G");
  EXPECT_TRUE(parser.started());
}

TEST(HttpStreamTest, EndlessHeadIsRefusedWith431) {
  RequestParser parser;
  parser.Feed("GET / HTTP/1.1\r\n");
  const std::string line = "X: " + std::string(1000, 'x') + "\r\n";
  for (int i = 0; i < 10 && parser.state() == RequestParser::State::kIncomplete; ++i) {
    parser.Feed(line);
  }
  ASSERT_EQ(parser.state(), RequestParser::State::kInvalid);
  EXPECT_EQ(parser.http_code(), 431);
  RequestParser one_line;
  one_line.Feed("GET /" + std::string(100000, 'a'));
  EXPECT_EQ(one_line.http_code(), 431);
}

TEST(HttpStreamTest, BothProtocolsMayTakeTurnsOnAConnection) {
  const ServerConnection::Options options;
  const TimePoint now{1s};
  ServerConnection connection(&options, now);
  connection.HandleBytes(kHttp + "GETFILE GET /b\r\nConnection: keep-alive\r\n\r\n" + kHttp, now);
  for (const Protocol protocol : {Protocol::kHttp, Protocol::kGetfile, Protocol::kHttp}) {
    ASSERT_EQ(connection.phase(), ServerConnection::Phase::kLookup);
    EXPECT_EQ(connection.request().protocol, protocol);
    connection.HandleLookup({.status = AnswerStatus::kOk, .length = 3, .fields = &kFields}, now);
    EXPECT_THAT(std::string(connection.head_left()),
                StartsWith(protocol == Protocol::kHttp ? "HTTP/1.1 200" : "GETFILE OK 3"));
    connection.HandleSent(connection.head_left().size() + 3, now);
    EXPECT_EQ(connection.TakeFinished()->protocol, protocol);
  }
  EXPECT_EQ(connection.phase(), ServerConnection::Phase::kReading);
}

TEST(HttpStreamTest, PartsAreSentFromTheirFirstByte) {
  const ServerConnection::Options options;
  const TimePoint now{1s};
  ServerConnection connection(&options, now);
  connection.HandleBytes("GET /a HTTP/1.1\r\nHost: h\r\nRange: bytes=10-19\r\n\r\n", now);
  connection.HandleLookup({.status = AnswerStatus::kOk, .length = 100, .fields = &kFields}, now);
  EXPECT_EQ(connection.body_offset(), 10U);
  EXPECT_EQ(connection.body_left(), 10U);
  connection.HandleSent(connection.head_left().size() + 4, now);
  EXPECT_EQ(connection.body_offset(), 14U);
}

TEST(HttpStreamTest, CodesOfTheConnectionItself) {
  const ServerConnection::Options options;
  const TimePoint now{1s};
  const auto head_after = [&](auto&& act, bool refuse = false) {
    ServerConnection connection(&options, now, refuse);
    act(connection);
    EXPECT_EQ(connection.phase(), ServerConnection::Phase::kSending);
    std::string head(connection.head_left());
    connection.HandleSent(head.size(), now);
    EXPECT_EQ(connection.phase(), ServerConnection::Phase::kDraining);
    return head.substr(0, 12);
  };
  EXPECT_EQ(head_after([&](auto& c) { c.HandleBytes(kHttp, now); }, true), "HTTP/1.1 503");
  EXPECT_EQ(head_after([&](auto& c) {
              c.HandleBytes("GET / HT", now);
              c.HandleTimeout(0, now + options.header_timeout);
            }),
            "HTTP/1.1 408");
  EXPECT_EQ(head_after([&](auto& c) {
              c.HandleBytes("GET / HT", now);
              c.HandleEndOfInput(0, now);
            }),
            "HTTP/1.1 400");
  EXPECT_EQ(
      head_after([&](auto& c) { c.HandleBytes("DELETE / HTTP/1.1\r\nHost: h\r\n\r\n", now); }),
      "HTTP/1.1 405");
}

TEST(HttpStreamTest, FoldersAreRedirectedAndMissingFilesAre404) {
  const ServerConnection::Options options;
  const TimePoint now{1s};
  for (const bool is_folder : {false, true}) {
    ServerConnection connection(&options, now);
    connection.HandleBytes(kHttp, now);
    connection.HandleLookup({.status = AnswerStatus::kFileNotFound, .is_folder = is_folder}, now);
    EXPECT_THAT(std::string(connection.head_left()),
                StartsWith(is_folder ? "HTTP/1.1 301" : "HTTP/1.1 404"));
    connection.HandleSent(connection.head_left().size(), now);
    EXPECT_EQ(connection.phase(), ServerConnection::Phase::kReading) << "the connection goes on";
  }
}

}  // namespace
}  // namespace ds::getfile
