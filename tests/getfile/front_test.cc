#include "getfile/front/front.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/http_date.h"
#include "common/base/unique_fd.h"
#include "common/net/endpoint.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"
#include "getfile/front/send.h"
#include "tests/harness/deadline.h"
#include "tests/harness/eventually.h"
#include "tests/harness/raw_peer.h"

namespace ds::getfile {
namespace {

using ::testing::ElementsAre;
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
    fields_.last_modified = "Wed, 01 Jan 2020 00:00:00 GMT";
    fields_.modified_unix_s = ParseHttpDate(fields_.last_modified);
  }

  LookupResult Found(const std::shared_ptr<GrowingBody>& self) const {
    return {{.status = AnswerStatus::kOk,
             .length = length_,
             .fields = &fields_,
             .http_fields = "X-Cache: COALESCED\r\nAge: 7\r\n"},
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
  /// At the last wait: bytes given to the kernel that it has not sent, though there is room.
  int held() const { return held_; }

  Sent Send(int socket, std::string_view head, std::uint64_t offset, std::uint64_t bytes_max,
            bool hold) override {
    ++sends_;
    const std::uint64_t there = bytes_.size() > offset ? bytes_.size() - offset : 0;
    socket_ = socket;
    Sent sent;
    if (!head.empty() || there > 0) {
      sent = SendFromMemory(socket, head,
                            std::string_view(bytes_)
                                .substr(std::min<std::uint64_t>(offset, bytes_.size()))
                                .substr(0, bytes_max),
                            hold);
    }
    if (sent.outcome == Outcome::kSent && there < bytes_max) {
      sent.outcome = broken_ ? Outcome::kSourceBroken : Outcome::kNotYet;
    }
    return sent;
  }
  void Wait(BodyWaiter* waiter, std::uint64_t offset) override {
    ::ioctl(socket_, SIOCOUTQNSD, &held_);
    waiters_.Add(waiter, offset);
  }

 private:
  const std::uint64_t length_;
  ContentFields fields_;
  std::string bytes_;
  bool broken_ = false;
  int sends_ = 0;
  int socket_ = -1;
  int held_ = -1;
  BodyWaiters waiters_;
};

/// An object as a cache keeps it while it is filled: a memfd in which something stands before the
/// body, whole pages of which go out by sendfile, and the page that is being filled by copy.
class MemfdBody final : public Body {
 public:
  static constexpr std::uint64_t kPage = 4096;
  static constexpr std::uint64_t kBegin = 2 * kPage;

  explicit MemfdBody(std::uint64_t length)
      : length_(length), file_(::memfd_create("body", MFD_CLOEXEC)) {
    CHECK(::ftruncate(file_.get(), static_cast<off_t>(kBegin + length)) == 0);
    void* const map =
        ::mmap(nullptr, kBegin + length, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
    CHECK(map != MAP_FAILED);
    memory_ = static_cast<char*>(map);
  }
  ~MemfdBody() override { ::munmap(memory_, kBegin + length_); }

  LookupResult Found(const std::shared_ptr<MemfdBody>& self) const {
    return {{.status = AnswerStatus::kOk, .length = length_, .fields = &fields_}, self};
  }
  void Append(std::string_view bytes) {
    bytes.copy(memory_ + kBegin + filled_, bytes.size());
    filled_ += bytes.size();
    waiters_.Wake(filled_);
  }

  Sent Send(int socket, std::string_view head, std::uint64_t offset, std::uint64_t bytes_max,
            bool hold) override {
    const std::uint64_t end = std::min(offset + bytes_max, filled_);
    const std::uint64_t whole = filled_ == length_ ? end : std::min(end, filled_ / kPage * kPage);
    Sent sent;
    if (offset < whole) {
      sent = SendFromFile(socket, head, file_.get(), kBegin + offset, whole - offset, hold);
    } else if (offset < end || !head.empty()) {
      const std::uint64_t tail = offset < end ? end - offset : 0;
      sent = SendFromMemory(socket, head, {memory_ + kBegin + offset, tail}, hold);
    }
    if (sent.outcome == Outcome::kSent && sent.bytes == 0) sent.outcome = Outcome::kNotYet;
    return sent;
  }
  void Wait(BodyWaiter* waiter, std::uint64_t offset) override { waiters_.Add(waiter, offset); }

 private:
  const std::uint64_t length_;
  const UniqueFd file_;
  const ContentFields fields_;
  char* memory_ = nullptr;
  std::uint64_t filled_ = 0;
  BodyWaiters waiters_;
};

/// Paths that are in `bodies` are found; "/pending" is never answered, "/code/<n>" is that code of
/// HTTP, and "/link" is what the peer at the other end of the source's own link says.
class TestSource final : public ContentSource {
 public:
  struct Shared {  ///< used on the worker's thread
    std::map<std::string, std::shared_ptr<GrowingBody>> bodies;
    std::shared_ptr<MemfdBody> memfd;
    int lookups_pending = 0;
    std::vector<TimePoint> shutdowns;
    int link_fd = -1;  ///< an eventfd: the source's link
    std::thread::id lookup_thread;
    std::thread::id answer_thread;
  };
  TestSource(net::EventLoop* loop, Shared* shared) : loop_(loop), shared_(shared) {}

  std::variant<LookupResult, std::unique_ptr<PendingLookup>> Lookup(const Request& request,
                                                                    LookupSink* sink) override {
    shared_->lookup_thread = std::this_thread::get_id();
    if (request.path == "/pending") return std::make_unique<Pending>(shared_);
    if (request.path == "/link") return std::make_unique<Linked>(this, sink);
    if (request.path == "/memfd") return shared_->memfd->Found(shared_->memfd);
    const auto found = shared_->bodies.find(request.path);
    if (found != shared_->bodies.end()) return found->second->Found(found->second);
    const int code = request.path.starts_with("/code/") ? std::stoi(request.path.substr(6)) : 502;
    return LookupResult{
        {.status = NearestStatus(code), .http_code = code, .http_fields = "X-Cache: MISS\r\n"},
        nullptr};
  }
  void BeginShutdown(TimePoint deadline) override { shared_->shutdowns.push_back(deadline); }

 private:
  class Pending final : public PendingLookup {
   public:
    explicit Pending(Shared* shared) : shared_(shared) { ++shared_->lookups_pending; }
    ~Pending() override { --shared_->lookups_pending; }

   private:
    Shared* const shared_;
  };

  /// Waits for the link in the worker's loop; then, as if it had to try again, for a timer there.
  class Linked final : public PendingLookup,
                       private net::EventLoop::Watcher,
                       private net::EventLoop::Timer {
   public:
    Linked(TestSource* source, LookupSink* sink) : source_(source), sink_(sink) {
      CHECK(source_->loop_->Add(fd(), EPOLLIN, this).ok());
      ++source_->shared_->lookups_pending;
    }
    ~Linked() override {
      if (!said_) source_->loop_->Remove(fd(), this);
      source_->loop_->Cancel(this);
      --source_->shared_->lookups_pending;
    }

   private:
    int fd() const { return source_->shared_->link_fd; }
    void OnEvents(std::uint32_t /*events*/) override {
      source_->loop_->Remove(fd(), this);
      said_ = true;
      source_->loop_->Arm(this, source_->loop_->now() + std::chrono::milliseconds(1));
    }
    void OnTimer() override {
      source_->shared_->answer_thread = std::this_thread::get_id();
      sink_->OnLookup({{.status = AnswerStatus::kError, .http_code = 504}, nullptr});
    }

    TestSource* const source_;
    LookupSink* const sink_;
    bool said_ = false;
  };

  net::EventLoop* const loop_;
  Shared* const shared_;
};

/// A front in this process; its workers have a source each.
class FrontTest : public ::testing::Test {
 protected:
  explicit FrontTest(unsigned workers = 1, std::uint64_t delay_us = 0) : shared_of_(workers) {
    CHECK(std::signal(SIGPIPE, SIG_IGN) != SIG_ERR);  // as every daemon does
    FrontOptions options;
    options.threads = workers;
    options.delay_us = delay_us;
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
         .make_source =
             [this](net::EventLoop* loop) -> absl::StatusOr<std::unique_ptr<ContentSource>> {
           return std::make_unique<TestSource>(loop, &shared_of_[sources_made_++]);
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

  std::vector<TestSource::Shared> shared_of_;
  std::size_t sources_made_ = 0;
  TestSource::Shared& shared_ = shared_of_[0];
  daemon::Metrics metrics_;
  std::unique_ptr<Front> front_;
  std::uint16_t port_ = 0;
};

TEST_F(FrontTest, BodyIsSentAsItGrowsToAllWhoWait) {
  AddBody("/a", 10);
  std::vector<RawPeer> peers;
  peers.reserve(20);
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
  EXPECT_THAT(head, HasSubstr("\r\nX-Cache: COALESCED\r\nAge: 7\r\n"));
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

TEST_F(FrontTest, NothingIsHeldBackWhileTheNextBytesAreAwaited) {
  AddBody("/a", 10);
  RawPeer peer = Ask("GETFILE GET /a\r\n\r\n");
  const auto held = [&] { return OnWorker([&] { return shared_.bodies.at("/a")->held(); }); };
  ASSERT_TRUE(Eventually(kDeadline, "it waits", [&] { return Awaited("/a"); }));
  EXPECT_EQ(held(), 0) << "the head";
  Append("/a", "012");
  EXPECT_EQ(peer.Read(20).bytes, "GETFILE OK 10\r\n\r\n012");
  ASSERT_TRUE(Eventually(kDeadline, "it waits again", [&] { return Awaited("/a"); }));
  EXPECT_EQ(held(), 0) << "a part of the body";
}

TEST_F(FrontTest, SourceChoosesTheCodeOfHttpAndTheNearestStatusOfGetfile) {
  const struct {
    int code;
    const char* http;
    const char* getfile;
  } kCases[] = {{403, "403 Forbidden", "FILE_NOT_FOUND"},  {404, "404 Not Found", "FILE_NOT_FOUND"},
                {410, "410 Gone", "FILE_NOT_FOUND"},       {502, "502 Bad Gateway", "ERROR"},
                {503, "503 Service Unavailable", "ERROR"}, {504, "504 Gateway Timeout", "ERROR"}};
  for (const auto& c : kCases) {
    const std::string path = "/code/" + std::to_string(c.code);
    const std::string http =
        Ask("GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").ReadToEnd().bytes;
    EXPECT_THAT(http, StartsWith("HTTP/1.1 " + std::string(c.http) + "\r\n"));
    EXPECT_THAT(http, HasSubstr("\r\nX-Cache: MISS\r\n"));
    EXPECT_EQ(Ask("GETFILE GET " + path + "\r\n\r\n").ReadToEnd().bytes,
              "GETFILE " + std::string(c.getfile) + "\r\n\r\n");
  }
}

TEST_F(FrontTest, ValidatorsOfTheSourceDecideConditionalRequestsWithoutWaitingForTheBody) {
  AddBody("/a", 10);  // no byte of it ever comes
  for (const std::string condition :
       {"If-None-Match: \"1\"", "If-Modified-Since: Wed, 01 Jan 2020 00:00:00 GMT"}) {
    const std::string answer =
        Ask("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + condition + "\r\n\r\n")
            .ReadToEnd()
            .bytes;
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 304 ")) << condition;
    EXPECT_THAT(answer, HasSubstr("\r\nLast-Modified: Wed, 01 Jan 2020 00:00:00 GMT\r\n"));
    EXPECT_THAT(answer, HasSubstr("\r\nX-Cache: COALESCED\r\nAge: 7\r\n"));
  }
  const std::string head =
      Ask("HEAD /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").ReadToEnd().bytes;
  EXPECT_THAT(head, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nContent-Length: 10\r\n"));
}

TEST_F(FrontTest, BodyInAMemfdIsSentAsItIsFilledFromPagesAndFromTheOneThatIsFilledNow) {
  constexpr std::uint64_t kLength = 3 * MemfdBody::kPage + 100;
  std::string content;
  for (std::uint64_t i = 0; i < kLength; ++i) content += static_cast<char>('a' + i * i / 7 % 26);
  OnWorker([&] { return (shared_.memfd = std::make_shared<MemfdBody>(kLength)).get(); });
  const std::string head = "GETFILE OK " + std::to_string(kLength) + "\r\n\r\n";
  RawPeer follower = Ask("GETFILE GET /memfd\r\n\r\n");
  EXPECT_EQ(follower.Read(head.size()).bytes, head);
  std::uint64_t at = 0;
  for (const std::uint64_t part :
       {std::uint64_t{1}, std::uint64_t{4094}, std::uint64_t{1}, std::uint64_t{1}, MemfdBody::kPage,
        kLength - 2 * MemfdBody::kPage - 1}) {
    OnWorker([&] {
      shared_.memfd->Append(std::string_view(content).substr(at, part));
      return 0;
    });
    ASSERT_EQ(follower.Read(part).bytes, content.substr(at, part)) << at;
    at += part;
  }
  ASSERT_EQ(at, kLength);
  EXPECT_EQ(follower.ReadToEnd().end, RawPeer::End::kClosed);
  EXPECT_EQ(Ask("GETFILE GET /memfd\r\n\r\n").ReadToEnd().bytes, head + content);
  EXPECT_THAT(Ask("GET /memfd HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                  "Range: bytes=4090-8200\r\n\r\n")
                  .ReadToEnd()
                  .bytes,
              EndsWith("\r\n\r\n" + content.substr(4090, 4111)));
}

TEST_F(FrontTest, SourceAnswersFromItsOwnDescriptorsAndTimersInTheLoop) {
  const UniqueFd link(::eventfd(0, EFD_CLOEXEC));
  shared_.link_fd = link.get();
  RawPeer peer = Ask("GET /link HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  const auto pending = [&] { return OnWorker([&] { return shared_.lookups_pending; }); };
  ASSERT_TRUE(Eventually(kDeadline, "it is looked up", [&] { return pending() == 1; }));
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(link.get(), &one, sizeof one), 8);
  EXPECT_THAT(peer.ReadToEnd().bytes, StartsWith("HTTP/1.1 504 Gateway Timeout\r\n"));
  EXPECT_EQ(pending(), 0);
  EXPECT_EQ(shared_.answer_thread, shared_.lookup_thread);
}

TEST_F(FrontTest, SourceIsToldOfTheEndOnceAndBeforeAnswersUnderWayAreOver) {
  AddBody("/a", 3);
  RawPeer peer = Ask("GETFILE GET /a\r\n\r\n");
  ASSERT_TRUE(Eventually(kDeadline, "it waits", [&] { return Awaited("/a"); }));
  const TimePoint deadline = std::chrono::steady_clock::now() + kDeadline;
  auto drained = std::async(std::launch::async, [&] { front_->Drain(deadline); });
  ASSERT_TRUE(Eventually(kDeadline, "the source is told",
                         [&] { return OnWorker([&] { return !shared_.shutdowns.empty(); }); }));
  Append("/a", "end");
  EXPECT_EQ(peer.ReadToEnd().bytes, "GETFILE OK 3\r\n\r\nend");
  peer.Reset();
  drained.get();
  EXPECT_THAT(shared_.shutdowns, ElementsAre(deadline));
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
  received.reserve(4);
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

class FrontOfTwoWorkersTest : public FrontTest {
 protected:
  FrontOfTwoWorkersTest() : FrontTest(/*workers=*/2, /*delay_us=*/100) {}
};

TEST_F(FrontOfTwoWorkersTest, EachWorkerHasItsOwnSourceOnItsOwnThread) {
  EXPECT_EQ(sources_made_, 2U);
  const auto thread_of = [&](std::size_t worker) {
    std::promise<std::thread::id> done;
    front_->Post(worker, [&] { done.set_value(std::this_thread::get_id()); });
    return done.get_future().get();
  };
  for (const std::size_t worker : {0U, 1U}) {
    std::promise<void> busy;
    std::promise<void> answered;
    front_->Post(1 - worker, [&] {
      busy.set_value();
      answered.get_future().wait();
    });
    busy.get_future().wait();  // the other one
    EXPECT_EQ(Ask("GETFILE GET /none\r\n\r\n").ReadToEnd().bytes, "GETFILE ERROR\r\n\r\n");
    answered.set_value();
    const std::thread::id other = thread_of(1 - worker);  // and has let go of `answered`
    EXPECT_EQ(shared_of_[worker].lookup_thread, thread_of(worker));
    EXPECT_NE(shared_of_[worker].lookup_thread, other);
  }
}

TEST_F(FrontOfTwoWorkersTest, EverySourceIsToldOfTheEndThroughADelay) {
  const TimePoint deadline = std::chrono::steady_clock::now() + kDeadline;
  front_->Drain(deadline);
  EXPECT_THAT(shared_of_[0].shutdowns, ElementsAre(deadline));
  EXPECT_THAT(shared_of_[1].shutdowns, ElementsAre(deadline));
}

}  // namespace
}  // namespace ds::getfile
