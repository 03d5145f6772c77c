#include "ipc_proxy_cache/proxy/origin.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/harness/fake_server.h"

namespace ds::ipc_proxy_cache {
namespace {

using ::ds::testing::FakeServer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string Ok(std::string_view body, std::string_view fields = "") {
  return fmt::format("HTTP/1.1 200 OK\r\n{}Content-Length: {}\r\n\r\n{}", fields, body.size(),
                     body);
}

/// What came of one fetch.
class Recorder final : public OriginSink {
 public:
  void OnHead(const OriginHead& answer) override {
    ++heads;
    head = answer;
    if (on_head) on_head();
  }
  bool OnBody(std::string_view bytes) override {
    if (refusals > 0) {
      --refusals;
      if (on_refusal) on_refusal();
      return false;
    }
    body += bytes;
    if (on_body) on_body();
    return true;
  }
  void OnEnd(absl::Status result) override {
    ++ends;
    status = std::move(result);
    fetch.reset();
    if (on_end) on_end();
  }

  std::unique_ptr<OriginFetch> fetch;
  std::function<void()> on_head;
  std::function<void()> on_body;
  std::function<void()> on_refusal;
  std::function<void()> on_end;
  int refusals = 0;  ///< so many pieces are not taken at first
  int heads = 0;
  int ends = 0;
  OriginHead head;
  std::string body;
  absl::Status status;
};

/// Runs something once, when its time has come.
class Later final : private net::EventLoop::Timer {
 public:
  Later(net::EventLoop* loop, Duration delay, std::function<void()> task)
      : loop_(loop), task_(std::move(task)) {
    loop_->Arm(this, std::chrono::steady_clock::now() + delay);
  }
  ~Later() override { loop_->Cancel(this); }

 private:
  void OnTimer() override { task_(); }
  net::EventLoop* const loop_;
  const std::function<void()> task_;
};

class OriginTest : public ::testing::Test {
 protected:
  OriginTest() : loop_(net::EventLoop::Create().value()) { MakeClient({}); }

  void MakeClient(OriginOptions options) {
    client_.reset();
    client_ = OriginClient::Create(loop_.get(), std::move(options)).value();
  }
  static std::string Url(const FakeServer& server, std::string_view path = "/a") {
    return fmt::format("http://127.0.0.1:{}{}", server.port(), path);
  }
  void Begin(Recorder* recorder, OriginRequest request) {
    recorder->fetch = client_->Begin(request, recorder);
  }
  /// Fetches and runs the loop until the end.
  void Fetch(Recorder* recorder, OriginRequest request) {
    recorder->on_end = [this] { loop_->Stop(); };
    Begin(recorder, std::move(request));
    loop_->Run();
  }
  /// The loop stops for good, so each test runs it once.
  Recorder Fetched(std::string bytes, bool head = false) {
    FakeServer server({FakeServer::Answer(std::move(bytes))});
    Recorder recorder;
    Fetch(&recorder, {.url = Url(server), .head = head, .fields = {}});
    EXPECT_EQ(recorder.ends, 1);
    return recorder;
  }

