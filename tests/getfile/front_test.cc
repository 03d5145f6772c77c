#include "getfile/front/front.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/net/endpoint.h"
#include "common/net/socket.h"
#include "tests/harness/deadline.h"
#include "tests/harness/eventually.h"
#include "tests/harness/raw_peer.h"

namespace ds::getfile {
namespace {

using ::testing::EndsWith;
using testing::Eventually;
using ::testing::HasSubstr;
using testing::kDeadline;
using testing::RawPeer;
using ::testing::StartsWith;

constexpr std::uint64_t kMiB = 1U << 20U;

/// Bytes in memory that come when the test says so.
class GrowingBody final : public Body {
 public:
  explicit GrowingBody(std::uint64_t length) : length_(length) {
    fields_.etag = "W/\"1\"";
    fields_.content_type = "text/plain";
  }

  LookupResult Found(const std::shared_ptr<GrowingBody>& self) const {
    return {{.status = AnswerStatus::kOk,
             .length = length_,
             .fields = &fields_,
             .http_fields = "X-Cache: COALESCED\r\n"},
            self};
  }
  void Append(std::string_view bytes) {
    bytes_ += bytes;
    waiters_.Wake(bytes_.size());
  }
  void Break() {
    broken_ = true;
    waiters_.Wake(UINT64_MAX);
  }
  bool awaited() const { return !waiters_.empty(); }
  int sends() const { return sends_; }

  Sent Send(int socket, std::string_view head, std::uint64_t offset, std::uint64_t bytes_max,
            bool hold) override {
    ++sends_;
    const std::uint64_t there = bytes_.size() > offset ? bytes_.size() - offset : 0;
    const bool late = there < bytes_max;
    std::string out(head);
    out += std::string_view(bytes_).substr(std::min<std::uint64_t>(offset, bytes_.size()),
                                           std::min(there, bytes_max));
    Sent sent;
    if (!out.empty()) {
      const ssize_t n =
          ::send(socket, out.data(), out.size(), MSG_NOSIGNAL | (hold && !late ? MSG_MORE : 0));
      if (n < 0) return {errno == EAGAIN ? Outcome::kSocketFull : Outcome::kPeerGone, 0};
      sent.bytes = static_cast<std::uint64_t>(n);
      if (sent.bytes < out.size()) return {Outcome::kSocketFull, sent.bytes};
    }
    if (late) sent.outcome = broken_ ? Outcome::kSourceBroken : Outcome::kNotYet;
    return sent;
  }
  void Wait(BodyWaiter* waiter, std::uint64_t offset) override { waiters_.Add(waiter, offset); }

 private:
  const std::uint64_t length_;
  ContentFields fields_;
  std::string bytes_;
  bool broken_ = false;
  int sends_ = 0;
  BodyWaiters waiters_;
};

/// Paths that are in `bodies` are found; "/pending" is never answered, and the rest is 502.
class TestSource final : public ContentSource {
 public:
  struct Shared {  ///< used on the worker's thread
    std::map<std::string, std::shared_ptr<GrowingBody>> bodies;
    int lookups_pending = 0;
  };
  explicit TestSource(Shared* shared) : shared_(shared) {}

  std::variant<LookupResult, std::unique_ptr<PendingLookup>> Lookup(const Request& request,
                                                                    LookupSink* /*sink*/) override {
    if (request.path == "/pending") return std::make_unique<Pending>(shared_);
    const auto found = shared_->bodies.find(request.path);
    if (found != shared_->bodies.end()) return found->second->Found(found->second);
    return LookupResult{
        {.status = AnswerStatus::kError, .http_code = 502, .http_fields = "X-Cache: MISS\r\n"},
        nullptr};
  }

 private:
  class Pending final : public PendingLookup {
   public:
    explicit Pending(Shared* shared) : shared_(shared) { ++shared_->lookups_pending; }
    ~Pending() override { --shared_->lookups_pending; }

   private:
    Shared* const shared_;
  };
  Shared* const shared_;
};

/// A front of one worker in this process.
class FrontTest : public ::testing::Test {
 protected:
  FrontTest() {
    CHECK(std::signal(SIGPIPE, SIG_IGN) != SIG_ERR);  // as every daemon does
    FrontOptions options;
    options.threads = 1;
    options.timeout_s = 3600;
    auto front = Front::Start(
        options,
        {.metrics_prefix = "test_",
         .bind = []() -> absl::StatusOr<std::vector<net::Listener>> {
           ASSIGN_OR_RETURN(const auto endpoints, net::Endpoint::Resolve({"127.0.0.1", 0}));
           ASSIGN_OR_RETURN(net::Listener listener, net::ListenTcp(endpoints.front()));
           std::vector<net::Listener> listeners;
           listeners.push_back(std::move(listener));
           return listeners;
         },
         .make_source = [this](net::EventLoop*) -> absl::StatusOr<std::unique_ptr<ContentSource>> {
           return std::make_unique<TestSource>(&shared_);
         },
         .metrics = &metrics_});
    CHECK(front.ok(), Message(front.status()));
    front_ = std::move(front).value();
    port_ = front_->listen().front().port();
  }

