#include "getfile/core/request_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ds::getfile {
namespace {

using State = RequestParser::State;

const std::string kGood = "GETFILE GET /a/b.txt\r\n\r\n";
const std::string kGoodKeepAlive = "GETFILE GET /a/b.txt\r\nConnection: keep-alive\r\n\r\n";

State FeedByteByByte(RequestParser& parser, std::string_view bytes) {
  for (const char& byte : bytes) {
    if (parser.state() != State::kIncomplete) break;
    parser.Feed({&byte, 1});
  }
  return parser.state();
}

TEST(RequestParserTest, WholeRequestIsConsumedToItsLastByte) {
  RequestParser parser;
  EXPECT_EQ(parser.Feed(kGood + "surplus"), kGood.size());
  ASSERT_EQ(parser.state(), State::kComplete);
  const Request request = parser.TakeRequest();
  EXPECT_EQ(request.path, "/a/b.txt");
  EXPECT_FALSE(request.keep_alive);
  EXPECT_EQ(parser.state(), State::kIncomplete) << "ready for the next request";
  EXPECT_FALSE(parser.started());
}

TEST(RequestParserTest, EverySplitGivesTheSameRequest) {
  for (const std::string& good : {kGood, kGoodKeepAlive}) {
    for (std::size_t split = 0; split <= good.size(); ++split) {
      RequestParser parser;
      EXPECT_EQ(parser.Feed(std::string_view(good).substr(0, split)), split);
      EXPECT_EQ(parser.started(), split > 0);
      EXPECT_EQ(parser.Feed(std::string_view(good).substr(split)), good.size() - split);
      ASSERT_EQ(parser.state(), State::kComplete) << "split at " << split;
      const Request request = parser.TakeRequest();
      EXPECT_EQ(request.path, "/a/b.txt");
      EXPECT_EQ(request.keep_alive, good == kGoodKeepAlive);
    }
  }
}

TEST(RequestParserTest, BytesOneByOneGiveTheSameRequest) {
  RequestParser parser;
  EXPECT_EQ(FeedByteByByte(parser, kGoodKeepAlive), State::kComplete);
  EXPECT_TRUE(parser.TakeRequest().keep_alive);
}

TEST(RequestParserTest, PipelinedRequestsComeOutOneByOne) {
  const std::string stream = kGoodKeepAlive + kGoodKeepAlive + kGood;
  RequestParser parser;
  std::string_view rest = stream;
  for (int i = 0; i < 3; ++i) {
    rest.remove_prefix(parser.Feed(rest));
    ASSERT_EQ(parser.state(), State::kComplete);
    EXPECT_EQ(parser.TakeRequest().keep_alive, i < 2);
  }
  EXPECT_TRUE(rest.empty());
}

TEST(RequestParserTest, PathsAreBytes) {
  const std::string path = "/\xc3\xa4/\xff\x80?a=b&%20#~";
  RequestParser parser;
  parser.Feed("GETFILE GET " + path + "\r\n\r\n");
  ASSERT_EQ(parser.state(), State::kComplete);
  EXPECT_EQ(parser.TakeRequest().path, path);
  EXPECT_TRUE(IsRequestPath(path));
}

TEST(RequestParserTest, PathOfTheLongestLengthIsTakenAndOneMoreIsNot) {
  const std::string longest = "/" + std::string(kPathBytesMax - 1, 'x');
  for (const std::size_t extra : {0U, 1U}) {
    const std::string path = longest + std::string(extra, 'x');
    RequestParser whole;
    whole.Feed("GETFILE GET " + path + "\r\n\r\n");
    RequestParser split;
    FeedByteByByte(split, "GETFILE GET " + path + "\r\n\r\n");
    const State expected = extra == 0 ? State::kComplete : State::kInvalid;
    EXPECT_EQ(whole.state(), expected);
    EXPECT_EQ(split.state(), expected);
    EXPECT_EQ(IsRequestPath(path), extra == 0);
  }
}

TEST(RequestParserTest, FormattedRequestIsReadBack) {
  for (const bool keep_alive : {false, true}) {
    RequestParser parser;
    parser.Feed(FormatRequest("/x", keep_alive));
    ASSERT_EQ(parser.state(), State::kComplete);
    const Request request = parser.TakeRequest();
    EXPECT_EQ(request.path, "/x");
    EXPECT_EQ(request.keep_alive, keep_alive);
  }
}

std::vector<std::string> MalformedRequests() {
  using namespace std::string_literals;
  return {
      "X",
      "\r\nX",
      "\r\nGETFILE GET /a\r\n\r\n",
      "\rX",
      " GETFILE GET /a\r\n\r\n",
      "getfile GET /a\r\n\r\n",
      "GETFILE get /a\r\n\r\n",
      "GetFile Get /a\r\n\r\n",
      "GETFILE  GET /a\r\n\r\n",
      "GETFILE GET  /a\r\n\r\n",
      "GETFILE GET /a \r\n\r\n",
      "GETFILE GET /a b\r\n\r\n",
      "GETFILE GET /a HTTP/1.1\r\n\r\n",
      "GETFILE GET a\r\n\r\n",
      "GETFILE GET \r\n\r\n",
      "GETFILE GET\r\n\r\n",
      "GETFILE\r\n\r\n",
      "GETFILE PUT /a\r\n\r\n",
      "GETFILE HEAD /a\r\n\r\n",
      "GETFILEGET /a\r\n\r\n",
      "GETFILES GET /a\r\n\r\n",
      "GETFILE GETS /a\r\n\r\n",
      "GETFILE\tGET /a\r\n\r\n",
      "GETFILE GET\t/a\r\n\r\n",
      "GETFILE GET /a\tb\r\n\r\n",
      "GETFILE GET /a\n\n",
      "GETFILE GET /a\r\r",
      "GETFILE GET /a\r\n\n",
      "GETFILE GET /a\r\n\rX",
      "GETFILE GET /a\n\r\n",
      "GETFILE GET /a\0b\r\n\r\n"s,
      "\0GETFILE GET /a\r\n\r\n"s,
      "GETFILE GET /\x01\r\n\r\n",
      "GETFILE GET /\x1f\r\n\r\n",
      "GETFILE GET /\x7f\r\n\r\n",
      "GETFILE GET /\x1b[0m\r\n\r\n",
      "GETFILE GET /a\r\nHost: x\r\n\r\n",
      "GETFILE GET /a\r\nConnection: close\r\n\r\n",
      "GETFILE GET /a\r\nconnection: keep-alive\r\n\r\n",
      "GETFILE GET /a\r\nConnection:keep-alive\r\n\r\n",
      "GETFILE GET /a\r\nConnection: keep-alive \r\n\r\n",
      "GETFILE GET /a\r\nConnection: keep-alive\n\r\n",
      "GETFILE GET /a\r\nConnection: keep-alive\r\nConnection: keep-alive\r\n\r\n",
      "GETFILE GET /a\r\nConnection: keep-alive\r\nX",
      "POST / HTTP/1.1\r\n\r\n",
      "GETFILE OK 5\r\n\r\n",
      "\x16\x03\x01\x02",  // a TLS hello
      "GETFILE GET http://a/b\r\n\r\n",
      "GETFILE GET *\r\n\r\n",
      "GETFILE GET \\a\r\n\r\n",
      std::string(65536, 'G'),
      "GETFILE GET /" + std::string(65536, 'a'),
  };
}

TEST(RequestParserTest, MalformedRequestsAreInvalidWholeAndByteByByte) {
  const auto table = MalformedRequests();
  ASSERT_GE(table.size(), 40U);
  for (const std::string& bytes : table) {
    RequestParser whole;
    whole.Feed(bytes);
    EXPECT_EQ(whole.state(), State::kInvalid) << bytes.substr(0, 60);
    EXPECT_TRUE(whole.started());
    RequestParser split;
    EXPECT_EQ(FeedByteByByte(split, bytes), State::kInvalid) << bytes.substr(0, 60);
    for (std::size_t at = 0; at < std::min<std::size_t>(bytes.size(), 64); ++at) {
      RequestParser parser;
      parser.Feed(std::string_view(bytes).substr(0, at));
      if (parser.state() == State::kIncomplete) parser.Feed(std::string_view(bytes).substr(at));
      EXPECT_EQ(parser.state(), State::kInvalid) << bytes.substr(0, 60) << " split at " << at;
    }
  }
}

TEST(RequestParserTest, EveryBeginningOfAGoodRequestIsIncomplete) {
  for (std::size_t length = 0; length < kGoodKeepAlive.size(); ++length) {
    RequestParser parser;
    parser.Feed(std::string_view(kGoodKeepAlive).substr(0, length));
    EXPECT_EQ(parser.state(), State::kIncomplete) << length;
  }
}

}  // namespace
}  // namespace ds::getfile
