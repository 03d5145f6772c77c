#include "ipc_proxy_cache/cache/cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "common/net/event_loop.h"
#include "common/shm/seqpacket.h"
#include "ipc_proxy_cache/core/messages.h"
#include "ipc_proxy_cache/core/segment_pool.h"
#include "ipc_proxy_cache/shm/reader_view.h"
#include "ipc_proxy_cache/shm/segment_memory.h"
#include "tests/harness/eventually.h"

namespace ds::ipc_proxy_cache {
namespace {

constexpr std::uint64_t kMiB = 1U << 20U;
constexpr std::int64_t kHour = std::int64_t{3600} * 1'000'000'000;

std::int64_t NowNs() { return std::chrono::steady_clock::now().time_since_epoch().count(); }
Freshness Fresh(std::int64_t lifetime_ns = kHour) {
  return {.age_zero_ns = NowNs(), .lifetime_ns = lifetime_ns};
}
std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A cache on a thread of its own.
class RunningCache {
 public:
  explicit RunningCache(const CacheOptions& options = {.memory_bytes = 16 * kMiB})
      : loop_(*net::EventLoop::Create()), cache_(*Cache::Create(options, loop_.get())) {
    thread_ = std::jthread([this] { loop_->Run(); });
  }
  ~RunningCache() {
    loop_->Stop();
    thread_.join();
  }
  /// Runs `task` on the cache's thread.
  template <typename Task>
  void Call(Task task) {
    std::promise<void> done;
    loop_->Post([&] {
      task(*cache_);
      done.set_value();
    });
    done.get_future().wait();
  }
  const CacheCounters& counters() const { return cache_->counters(); }

 private:
  std::unique_ptr<net::EventLoop> loop_;
  std::unique_ptr<Cache> cache_;
  std::jthread thread_;
};

/// A proxy's worker, without clients and origin: sends what the test says, and waits.
class FakeProxy {
 public:
  struct Options {
    bool control = false;
    bool greets = true;
    std::uint32_t segments = 4;
    std::uint64_t segment_bytes = 65536;
  };

  explicit FakeProxy(RunningCache& cache) : FakeProxy(cache, Options{}) {}
  FakeProxy(RunningCache& cache, Options options) : pool_(std::max(options.segments, 1U)) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    socket_.Reset(ends[0]);
    UniqueFd theirs(ends[1]);
    EXPECT_EQ(::fcntl(theirs.get(), F_SETFL, O_NONBLOCK), 0);
    const timeval patience{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    cache.Call([&](Cache& its) { its.AddLink(std::move(theirs)); });
    if (!options.greets) return;
    Hello hello{.control = options.control, .name = "fake"};
    int fd = -1;
    if (options.segments > 0) {
      memory_.emplace(*SegmentMemory::Create(
          {.count = options.segments, .segment_bytes = options.segment_bytes}));
      hello.segments = options.segments;
      hello.segment_bytes = options.segment_bytes;
      fd = memory_->fd();
    }
    Send(hello, fd);
    welcome_ = Expect<Welcome>();
    view_.emplace(*IndexReader::Adopt(std::move(descriptor_)));
  }

  void Send(const Message& message, int fd = -1) { SendBytes(EncodeMessage(message), fd); }
  void SendBytes(std::span<const std::byte> bytes, int fd = -1) {
    static_cast<void>(
        shm::SendPacket(socket_.get(), bytes, std::span<const int>(&fd, fd >= 0 ? 1 : 0)));
  }
  /// The next message; nothing at the end of the link, or if none comes.
  std::optional<Message> Receive() {
    std::vector<std::byte> buffer(kMessageBytesMax);
    auto received = shm::ReceivePacket(socket_.get(), buffer, 1);
    if (!received.ok() || received->kind != shm::Received::Kind::kPacket) return std::nullopt;
    descriptor_ =
        received->descriptors.empty() ? UniqueFd() : std::move(received->descriptors.front());
    auto message = DecodeMessage(std::span(buffer).first(received->bytes), Sender::kCache);
    EXPECT_TRUE(message.ok());
    return *std::move(message);
  }
  template <typename T>
  T Expect() {
    const auto message = Receive();
    if (!message || !std::holds_alternative<T>(*message)) {
      ADD_FAILURE() << "expected type " << T::kType << ", got "
                    << (message ? std::to_string(message->index() + 1) : "the end of the link");
      return {};
    }
    return std::get<T>(*message);
  }
  bool AtEnd() { return !Receive(); }
  void Close() { socket_.Reset(); }