  /// Runs on the worker's thread and returns what `act` does.
  template <typename Act>
  auto OnWorker(const Act& act) {
    std::promise<decltype(act())> done;
    front_->Post(0, [&] { done.set_value(act()); });
    return done.get_future().get();
  }
  void AddBody(const std::string& path, std::uint64_t length) {
    OnWorker([&] { return (shared_.bodies[path] = std::make_shared<GrowingBody>(length)).get(); });
  }
  void Append(const std::string& path, const std::string& bytes) {
    OnWorker([&] {
      shared_.bodies.at(path)->Append(bytes);
      return 0;
    });
  }
  /// Keeps no body but those that connections hold.
  std::weak_ptr<GrowingBody> Release(const std::string& path) {
    return OnWorker([&] {
      std::weak_ptr<GrowingBody> weak = shared_.bodies.at(path);
      shared_.bodies.erase(path);
      return weak;
    });
  }
  bool Awaited(const std::string& path) {
    return OnWorker([&] { return shared_.bodies.at(path)->awaited(); });
  }
  RawPeer Ask(const std::string& request) const {
    auto peer = RawPeer::Connect("127.0.0.1", port_);
    CHECK(peer.ok(), Message(peer.status()));
    CHECK(peer->Send(request));
    return std::move(peer).value();
  }

