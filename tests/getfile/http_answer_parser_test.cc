#include "getfile/core/http_answer_parser.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ds::getfile {
namespace {

using State = HttpAnswerParser::State;

struct Good {
  std::string head;
  int code;
  std::uint64_t length;
  bool keep_alive;
};

const std::vector<Good>& GoodHeads() {
  static const std::vector<Good> heads = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, 5, true},
      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, 0, true},
      {"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n", 200, UINT64_MAX, true},
      {"HTTP/1.1 200\r\ncontent-length:7\r\n\r\n", 200, 7, true},
      {"HTTP/1.1 200 \r\nCONTENT-LENGTH: \t 7 \t\r\n\r\n", 200, 7, true},
      {"HTTP/1.1 200 Very fine, \xc3\xbc\r\nContent-Length: 007\r\n\r\n", 200, 7, true},
      {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n", 200, 1, false},
      {"HTTP/1.1 200 OK\r\nConnection: x, Close ,y\r\nContent-Length: 1\r\n\r\n", 200, 1, false},
      {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n", 200, 1, true},
      {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", 200, 1, false},
      {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\n", 200, 1, true},
      {"HTTP/1.1 200 OK\r\nX-Empty:\r\nETag: \"a:b\"\r\nContent-Length: 3\r\n\r\n", 200, 3, true},
      {"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n", 404, 9, true},
      {"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", 304, 0, true},
      {"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", 304, 0, true},
      {"HTTP/1.1 204 No Content\r\n\r\n", 204, 0, true},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
       200, 2, true},
  };
  return heads;
}

void ExpectParsed(const HttpAnswerParser& parser, const Good& good) {
  ASSERT_EQ(parser.state(), State::kComplete) << good.head << parser.malformed_because();
  EXPECT_EQ(parser.head().code, good.code) << good.head;
  EXPECT_EQ(parser.head().length, good.length) << good.head;
  EXPECT_EQ(parser.head().keep_alive, good.keep_alive) << good.head;
}

TEST(HttpAnswerParserTest, HeadsAreReadAtEverySplitAndNoByteOfTheBodyIsTaken) {
  HttpAnswerParser parser;  // one for all, as a connection has it
  for (const Good& good : GoodHeads()) {
    const std::string bytes = good.head + "\r\n\r\nHTTP/1.1 body";
    for (std::size_t split = 0; split <= good.head.size(); ++split) {
      parser.Reset();
      EXPECT_EQ(parser.Feed(std::string_view(bytes).substr(0, split)), split);
      EXPECT_EQ(parser.started(), split > 0);
      EXPECT_EQ(parser.state() == State::kComplete, split == good.head.size());
      EXPECT_EQ(parser.Feed(std::string_view(bytes).substr(split)), good.head.size() - split);
      ExpectParsed(parser, good);
      EXPECT_EQ(parser.Feed("more"), 0U);
    }
  }
}

TEST(HttpAnswerParserTest, HeadsAreReadByteByByte) {
  for (const Good& good : GoodHeads()) {
    HttpAnswerParser parser;
    for (const char& byte : good.head) EXPECT_EQ(parser.Feed({&byte, 1}), 1U);
    ExpectParsed(parser, good);
  }
}

TEST(HttpAnswerParserTest, MalformedAnswersAreRefusedWholeAndByteByByte) {
  using namespace std::string_literals;
  const std::string line = "HTTP/1.1 200 OK\r\n";
  const std::string length = "Content-Length: 1\r\n";
  const std::vector<std::string> table = {
      "X",
      "\r\n",
      " HTTP/1.1 200 OK\r\n",
      "http/1.1 200 OK\r\n",
      "GETFILE OK 5\r\n\r\nhello",
      "SSH-2.0-OpenSSH\r\n",
      "HTTP/2 200\r\n",
      "HTTP/0.9",
      "HTTP/11 200 OK\r\n",
      "HTTP/1.1\r\n" + length + "\r\n",
      "HTTP/1.1 \r\n" + length + "\r\n",
      "HTTP/1.x 200 OK\r\n" + length + "\r\n",
      "HTTP/1.10 200 OK\r\n" + length + "\r\n",
      "HTTP/1.1  200 OK\r\n" + length + "\r\n",
      "HTTP/1.1\t200 OK\r\n" + length + "\r\n",
      "HTTP/1.1 20 OK\r\n" + length + "\r\n",
      "HTTP/1.1 2000 OK\r\n" + length + "\r\n",
      "HTTP/1.1 20x OK\r\n" + length + "\r\n",
      "HTTP/1.1 -20 OK\r\n" + length + "\r\n",
      "HTTP/1.1 099 OK\r\n" + length + "\r\n",
      "HTTP/1.1 600 OK\r\n" + length + "\r\n",
      "HTTP/1.1 200OK\r\n" + length + "\r\n",
      "HTTP/1.1 200 O\0K\r\n"s + length + "\r\n",
      "HTTP/1.1 200 OK\n" + length + "\r\n",
      "HTTP/1.1 200 OK\r" + length + "\r\n\r\n",
      "HTTP/1.1 101 Switching Protocols\r\n\r\n",
      line + "\r\n",
      line + "Transfer-Encoding: chunked\r\n\r\n",
      line + "Transfer-Encoding: identity\r\n" + length + "\r\n",
      line + "Content-Length:\r\n\r\n",
      line + "Content-Length: \r\n\r\n",
      line + "Content-Length: -1\r\n\r\n",
      line + "Content-Length: +1\r\n\r\n",
      line + "Content-Length: 0x10\r\n\r\n",
      line + "Content-Length: 1.5\r\n\r\n",
      line + "Content-Length: 1 2\r\n\r\n",
      line + "Content-Length: 5, 5\r\n\r\n",
      line + "Content-Length: 5x\r\n\r\n",
      line + "Content-Length: abc\r\n\r\n",
      line + "Content-Length: 18446744073709551616\r\n\r\n",
      line + length + length + "\r\n",
      line + length + "content-length: 2\r\n\r\n",
      line + length + "no colon\r\n\r\n",
      line + length + ": no name\r\n\r\n",
      line + length + "Blank : in front of the colon\r\n\r\n",
      line + length + "In the middle: x\r\n\r\n",
      line + length + "X: folded\r\n line\r\n\r\n",
      line + " X: folded at once\r\n" + length + "\r\n",
      line + length + "X: a\nY: b\r\n\r\n",
      line + length + "X: a\rb\r\n\r\n",
      line + length + "X: \0\r\n\r\n"s,
      line + length + "X: \x7f\r\n\r\n",
      line + length + "X\0: y\r\n\r\n"s,
      "HTTP/1.1 100 Continue\r\n\r\nX",
      "HTTP/1.1 100 Continue\r\n\r\n\r\n",
      "HTTP/1.1 100 Continue\r\n" + length + length + "\r\n",
  };
  ASSERT_GE(table.size(), 40U);
  for (const std::string& bytes : table) {
    HttpAnswerParser whole;
    whole.Feed(bytes);
    EXPECT_EQ(whole.state(), State::kMalformed) << bytes;
    EXPECT_FALSE(whole.malformed_because().empty());
    HttpAnswerParser split;
    for (const char& byte : bytes) split.Feed({&byte, 1});
    EXPECT_EQ(split.state(), State::kMalformed) << bytes;
    EXPECT_EQ(split.malformed_because(), whole.malformed_because()) << bytes;
  }
}

HttpAnswerParser ParsedForDownload(std::string_view bytes) {
  HttpAnswerParser parser(HttpAnswerParser::Mode::kDownload);
  parser.Feed(bytes);
  return parser;
}

TEST(HttpAnswerParserTest, ADownloadIsToldWhatIsSent) {
  const HttpAnswerParser parser = ParsedForDownload(
      "HTTP/1.1 103 Early Hints\r\nETag: \"of no interest\"\r\n\r\n"
      "HTTP/1.1 206 Partial Content\r\netag:  \"a,b\" \r\n"
      "LAST-MODIFIED: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
      "Content-Range: Bytes 5-9/10\r\nContent-Length: 5\r\n\r\n");
  ASSERT_EQ(parser.state(), State::kComplete) << parser.malformed_because();
  EXPECT_EQ(parser.head().code, 206);
  EXPECT_EQ(parser.head().etag, "\"a,b\"");
  EXPECT_EQ(parser.head().last_modified, "Tue, 14 Nov 2023 22:13:20 GMT");
  EXPECT_EQ(parser.head().range_first, 5U);
  EXPECT_EQ(parser.head().range_total, 10U);
  EXPECT_EQ(parser.head().length, 5U);
  EXPECT_TRUE(parser.head().length_known);

  const HttpAnswerParser beyond = ParsedForDownload(
      "HTTP/1.1 416 No\r\nETag: W/\"x\"\r\nContent-Range: bytes */10\r\nContent-Length: 0\r\n\r\n");
  ASSERT_EQ(beyond.state(), State::kComplete) << beyond.malformed_because();
  EXPECT_EQ(beyond.head().etag, "W/\"x\"");
  EXPECT_EQ(beyond.head().last_modified, "");
  EXPECT_EQ(beyond.head().range_first, std::nullopt);
  EXPECT_EQ(beyond.head().range_total, 10U);

  const HttpAnswerParser endless = ParsedForDownload(
      "HTTP/1.1 206 Part\r\nContent-Range: bytes 0-18446744073709551614/*\r\n"
      "Content-Length: 18446744073709551615\r\n\r\n");
  ASSERT_EQ(endless.state(), State::kComplete) << endless.malformed_because();
  EXPECT_EQ(endless.head().range_first, 0U);
  EXPECT_EQ(endless.head().range_total, std::nullopt);
}

TEST(HttpAnswerParserTest, ADownloadMayHaveAnyBody) {
  const HttpAnswerParser chunked =
      ParsedForDownload("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  ASSERT_EQ(chunked.state(), State::kComplete);
  EXPECT_FALSE(chunked.head().length_known);
  EXPECT_TRUE(chunked.head().keep_alive);
  const HttpAnswerParser both = ParsedForDownload(
      "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n");
  ASSERT_EQ(both.state(), State::kComplete);
  EXPECT_FALSE(both.head().length_known);
  EXPECT_EQ(both.head().length, 0U);
  const HttpAnswerParser to_the_end = ParsedForDownload("HTTP/1.1 200 OK\r\n\r\n");
  ASSERT_EQ(to_the_end.state(), State::kComplete);
  EXPECT_FALSE(to_the_end.head().length_known);
  EXPECT_FALSE(to_the_end.head().keep_alive) << "the end of the connection is that of the body";
  const HttpAnswerParser bodiless = ParsedForDownload("HTTP/1.1 304 Not Modified\r\n\r\n");
  ASSERT_EQ(bodiless.state(), State::kComplete);
  EXPECT_TRUE(bodiless.head().length_known);
  EXPECT_TRUE(bodiless.head().keep_alive);
}

TEST(HttpAnswerParserTest, AMeasurementDoesNotLookAtWhatIsSent) {
  HttpAnswerParser parser;
  parser.Feed(
      "HTTP/1.1 206 Part\r\nETag: \"x\"\r\nContent-Range: nonsense\r\n"
      "Content-Length: 5\r\n\r\n");
  ASSERT_EQ(parser.state(), State::kComplete) << parser.malformed_because();
  EXPECT_EQ(parser.head().etag, "");
}

TEST(HttpAnswerParserTest, MalformedDescriptionsAreRefusedInADownload) {
  for (const char* fields : {
           "ETag: \"x\"\r\nETag: \"x\"\r\n",
           "Last-Modified: a\r\nLast-Modified: b\r\n",
           "Content-Range: bytes 5-9/10\r\nContent-Range: bytes 5-9/10\r\n",
           "Content-Range: bytes */10\r\nContent-Range: bytes 5-9/10\r\n",
           "Content-Range: bytes 5-9\r\n",
           "Content-Range: bytes 5/10\r\n",
           "Content-Range: bytes -9/10\r\n",
           "Content-Range: bytes 5-/10\r\n",
           "Content-Range: bytes -/10\r\n",
           "Content-Range: bytes 5-9/\r\n",
           "Content-Range: bytes 5-9/x\r\n",
           "Content-Range: bytes 5-9/-10\r\n",
           "Content-Range: bytes 9-5/10\r\n",
           "Content-Range: bytes 5-10/10\r\n",
           "Content-Range: bytes 5-9/18446744073709551616\r\n",
           "Content-Range: bytes 18446744073709551616-18446744073709551617/*\r\n",
           "Content-Range: bytes 0x5-9/10\r\n",
           "Content-Range: bytes  5-9/10\r\n",
           "Content-Range: bytes 5 - 9/10\r\n",
           "Content-Range: bytes **/10\r\n",
       }) {
    const HttpAnswerParser parser = ParsedForDownload(
        std::string("HTTP/1.1 206 Part\r\nContent-Length: 5\r\n") + fields + "\r\n");
    EXPECT_EQ(parser.state(), State::kMalformed) << fields;
  }
  // Another unit is none of our business.
  const HttpAnswerParser other = ParsedForDownload(
      "HTTP/1.1 206 Part\r\nContent-Length: 5\r\nContent-Range: pages 1-2/3\r\n\r\n");
  ASSERT_EQ(other.state(), State::kComplete);
  EXPECT_EQ(other.head().range_first, std::nullopt);
}

TEST(HttpAnswerParserTest, AHeadHasABound) {
  const std::string begin = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX: ";
  const std::string end = "\r\n\r\n";
  const std::size_t room = HttpAnswerParser::kHeadBytesMax - begin.size() - end.size();
  HttpAnswerParser parser;
  parser.Feed(begin + std::string(room, 'x') + end + "body");
  EXPECT_EQ(parser.state(), State::kComplete);

  const std::string too_long = begin + std::string(room + 1, 'x') + end;
  for (const std::size_t piece : {std::size_t{1}, std::size_t{1000}, too_long.size()}) {
    parser.Reset();
    for (std::size_t at = 0; at < too_long.size(); at += piece) {
      parser.Feed(std::string_view(too_long).substr(at, piece));
    }
    EXPECT_EQ(parser.state(), State::kMalformed) << piece;
  }

  // Interim answers without an end count as one head.
  parser.Reset();
  std::string interim;
  for (int i = 0; i < 10000; ++i) interim += "HTTP/1.1 100 Continue\r\n\r\n";
  EXPECT_LE(parser.Feed(interim), HttpAnswerParser::kHeadBytesMax);
  EXPECT_EQ(parser.state(), State::kMalformed);
}

}  // namespace
}  // namespace ds::getfile