  template <typename Answer>
  Answer Ask(const Message& question) {
    Send(question);
    return Expect<Answer>();
  }
  Lead WantAndLead(const std::string& key) {
    return Ask<Lead>(Want{.request = ++request_, .key = key});
  }
  Follow WantAndFollow(const std::string& key) {
    return Ask<Follow>(Want{.request = ++request_, .key = key});
  }

  /// A segment with `content`, as a message names it.
  Segment Fill(std::string_view content) {
    lease_ = *pool_.Acquire(1);
    memory_->Stamp(lease_);
    std::ranges::copy(std::as_bytes(std::span(content)), memory_->Payload(lease_).begin());
    pool_.HandOver(lease_, 1);
    return {.index = lease_.segment, .token = lease_.token, .bytes = content.size()};
  }
  void TakeBack() {
    pool_.TakeBack(lease_, 1);
    pool_.Release(lease_);
  }
  void SendData(const Lead& lead, std::uint64_t offset, std::string_view content) {
    Send(Data{.fill = lead.fill, .term = lead.term, .offset = offset, .segment = Fill(content)});
    EXPECT_EQ(Expect<Taken>().token, lease_.token);
    TakeBack();
  }
  /// Leads a fill of one small object to its end.
  Ended InsertSmall(const std::string& key, std::string_view content,
                    const Freshness& freshness = Fresh()) {
    const Lead lead = WantAndLead(key);
    Insert insert{.fill = lead.fill, .term = lead.term, .freshness = freshness, .fields = "f"};
    if (!content.empty()) insert.segment = Fill(content);
    Send(insert);
    if (!content.empty()) {
      Expect<Taken>();
      TakeBack();
    }
    return Expect<Ended>();
  }
  /// Through the index, as a hit is served; nothing for a miss.
  std::optional<std::string> Look(const std::string& key) {
    for (;;) {
      auto found = view_->Lookup(key);
      if (const auto* hit = std::get_if<ReaderView::Hit>(&found)) return Text(hit->object->Body());
      const auto* needs = std::get_if<ReaderView::NeedsMemfd>(&found);
      if (needs == nullptr) return std::nullopt;
      Send(Open{.memfd = needs->memfd});
      auto answer = Receive();
      // A streamed object that is small has moved into a chunk.
      if (answer && std::holds_alternative<Retired>(*answer)) answer = Receive();
      if (!answer || !std::holds_alternative<Opened>(*answer)) {
        ADD_FAILURE() << "no answer to OPEN";
        return std::nullopt;
      }
      const auto opened = std::get<Opened>(*answer);
      if (opened.gone) return std::nullopt;
      EXPECT_TRUE(view_
                      ->Map(opened.memfd, std::move(descriptor_),
                            opened.chunk ? ReaderView::Kind::kChunk : ReaderView::Kind::kObject)
                      .ok());
    }
  }
  /// Takes over the descriptor of a BEGUN.
  std::shared_ptr<const CachedObject> Map(const Begun& begun, const std::string& key) {
    EXPECT_TRUE(view_->Map(begun.memfd, std::move(descriptor_), ReaderView::Kind::kObject).ok());
    auto object = view_->ObjectAt(begun.memfd, 0, key);
    EXPECT_TRUE(object.ok());
    return object.ok() ? *object : nullptr;
  }

  const Welcome& welcome() const { return welcome_; }
  ReaderView& view() { return *view_; }
  SegmentMemory& memory() { return *memory_; }
  SegmentPool& pool() { return pool_; }
  const SegmentPool::Lease& lease() const { return lease_; }
  std::uint64_t NextRequest() { return ++request_; }