  TestSource::Shared shared_;
  daemon::Metrics metrics_;
  std::unique_ptr<Front> front_;
  std::uint16_t port_ = 0;
};

TEST_F(FrontTest, BodyIsSentAsItGrowsToAllWhoWait) {
  AddBody("/a", 10);
  std::vector<RawPeer> peers;
  for (int i = 0; i < 20; ++i) peers.push_back(Ask("GETFILE GET /a\r\n\r\n"));
  for (RawPeer& peer : peers) EXPECT_EQ(peer.Read(17).bytes, "GETFILE OK 10\r\n\r\n");
  for (const std::string part : {"012", "3456", "789"}) {
    Append("/a", part);
    for (RawPeer& peer : peers) ASSERT_EQ(peer.Read(part.size()).bytes, part);
  }
  for (RawPeer& peer : peers) {
    const auto rest = peer.ReadToEnd();
    EXPECT_EQ(rest.bytes, "");
    EXPECT_EQ(rest.end, RawPeer::End::kClosed);
  }
}

TEST_F(FrontTest, LateComersGetWhatIsThereAndThenTheRest) {
  AddBody("/a", 4);
  Append("/a", "01");
  RawPeer peer = Ask("GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
  std::string head;
  while (!head.ends_with("\r\n\r\n")) head += peer.Read(1).bytes;
  EXPECT_THAT(head, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nX-Cache: COALESCED\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nETag: W/\"1\"\r\n"));
  EXPECT_EQ(peer.Read(2).bytes, "01");
  Append("/a", "23");
  EXPECT_EQ(peer.Read(2).bytes, "23");
  // The connection goes on.
  ASSERT_TRUE(peer.Send("GET /none HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
  const std::string error = peer.ReadToEnd().bytes;
  EXPECT_THAT(error, StartsWith("HTTP/1.1 502 Bad Gateway\r\n"));
  EXPECT_THAT(error, HasSubstr("\r\nX-Cache: MISS\r\n"));
}

TEST_F(FrontTest, RangeBeyondWhatIsThereWaitsForItsFirstByteAndIsNotWokenBefore) {
  AddBody("/a", 10);
  Append("/a", "01");
  RawPeer peer = Ask("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nRange: bytes=6-7\r\n\r\n");
  ASSERT_TRUE(Eventually(kDeadline, "it waits", [&] { return Awaited("/a"); }));
  const auto sends = [&] { return OnWorker([&] { return shared_.bodies.at("/a")->sends(); }); };
  const int before = sends();
  Append("/a", "2345");
  Append("/a", "");
  EXPECT_EQ(sends(), before);
  Append("/a", "6789");
  const std::string answer = peer.ReadToEnd().bytes;
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 206 "));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n67"));
}

TEST_F(FrontTest, BodyThatBreaksEndsItsConnectionsAfterWhatWasThere) {
  AddBody("/a", 10);
  RawPeer waiting = Ask("GETFILE GET /a\r\nConnection: keep-alive\r\n\r\n");
  Append("/a", "012");
  EXPECT_EQ(waiting.Read(20).bytes, "GETFILE OK 10\r\n\r\n012");
  OnWorker([&] {
    shared_.bodies.at("/a")->Break();
    return 0;
  });
  const auto rest = waiting.ReadToEnd();
  EXPECT_EQ(rest.bytes, "");
  EXPECT_EQ(rest.end, RawPeer::End::kClosed);
  EXPECT_EQ(Ask("GETFILE GET /a\r\n\r\n").ReadToEnd().bytes, "GETFILE OK 10\r\n\r\n012")
      << "who comes later, too";
  const std::string page = metrics_.Text();
  EXPECT_THAT(page, HasSubstr("test_answers_broken_total 2"));
}

TEST_F(FrontTest, PeerThatResetsWhileItWaitsLetsGoOfTheBody) {
  AddBody("/a", 10);
  RawPeer peer = Ask("GETFILE GET /a\r\n\r\n");
  ASSERT_TRUE(Eventually(kDeadline, "it waits", [&] { return Awaited("/a"); }));
  const std::weak_ptr<GrowingBody> body = Release("/a");
  EXPECT_FALSE(body.expired());
  peer.Reset();
  EXPECT_TRUE(Eventually(kDeadline, "the body is gone",
                         [&] { return OnWorker([&] { return body.expired(); }); }));
}

TEST_F(FrontTest, PeerThatResetsBeforeItsLookupIsAnsweredCancelsIt) {
  RawPeer peer = Ask("GETFILE GET /pending\r\n\r\n");
  const auto pending = [&] { return OnWorker([&] { return shared_.lookups_pending; }); };
  ASSERT_TRUE(Eventually(kDeadline, "it is looked up", [&] { return pending() == 1; }));
  peer.Reset();
  EXPECT_TRUE(Eventually(kDeadline, "the lookup is cancelled", [&] { return pending() == 0; }));
}

TEST_F(FrontTest, FrontMayEndWhileConnectionsWait) {
  AddBody("/a", 10);
  RawPeer waiting = Ask("GETFILE GET /a\r\n\r\n");
  RawPeer looked_up = Ask("GETFILE GET /pending\r\n\r\n");
  ASSERT_TRUE(Eventually(kDeadline, "both wait", [&] {
    return Awaited("/a") && OnWorker([&] { return shared_.lookups_pending; }) == 1;
  }));
  front_->Drain(std::chrono::steady_clock::now());
  front_.reset();
  EXPECT_EQ(shared_.lookups_pending, 0);
  EXPECT_FALSE(shared_.bodies.at("/a")->awaited());
  EXPECT_NE(waiting.ReadToEnd().end, RawPeer::End::kTimeout);
}

TEST_F(FrontTest, LargeBodyInManyPartsArrivesWhole) {
  constexpr int kParts = 64;
  AddBody("/a", kParts * kMiB / 4);
  std::vector<std::future<std::string>> received;
  for (int i = 0; i < 4; ++i) {
    received.push_back(std::async(std::launch::async, [this] {
      RawPeer peer = Ask("GETFILE GET /a\r\n\r\n");
      return peer.ReadToEnd().bytes;
    }));
  }
  std::string expected = "GETFILE OK " + std::to_string(kParts * kMiB / 4) + "\r\n\r\n";
  for (int i = 0; i < kParts; ++i) {
    const std::string part(kMiB / 4, static_cast<char>('A' + i % 26));
    Append("/a", part);
    expected += part;
  }
  for (auto& bytes : received) EXPECT_TRUE(bytes.get() == expected);
}

TEST_F(FrontTest, MetricsCarryThePrefixOfTheProgram) {
  EXPECT_EQ(Ask("GETFILE GET /none\r\n\r\n").ReadToEnd().bytes, "GETFILE ERROR\r\n\r\n");
  const std::string page = metrics_.Text();
  EXPECT_THAT(page, HasSubstr("test_requests_total{protocol=\"getfile\",status=\"ERROR\"} 1"));
  EXPECT_THAT(page, HasSubstr("test_answer_seconds_count 1"));
  EXPECT_EQ(page.find("\ngetfile_"), std::string::npos);
}

}  // namespace
}  // namespace ds::getfile