  std::unique_ptr<net::EventLoop> loop_;
  std::unique_ptr<OriginClient> client_;
};

TEST_F(OriginTest, AnAnswerComesWithItsFieldsAndItsBytes) {
  FakeServer server({FakeServer::Answer(Ok("hello", "ETag: \"v1\"\r\nX-A: b\r\n"))});
  Recorder recorder;
  Fetch(&recorder,
        {.url = Url(server, "/a%20b/../c"), .head = false, .fields = {"Range: bytes=2-"}});
  EXPECT_TRUE(recorder.status.ok()) << recorder.status;
  EXPECT_EQ(recorder.heads, 1);
  EXPECT_EQ(recorder.head.code, 200);
  EXPECT_EQ(recorder.head.fields, "ETag: \"v1\"\r\nX-A: b\r\nContent-Length: 5\r\n");
  EXPECT_EQ(recorder.body, "hello");
  ASSERT_EQ(server.requests().size(), 1U);
  EXPECT_THAT(server.requests()[0], StartsWith("GET /a%20b/../c HTTP/1.1\r\n"));
  EXPECT_THAT(server.requests()[0], HasSubstr("\r\nRange: bytes=2-\r\n"));
  EXPECT_THAT(server.requests()[0], Not(HasSubstr("Accept-Encoding")));
}

TEST_F(OriginTest, AChunkedAnswerIsPutTogetherAndItsTrailerIsNotPartOfTheHead) {
  const Recorder recorder = Fetched(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\n...\r\n0\r\n"
      "X-After: 1\r\n\r\n");
  EXPECT_TRUE(recorder.status.ok()) << recorder.status;
  EXPECT_EQ(recorder.body, "hello...");
  EXPECT_EQ(recorder.head.fields, "Transfer-Encoding: chunked\r\n");
}

TEST_F(OriginTest, ATrailerBehindNoBodyIsNotPartOfTheHead) {
  const Recorder recorder = Fetched(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nCache-Control: max-age=9\r\n\r\n");
  EXPECT_TRUE(recorder.status.ok()) << recorder.status;
  EXPECT_EQ(recorder.head.fields, "Transfer-Encoding: chunked\r\n");
}

TEST_F(OriginTest, InterimHeadsAreNotTheHead) {
  const Recorder recorder = Fetched("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + Ok("x"));
  EXPECT_EQ(recorder.head.code, 200);
  EXPECT_EQ(recorder.head.fields, "Content-Length: 1\r\n");
  EXPECT_EQ(recorder.heads, 1);
}

TEST_F(OriginTest, AnAnswerWithoutABodyHasAHead) {
  const Recorder recorder = Fetched("HTTP/1.1 304 Not Modified\r\nETag: \"v\"\r\n\r\n");
  EXPECT_TRUE(recorder.status.ok()) << recorder.status;
  EXPECT_EQ(recorder.head.code, 304);
  EXPECT_EQ(recorder.head.fields, "ETag: \"v\"\r\n");
}

TEST_F(OriginTest, HeadAsksForTheHeadAlone) {
  const Recorder recorder = Fetched("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true);
  EXPECT_TRUE(recorder.status.ok()) << recorder.status;
  EXPECT_EQ(recorder.head.fields, "Content-Length: 5\r\n");
  EXPECT_EQ(recorder.body, "");
}

TEST_F(OriginTest, AnErrorPageIsAnAnswerToo) {
  const Recorder recorder = Fetched("HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nsad.");
  EXPECT_TRUE(recorder.status.ok()) << recorder.status;
  EXPECT_EQ(recorder.head.code, 500);
  EXPECT_EQ(recorder.body, "sad.");
}

class OriginBrokenTest : public OriginTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(OriginBrokenTest, WhatBreaksOffOrIsNotHttpIsNotWhole) {
  const Recorder recorder = Fetched(GetParam());
  EXPECT_EQ(recorder.status.code(), absl::StatusCode::kDataLoss) << recorder.status;
}

INSTANTIATE_TEST_SUITE_P(
    Answers, OriginBrokenTest,
    ::testing::Values("", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Le",
                      "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12345678",
                      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
                      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n",
                      "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                      "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
                      "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello",
                      "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
                      "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nhello",
                      "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
                      "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 5\r\n\r\nhello",
                      "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nhello",
                      "GETFILE OK 5\r\n\r\nhello", "SSH-2.0-OpenSSH\r\n"));

TEST_F(OriginTest, ALengthThatIsSaidTwiceIsOne) {
  const Recorder recorder = Fetched(Ok("hello", "content-length:  5 \r\n"));
  EXPECT_TRUE(recorder.status.ok()) << recorder.status;
  EXPECT_EQ(recorder.body, "hello");
}

TEST_F(OriginTest, AHeadOfMoreThan64KiBIsRefused) {
  std::string fields;
  while (fields.size() < 65536) fields += "X-Filler: " + std::string(1000, 'x') + "\r\n";
  const Recorder recorder = Fetched(Ok("x", fields));
  EXPECT_EQ(recorder.status.code(), absl::StatusCode::kDataLoss) << recorder.status;
  EXPECT_THAT(std::string(recorder.status.message()), HasSubstr("64 KiB"));
}

TEST_F(OriginTest, NobodyThereIsUnavailable) {
  std::string url;
  {
    const FakeServer server({FakeServer::Answer("")});
    url = Url(server);
  }
  Recorder recorder;
  Fetch(&recorder, {.url = url, .head = false, .fields = {}});
  EXPECT_EQ(recorder.status.code(), absl::StatusCode::kUnavailable) << recorder.status;
}

TEST_F(OriginTest, OnlyHttpIsSpoken) {
  Recorder recorder;
  Fetch(&recorder, {.url = "file:///etc/passwd", .head = false, .fields = {}});
  EXPECT_EQ(recorder.status.code(), absl::StatusCode::kInvalidArgument) << recorder.status;
  EXPECT_EQ(recorder.heads, 0);
}

std::string RedirectTo(std::string_view where) {
  return fmt::format(
      "HTTP/1.1 302 Found\r\nX-Old: 1\r\nLocation: {}\r\nContent-Length: 4\r\n\r\nover", where);
}

TEST_F(OriginTest, RedirectsAreFollowedAndToldBesideTheLastAnswer) {
  FakeServer server({FakeServer::Answer(RedirectTo("/b")), FakeServer::Answer(Ok("found"))});
  Recorder recorder;
  Fetch(&recorder, {.url = Url(server), .head = false, .fields = {}});
  EXPECT_TRUE(recorder.status.ok()) << recorder.status;
  EXPECT_EQ(recorder.heads, 1);
  EXPECT_EQ(recorder.head.code, 200);
  EXPECT_EQ(recorder.head.fields, "Content-Length: 5\r\n");
  ASSERT_EQ(recorder.head.redirects.size(), 1U);
  EXPECT_EQ(recorder.head.redirects[0].code, 302);
  EXPECT_THAT(recorder.head.redirects[0].fields, StartsWith("X-Old: 1\r\n"));
  EXPECT_EQ(recorder.body, "found");
}

TEST_F(OriginTest, TheHeadsOfRedirectsAreHandedOnInTheirOrder) {
  FakeServer server({FakeServer::Answer("HTTP/1.1 103 Early Hints\r\nX-Hint: 1\r\n\r\n"
                                        "HTTP/1.1 301 M\r\nLocation: /b\r\nContent-Length: 0\r\n"
                                        "Cache-Control: max-age=5\r\n\r\n"),
                     FakeServer::Answer(RedirectTo("/c")), FakeServer::Answer(Ok("found"))});
  Recorder recorder;
  Fetch(&recorder, {.url = Url(server), .head = false, .fields = {}});
  EXPECT_TRUE(recorder.status.ok()) << recorder.status;
  ASSERT_EQ(recorder.head.redirects.size(), 2U);
  EXPECT_EQ(recorder.head.redirects[0].code, 301);
  EXPECT_EQ(recorder.head.redirects[0].fields,
            "Location: /b\r\nContent-Length: 0\r\nCache-Control: max-age=5\r\n");
  EXPECT_EQ(recorder.head.redirects[1].code, 302);
  EXPECT_EQ(recorder.head.redirects[1].fields, "X-Old: 1\r\nLocation: /c\r\nContent-Length: 4\r\n");
  EXPECT_EQ(recorder.body, "found");
}

TEST_F(OriginTest, FiveRedirectsAreEnough) {
  FakeServer server({FakeServer::AnswerAll(RedirectTo("/again"))});
  Recorder recorder;
  Fetch(&recorder, {.url = Url(server), .head = false, .fields = {}});
  EXPECT_EQ(recorder.status.code(), absl::StatusCode::kInvalidArgument) << recorder.status;
  EXPECT_EQ(server.requests().size(), 6U);
}

TEST_F(OriginTest, ARedirectElsewhereThanHttpIsNotFollowed) {
  FakeServer server({FakeServer::AnswerAll(RedirectTo("file:///etc/passwd"))});
  Recorder recorder;
  Fetch(&recorder, {.url = Url(server), .head = false, .fields = {}});
  EXPECT_EQ(recorder.status.code(), absl::StatusCode::kInvalidArgument) << recorder.status;
}

TEST_F(OriginTest, AnOriginThatSaysNothingAnyMoreIsGivenUp) {
  MakeClient({.stall_timeout = std::chrono::milliseconds(50)});
  FakeServer server({[](FakeServer::Conversation& conversation) {
    conversation.ReadRequest();
    conversation.Send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234");
    conversation.WaitForEnd();
  }});
  Recorder recorder;
  Fetch(&recorder, {.url = Url(server), .head = false, .fields = {}});
  EXPECT_EQ(recorder.status.code(), absl::StatusCode::kDeadlineExceeded) << recorder.status;
  EXPECT_EQ(recorder.body, "1234");
}

TEST_F(OriginTest, AnOriginThatNeverAnswersIsGivenUp) {
  MakeClient({.connect_timeout = std::chrono::milliseconds(20),
              .first_byte_timeout = std::chrono::milliseconds(20)});
  FakeServer server({[](FakeServer::Conversation& conversation) { conversation.WaitForEnd(); }});
  Recorder recorder;
  Fetch(&recorder, {.url = Url(server), .head = false, .fields = {}});
  EXPECT_EQ(recorder.status.code(), absl::StatusCode::kDeadlineExceeded) << recorder.status;
  EXPECT_EQ(recorder.heads, 0);
}

TEST_F(OriginTest, BytesThatCannotBeTakenComeAgain) {
  std::string body;
  for (int i = 0; i < 200'000; ++i) body += fmt::format("{:05} ", i % 100'000);
  FakeServer server({FakeServer::Answer(Ok(body))});
  Recorder recorder;
  recorder.refusals = 20;
  recorder.on_refusal = [&] { recorder.fetch->Resume(); };
  recorder.on_body = [&] { recorder.refusals = recorder.body.size() % 3 == 0 ? 1 : 0; };
  Fetch(&recorder, {.url = Url(server), .head = false, .fields = {}});
  EXPECT_TRUE(recorder.status.ok()) << recorder.status;
  EXPECT_EQ(recorder.body, body);
}

TEST_F(OriginTest, AFetchThatIsNotReadIsNotStalled) {
  MakeClient({.stall_timeout = std::chrono::milliseconds(20)});
  FakeServer server({FakeServer::Answer(Ok("late"))});
  Recorder recorder;
  recorder.refusals = 1;
  const Later later(loop_.get(), std::chrono::milliseconds(200), [&] { recorder.fetch->Resume(); });
  Fetch(&recorder, {.url = Url(server), .head = false, .fields = {}});
  EXPECT_TRUE(recorder.status.ok()) << recorder.status;
  EXPECT_EQ(recorder.body, "late");
}

TEST_F(OriginTest, ConnectionsAreUsedAgain) {
  FakeServer server({FakeServer::AnswerAll(Ok("x"))});
  Recorder first;
  Recorder second;
  first.on_end = [&] {
    second.on_end = [this] { loop_->Stop(); };
    Begin(&second, {.url = Url(server), .head = false, .fields = {}});
  };
  Begin(&first, {.url = Url(server), .head = false, .fields = {}});
  loop_->Run();
  EXPECT_EQ(second.body, "x");
  EXPECT_EQ(server.requests().size(), 2U);
  EXPECT_EQ(server.connections(), 1U);
}

/// A fetch given up, from within each callback and without one.
class OriginGivenUpTest : public OriginTest, public ::testing::WithParamInterface<int> {};

TEST_P(OriginGivenUpTest, NothingMoreIsHeard) {
  FakeServer server({[](FakeServer::Conversation& conversation) {
                       conversation.ReadRequest();
                       conversation.Send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234");
                       conversation.WaitForEnd();
                     },
                     FakeServer::Answer(Ok("other"))});
  Recorder given_up;
  Recorder other;
  const auto give_up = [&] {
    given_up.fetch.reset();
    Begin(&other, {.url = Url(server), .head = false, .fields = {}});
  };
  other.on_end = [this] { loop_->Stop(); };
  Begin(&given_up, {.url = Url(server), .head = false, .fields = {}});
  std::unique_ptr<Later> later;
  switch (GetParam()) {
    case 1:
      given_up.on_body = [&] {
        later = std::make_unique<Later>(loop_.get(), std::chrono::milliseconds(1), give_up);
      };
      break;
    case 2:
      given_up.on_head = give_up;
      break;
    case 3:
      given_up.on_body = give_up;
      break;
    default:
      given_up.refusals = 1;
      given_up.on_refusal = give_up;
      break;
  }
  loop_->Run();
  EXPECT_EQ(given_up.ends, 0);
  EXPECT_EQ(given_up.body, GetParam() == 3 || GetParam() == 1 ? "1234" : "");
  EXPECT_TRUE(other.status.ok()) << other.status;
  EXPECT_EQ(other.body, "other");
}

INSTANTIATE_TEST_SUITE_P(Moments, OriginGivenUpTest, ::testing::Range(1, 5));

TEST_F(OriginTest, AFetchGivenUpAtOnceIsNeverBegun) {
  FakeServer server({FakeServer::Answer(Ok("x"))});
  Recorder given_up;
  Begin(&given_up, {.url = Url(server, "/never"), .head = false, .fields = {}});
  given_up.fetch.reset();
  Recorder other;
  Fetch(&other, {.url = Url(server), .head = false, .fields = {}});
  EXPECT_EQ(other.body, "x");
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST_F(OriginTest, ManyFetchesRunAtOnceAndTheClientMayGoBeforeTheyEnd) {
  FakeServer server({FakeServer::AnswerAll(Ok("x"))});
  std::vector<std::unique_ptr<Recorder>> recorders;
  int ended = 0;
  for (int i = 0; i < 40; ++i) {
    recorders.push_back(std::make_unique<Recorder>());
    recorders.back()->on_end = [&] {
      if (++ended == 1) loop_->Stop();
    };
    Begin(recorders.back().get(), {.url = Url(server), .head = false, .fields = {}});
  }
  loop_->Run();
  EXPECT_GE(ended, 1);
  for (auto& recorder : recorders) recorder->fetch.reset();
  client_.reset();
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