 private:
  UniqueFd socket_;
  UniqueFd descriptor_;  ///< of the message received last
  std::optional<SegmentMemory> memory_;
  SegmentPool pool_;
  SegmentPool::Lease lease_;
  std::optional<ReaderView> view_;
  Welcome welcome_;
  std::uint64_t request_ = 0;
};

const std::string kKey = "http://origin/a";

TEST(CacheTest, InsertedObjectIsFoundInTheIndexByAll) {
  RunningCache cache;
  FakeProxy first(cache);
  FakeProxy second(cache);
  const Ended ended = first.InsertSmall(kKey, "hello");
  EXPECT_EQ(ended.outcome, Outcome::kComplete);
  EXPECT_TRUE(ended.place);
  EXPECT_EQ(first.Look(kKey), "hello");
  EXPECT_EQ(second.Look(kKey), "hello");
  EXPECT_EQ(second.Look("http://origin/b"), std::nullopt);
  // What is there by now is not fetched again.
  EXPECT_EQ(second.Ask<Found>(Want{.request = 9, .key = kKey}).place, *ended.place);
}

TEST(CacheTest, EmptyBodyIsInsertedWithoutSegment) {
  RunningCache cache;
  FakeProxy proxy(cache);
  EXPECT_EQ(proxy.InsertSmall(kKey, "").outcome, Outcome::kComplete);
  EXPECT_EQ(proxy.Look(kKey), "");
}

TEST(CacheTest, FollowersReadWhatTheLeaderFills) {
  RunningCache cache;
  FakeProxy leader(cache);
  FakeProxy early(cache);
  FakeProxy late(cache);
  const Lead lead = leader.WantAndLead(kKey);
  EXPECT_EQ(early.WantAndFollow(kKey).fill, lead.fill);
  leader.Send(Begin{.fill = lead.fill, .term = lead.term, .length = 10, .freshness = Fresh()});
  leader.Map(leader.Expect<Begun>(), kKey);
  const auto object = early.Map(early.Expect<Begun>(), kKey);
  leader.SendData(lead, 0, "01234");
  EXPECT_EQ(early.Expect<Progress>().fill, lead.fill);
  EXPECT_EQ(Text(object->Body()), "01234");
  late.WantAndFollow(kKey);
  const auto late_object = late.Map(late.Expect<Begun>(), kKey);
  EXPECT_EQ(Text(late_object->Body()), "01234");
  EXPECT_EQ(late.Look(kKey), std::nullopt) << "not published before it is whole";
  leader.SendData(lead, 5, "56789");
  late.Expect<Progress>();
  early.Send(Read{.fill = lead.fill});
  early.Expect<Progress>();
  leader.Send(End{.fill = lead.fill, .term = lead.term, .outcome = Outcome::kComplete});
  for (FakeProxy* const proxy : {&leader, &early, &late}) {
    const Ended ended = proxy->Expect<Ended>();
    EXPECT_EQ(ended.outcome, Outcome::kComplete);
    EXPECT_TRUE(ended.place);
  }
  EXPECT_EQ(Text(object->Body()), "0123456789");
  EXPECT_EQ(late.Look(kKey), "0123456789");
  EXPECT_EQ(cache.counters().coalesced.Get(), 2U);
}

TEST(CacheTest, DeadLeaderIsContinuedByItsFollowerAtByteK) {
  RunningCache cache;
  FakeProxy leader(cache);
  FakeProxy follower(cache);
  const Lead lead = leader.WantAndLead(kKey);
  follower.WantAndFollow(kKey);
  leader.Send(Begin{.fill = lead.fill, .term = lead.term, .length = 10, .freshness = Fresh()});
  leader.Expect<Begun>();
  follower.Expect<Begun>();
  leader.SendData(lead, 0, "0123");
  follower.Expect<Progress>();
  leader.Close();
  const Promote promote = follower.Expect<Promote>();
  EXPECT_EQ(promote.offset, 4U);
  EXPECT_GT(promote.term, lead.term);
  follower.SendData({.fill = promote.fill, .term = promote.term}, 4, "456789");
  follower.Send(End{.fill = promote.fill, .term = promote.term, .outcome = Outcome::kComplete});
  EXPECT_EQ(follower.Expect<Ended>().outcome, Outcome::kComplete);
  EXPECT_EQ(follower.Look(kKey), "0123456789");
}

TEST(CacheTest, BrokenFillIsNotPublished) {
  RunningCache cache;
  FakeProxy proxy(cache);
  const Lead lead = proxy.WantAndLead(kKey);
  proxy.Send(Begin{.fill = lead.fill, .term = lead.term, .length = 10, .freshness = Fresh()});
  proxy.Map(proxy.Expect<Begun>(), kKey);
  proxy.SendData(lead, 0, "0123");
  proxy.Send(End{.fill = lead.fill, .term = lead.term, .outcome = Outcome::kBroken});
  // The memfd is retired, and the link, which holds it, is told.
  EXPECT_EQ(proxy.Expect<Ended>().outcome, Outcome::kBroken);
  proxy.Expect<Retired>();
  EXPECT_EQ(proxy.Look(kKey), std::nullopt);
  EXPECT_TRUE(testing::Eventually(testing::kDeadline, "it counts as retired",
                                  [&] { return cache.counters().retired_bytes > 0U; }));
  const auto released = proxy.view().Turn();
  EXPECT_EQ(released.size(), 1U);
  proxy.Send(Released{.memfds = released});
  proxy.Ask<Opened>(Open{.memfd = 999});
  EXPECT_EQ(cache.counters().retired_bytes, 0U);
}

TEST(CacheTest, NegativeAnswerIsKeptForNegativeTtlAtMost) {
  RunningCache cache({.memory_bytes = 16 * kMiB, .negative_ttl = std::chrono::seconds(5)});
  FakeProxy proxy(cache);
  const Lead lead = proxy.WantAndLead(kKey);
  proxy.Send(End{.fill = lead.fill,
                 .term = lead.term,
                 .outcome = Outcome::kNegative,
                 .freshness = Fresh(kHour),
                 .fields = "404"});
  const Ended ended = proxy.Expect<Ended>();
  EXPECT_EQ(ended.outcome, Outcome::kNegative);
  ASSERT_TRUE(ended.place);
  EXPECT_EQ(ended.place->flags, IndexEntry::kNegative);
  EXPECT_LE(ended.place->fresh_until_ns, NowNs() + 5'000'000'000);
  EXPECT_EQ(proxy.Ask<Found>(Want{.request = 5, .key = kKey}).place, *ended.place);
}

TEST(CacheTest, NegativeAnswerWithoutLifetimeDropsTheObject) {
  RunningCache cache;
  FakeProxy proxy(cache);
  proxy.InsertSmall(kKey, "old", Fresh(0));
  const Lead lead = proxy.WantAndLead(kKey);
  EXPECT_TRUE(lead.stale);
  proxy.Send(End{.fill = lead.fill,
                 .term = lead.term,
                 .outcome = Outcome::kNegative,
                 .freshness = Fresh(0),
                 .fields = "403"});
  EXPECT_FALSE(proxy.Expect<Ended>().place);
  EXPECT_EQ(proxy.Look(kKey), std::nullopt);
}

TEST(CacheTest, StaleObjectIsRevalidated) {
  RunningCache cache;
  FakeProxy proxy(cache);
  proxy.InsertSmall(kKey, "content", Fresh(0));
  Lead lead = proxy.WantAndLead(kKey);
  ASSERT_TRUE(lead.stale);
  proxy.Send(End{.fill = lead.fill,
                 .term = lead.term,
                 .outcome = Outcome::kNotModified,
                 .freshness = Fresh()});
  Ended ended = proxy.Expect<Ended>();
  EXPECT_EQ(ended.outcome, Outcome::kNotModified);
  ASSERT_TRUE(ended.place);
  EXPECT_GT(ended.place->fresh_until_ns, NowNs());
  EXPECT_EQ(ended.place->record_offset, lead.stale->record_offset) << "only times are new";
  // With other fields it is a new record of the same bytes.
  proxy.Ask<Purged>(Purge{.request = proxy.NextRequest(), .soft = true, .key = kKey});
  lead = proxy.WantAndLead(kKey);
  proxy.Send(End{.fill = lead.fill,
                 .term = lead.term,
                 .outcome = Outcome::kNotModified,
                 .freshness = Fresh(),
                 .fields = "other"});
  ended = proxy.Expect<Ended>();
  ASSERT_TRUE(ended.place);
  EXPECT_NE(ended.place->record_offset, lead.stale->record_offset);
  EXPECT_EQ(proxy.Look(kKey), "content");
}

TEST(CacheTest, TimesOfALinkCannotOverflow) {
  RunningCache cache;
  FakeProxy proxy(cache);
  const Ended ended = proxy.InsertSmall(
      kKey, "x",
      {.age_zero_ns = kTimeEnd - 1, .lifetime_ns = kTimeEnd - 1, .stale_ns = kTimeEnd - 1});
  ASSERT_TRUE(ended.place);
  EXPECT_LE(ended.place->age_zero_ns, NowNs());
  EXPECT_EQ(ended.place->stale_until_ns, kTimeEnd - 1);
}

TEST(CacheTest, MustRevalidateIsNeverStale) {
  RunningCache cache;
  FakeProxy proxy(cache);
  const Ended ended = proxy.InsertSmall(
      kKey, "x",
      {.age_zero_ns = NowNs(), .lifetime_ns = kHour, .stale_ns = kHour, .must_revalidate = true});
  ASSERT_TRUE(ended.place);
  EXPECT_EQ(ended.place->flags, IndexEntry::kMustRevalidate);
  EXPECT_EQ(ended.place->stale_until_ns, ended.place->fresh_until_ns);
}

TEST(CacheTest, WhereTheOriginSaysNothingTtlCounts) {
  RunningCache cache({.memory_bytes = 16 * kMiB, .ttl = std::chrono::seconds(7)});
  FakeProxy proxy(cache);
  const Ended ended = proxy.InsertSmall(kKey, "x", {.age_zero_ns = 1'000'000'000});
  ASSERT_TRUE(ended.place);
  EXPECT_EQ(ended.place->fresh_until_ns, 8'000'000'000);
}

TEST(CacheTest, ObjectBeyondItsShareOfTheMemoryPasses) {
  RunningCache cache({.memory_bytes = 16 * kMiB, .object_fraction = 0.125});
  FakeProxy leader(cache);
  FakeProxy follower(cache);
  EXPECT_EQ(leader.welcome().object_max, 2 * kMiB);
  const Lead lead = leader.WantAndLead(kKey);
  follower.WantAndFollow(kKey);
  leader.Send(
      Begin{.fill = lead.fill, .term = lead.term, .length = 2 * kMiB + 1, .freshness = Fresh()});
  EXPECT_EQ(leader.Expect<Ended>().outcome, Outcome::kPass);
  EXPECT_EQ(follower.Expect<Ended>().outcome, Outcome::kPass);
}

TEST(CacheTest, PurgedFillGoesToItsFollowersUnpublished) {
  RunningCache cache;
  FakeProxy leader(cache);
  FakeProxy follower(cache);
  FakeProxy control(cache, {.control = true, .segments = 0});
  const Lead lead = leader.WantAndLead(kKey);
  follower.WantAndFollow(kKey);
  EXPECT_EQ(control.Ask<Purged>(Purge{.request = 1, .key = "/a"}).objects, 0U);
  EXPECT_EQ(leader.Expect<FillPurged>().fill, lead.fill);
  EXPECT_EQ(follower.Expect<FillPurged>().fill, lead.fill);
  leader.Send(Insert{
      .fill = lead.fill, .term = lead.term, .segment = leader.Fill("old"), .freshness = Fresh()});
  const auto object = follower.Map(follower.Expect<Begun>(), kKey);
  EXPECT_EQ(Text(object->Body()), "old");
  follower.Expect<Progress>();
  const Ended ended = follower.Expect<Ended>();
  EXPECT_EQ(ended.outcome, Outcome::kComplete);
  EXPECT_FALSE(ended.place);
}

TEST(CacheTest, PurgeByPathCountsForEveryOrigin) {
  RunningCache cache;
  FakeProxy proxy(cache);
  for (const char* const key : {"http://a/x/1", "http://b:81/x/1", "http://a/x/2", "http://a/y"}) {
    proxy.InsertSmall(key, key);
  }
  const auto purge = [&](const std::string& key, bool prefix, bool soft = false) {
    return proxy
        .Ask<Purged>(
            Purge{.request = proxy.NextRequest(), .soft = soft, .prefix = prefix, .key = key})
        .objects;
  };
  EXPECT_EQ(purge("/x/1", false), 2U);
  EXPECT_EQ(purge("/x/1", false), 0U);
  EXPECT_EQ(proxy.Look("http://a/x/1"), std::nullopt);
  EXPECT_EQ(proxy.Look("http://a/x/2"), "http://a/x/2");
  EXPECT_EQ(purge("http://a/y", false), 1U);
  EXPECT_EQ(purge("/x", true, true), 1U);
  EXPECT_TRUE(proxy.WantAndLead("http://a/x/2").stale) << "still there, to be revalidated";
}

TEST(CacheTest, PinnedObjectsStayUntilTheListLosesThem) {
  RunningCache cache;
  FakeProxy proxy(cache);
  const std::string body = "pinned";
  cache.Call([&](Cache& its) {
    EXPECT_TRUE(its.Pin("/p", "f", std::as_bytes(std::span(body))));
    EXPECT_TRUE(its.Pin("/q", "f", std::as_bytes(std::span(body))));
  });
  EXPECT_EQ(proxy.Look("/p"), "pinned");
  const std::string filler(60000, 'x');
  for (int i = 0; i < 400; ++i) proxy.InsertSmall("http://o/" + std::to_string(i), filler);
  EXPECT_EQ(proxy.Look("/p"), "pinned");
  cache.Call([&](Cache& its) { its.KeepPinned({"/q"}); });
  EXPECT_EQ(proxy.Look("/p"), std::nullopt);
  EXPECT_EQ(proxy.Look("/q"), "pinned");
}

TEST(CacheTest, CopiesThroughSegmentsGoOnAfterEviction) {
  RunningCache cache;
  FakeProxy proxy(cache);
  const Ended ended = proxy.InsertSmall(kKey, "0123456789");
  ASSERT_TRUE(ended.place);
  const auto copy = [&](std::uint64_t offset, std::uint64_t bytes) {
    Segment segment = proxy.Fill("");
    segment.bytes = bytes;
    const auto copied = proxy.Ask<Copied>(Copy{.memfd = ended.place->memfd,
                                               .record_offset = ended.place->record_offset,
                                               .part = Part::kBody,
                                               .offset = offset,
                                               .segment = segment});
    proxy.TakeBack();
    return copied.gone ? "gone" : Text(proxy.memory().Payload(proxy.lease()).first(copied.bytes));
  };
  EXPECT_EQ(copy(0, 4), "0123");
  FakeProxy control(cache, {.control = true, .segments = 0});
  EXPECT_EQ(control.Ask<Purged>(Purge{.request = 1, .prefix = true, .key = "/"}).objects, 1U);
  EXPECT_EQ(copy(4, 100), "456789");
  EXPECT_EQ(copy(10, 100), "");
  EXPECT_EQ(copy(11, 100), "");
}

TEST(CacheTest, LinkThatBreaksTheProtocolIsEndedAlone) {
  const std::vector<std::pair<const char*, std::function<void(FakeProxy&)>>> wrongs = {
      {"no packet of ours", [](FakeProxy& p) { p.SendBytes(std::vector<std::byte>(3)); }},
      {"a message of the cache", [](FakeProxy& p) { p.Send(Retired{}); }},
      {"a second HELLO", [](FakeProxy& p) { p.Send(Hello{}); }},
      {"a descriptor that nobody asked for", [](FakeProxy& p) { p.Send(Alive{}, 0); }},
      {"a segment beyond its own",
       [](FakeProxy& p) {
         const Lead lead = p.WantAndLead(kKey);
         p.Send(Insert{.fill = lead.fill,
                       .term = lead.term,
                       .segment = Segment{.index = 4, .token = 1, .bytes = 1}});
         p.Expect<Taken>();
       }},
      {"a segment of 256 TiB",
       [](FakeProxy& p) {
         const Lead lead = p.WantAndLead(kKey);
         p.Send(Insert{.fill = lead.fill,
                       .term = lead.term,
                       .segment = Segment{.index = 0, .token = 1, .bytes = kSizeEnd - 1}});
       }},
      {"COPY beyond its segments",
       [](FakeProxy& p) {
         p.Send(Copy{.memfd = 1, .segment = {.index = 4, .token = 1, .bytes = 1}});
       }},
      {"END complete without BEGIN",
       [](FakeProxy& p) {
         const Lead lead = p.WantAndLead(kKey);
         p.Send(End{.fill = lead.fill, .term = lead.term, .outcome = Outcome::kComplete});
       }},
      {"WANT twice",
       [](FakeProxy& p) {
         p.WantAndLead(kKey);
         p.Send(Want{.request = 2, .key = kKey});
       }},
  };
  RunningCache cache;
  FakeProxy witness(cache);
  witness.InsertSmall("http://origin/w", "witness");
  std::uint64_t malformed = 0;
  for (const auto& [what, wrong] : wrongs) {
    SCOPED_TRACE(what);
    FakeProxy proxy(cache);
    wrong(proxy);
    EXPECT_TRUE(proxy.AtEnd());
    witness.Ask<Opened>(Open{.memfd = 999});
    EXPECT_EQ(cache.counters().malformed.Get(), ++malformed);
  }
  FakeProxy silent(cache, {.greets = false});
  silent.Send(Alive{});
  EXPECT_TRUE(silent.AtEnd());
  FakeProxy control(cache, {.control = true, .segments = 0});
  control.Send(Want{.request = 1, .key = kKey});
  EXPECT_TRUE(control.AtEnd());
  EXPECT_EQ(witness.Look("http://origin/w"), "witness");
}

TEST(CacheTest, LinkThatDoesNotReadIsEndedAndOthersGoOn) {
  RunningCache cache;
  FakeProxy stopped(cache);
  FakeProxy other(cache);
  // Its own socket buffer, then the queue, then it is over: what it sends fails.
  while (cache.counters().links_overrun.Get() == 0) {
    stopped.Send(Open{.memfd = 999});
    EXPECT_EQ(other.Ask<Opened>(Open{.memfd = 999}).gone, true);
  }
  other.InsertSmall(kKey, "x");
  EXPECT_EQ(other.Look(kKey), "x");
  EXPECT_EQ(cache.counters().links, 1U);
}

TEST(CacheTest, DelayedWantsOfAnEndedLinkAreForgotten) {
  RunningCache cache({.memory_bytes = 16 * kMiB, .delay = std::chrono::minutes(1)});
  // The cache delays 1024 of one link, and 65536 of all.
  const auto passed_of = [](FakeProxy& proxy, std::uint64_t wants) {
    std::uint64_t passed = 0;
    for (std::uint64_t i = 1; i <= wants; ++i) {
      proxy.Send(Want{.request = i, .key = kKey});
      if (i % 64 != 0 && i != wants) continue;
      proxy.Send(Status{.request = 1});  // answered at once; no more than 64 are in the socket
      auto answer = proxy.Receive();
      for (; answer && std::holds_alternative<Passed>(*answer); answer = proxy.Receive()) ++passed;
      EXPECT_TRUE(answer && std::holds_alternative<Report>(*answer));
    }
    return passed;
  };
  std::vector<std::unique_ptr<FakeProxy>> greedy;
  for (int i = 0; i < 64; ++i) {
    greedy.push_back(std::make_unique<FakeProxy>(cache, FakeProxy::Options{.segments = 0}));
    EXPECT_EQ(passed_of(*greedy.back(), 1024), 0U);
  }
  FakeProxy other(cache);
  EXPECT_EQ(passed_of(other, 10), 10U);
  greedy.pop_back();
  EXPECT_TRUE(testing::Eventually(testing::kDeadline, "the link has ended",
                                  [&] { return cache.counters().links == 64U; }));
  EXPECT_EQ(passed_of(other, 1000), 0U);
  EXPECT_EQ(passed_of(other, 100), 100U - 24U) << "the bound of one link is its own";
}

TEST(CacheTest, ReportNamesProxiesAndCounts) {
  RunningCache cache;
  FakeProxy proxy(cache);
  FakeProxy control(cache, {.control = true, .segments = 0});
  proxy.InsertSmall(kKey, "x");
  proxy.Send(Hits{.hits = 3, .stale = 1, .passed = 2, .bytes_saved = 77});
  proxy.WantAndLead("http://origin/other");
  const Report report = control.Ask<Report>(Status{.request = 4});
  EXPECT_EQ(report.request, 4U);
  EXPECT_EQ(report.objects, 1U);
  EXPECT_EQ(report.memory, 16 * kMiB);
  EXPECT_EQ(report.hits, 3U);
  EXPECT_EQ(report.misses, 2U);
  EXPECT_EQ(report.stale, 1U);
  EXPECT_EQ(report.passed, 2U);
  EXPECT_EQ(report.bytes_saved, 77U);
  ASSERT_EQ(report.links.size(), 1U);
  EXPECT_EQ(report.links[0].name, "fake");
  EXPECT_EQ(report.links[0].pid, static_cast<std::uint32_t>(::getpid()));
  EXPECT_EQ(report.links[0].fills_led, 1U);
}

TEST(CacheTest, WhileDrainingMissesPass) {
  RunningCache cache;
  FakeProxy proxy(cache);
  proxy.InsertSmall(kKey, "x");
  cache.Call([](Cache& its) { its.BeginDrain(); });
  EXPECT_EQ(proxy.Ask<Passed>(Want{.request = 8, .key = "http://origin/b"}).request, 8U);
  EXPECT_EQ(proxy.Ask<Found>(Want{.request = 9, .key = kKey}).request, 9U);
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
