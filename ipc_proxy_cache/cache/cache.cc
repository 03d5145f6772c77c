#include "ipc_proxy_cache/cache/cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <type_traits>
#include <utility>
#include <variant>

#include "common/base/check.h"
#include "common/base/parse.h"

namespace ds::ipc_proxy_cache {
namespace {

/// Beyond these, misses are told to fetch for themselves.
constexpr std::size_t kDelayedMax = 65536;
constexpr std::size_t kDelayedMaxOfLink = 1024;
/// Of all the segments of one link.
constexpr std::size_t kSegmentsBytesMax = SegmentGeometry::kTotalMax + kPageBytes;
constexpr std::size_t kLinkCountMax = 16384;
constexpr Duration kAcceptPause = std::chrono::milliseconds(200);
constexpr std::int64_t kForever = kTimeEnd - 1;

template <typename Strong>
std::uint64_t Raw(Strong strong) {
  return static_cast<std::uint64_t>(strong);
}

/// The path of a key, which begins with scheme and host unless it is of a pinned object.
std::string_view PathOf(std::string_view key) {
  const std::size_t scheme = key.find("://");
  if (scheme == std::string_view::npos) return key;
  const std::size_t slash = key.find('/', scheme + 3);
  return slash == std::string_view::npos ? "/" : key.substr(slash);
}

/// A path counts for every origin.
bool Matches(std::string_view key, std::string_view pattern, bool prefix) {
  const std::string_view text = pattern.starts_with('/') ? PathOf(key) : key;
  return prefix ? text.starts_with(pattern) : text == pattern;
}

/// Neither wraps (both are below 2^62) nor leaves what a message may say.
std::int64_t Later(std::int64_t time_ns, std::int64_t by_ns) {
  return std::min(time_ns + by_ns, kForever);
}

std::uint64_t Shown(std::uint64_t count) { return std::min(count, kSizeEnd - 1); }

/// Stale from `now_ns` on, and as long as before it may be served so.
ObjectTimes MadeStale(ObjectTimes times, std::int64_t now_ns) {
  const std::int64_t stale_ns =
      std::max<std::int64_t>(times.stale_until_ns - times.fresh_until_ns, 0);
  times.fresh_until_ns = std::min(times.fresh_until_ns, now_ns);
  times.stale_until_ns = Later(times.fresh_until_ns, stale_ns);
  return times;
}

Place PlaceOfEntry(const IndexEntry& entry) {
  return {.memfd = entry.memfd,
          .record_offset = entry.record_offset,
          .flags = entry.flags,
          .fresh_until_ns = entry.fresh_until_ns,
          .stale_until_ns = entry.stale_until_ns,
          .age_zero_ns = entry.age_zero_ns};
}

FillEnd FillEndOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::kComplete:
      return FillEnd::kComplete;
    case Outcome::kNotModified:
      return FillEnd::kFound;
    case Outcome::kNegative:
      return FillEnd::kNegative;
    case Outcome::kBroken:
      return FillEnd::kBroken;
    case Outcome::kPass:
      break;
  }
  return FillEnd::kPass;
}

SegmentPool::Lease LeaseOf(const Segment& segment) {
  return {.segment = segment.index, .token = segment.token};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Cache>> Cache::Create(const CacheOptions& options,
                                                     net::EventLoop* loop) {
  ASSIGN_OR_RETURN(const HashSecret secret, RandomHashSecret());
  ASSIGN_OR_RETURN(Store store, Store::Create(options.memory_bytes, secret));
  TinyLfu policy(store.layout().geometry().PolicyCapacity());
  std::unique_ptr<Cache> cache(new Cache(options, loop, std::move(store), std::move(policy)));
  cache->UpdateGauges();
  return cache;
}

Cache::Cache(const CacheOptions& options, net::EventLoop* loop, Store store, TinyLfu policy)
    : options_(options),
      loop_(loop),
      fill_table_(FillTable::Options{}),
      store_(std::move(store), std::move(policy)) {}

Cache::~Cache() {
  if (deferred_) loop_->CancelDefer(this);
  loop_->Cancel(this);
  if (listener_ && !accept_again_) loop_->Remove(listener_->fd(), this);
}

// Links.

absl::Status Cache::Listen(LinkListener listener) {
  listener_.emplace(std::move(listener));
  return loop_->Add(listener_->fd(), EPOLLIN, this);
}

void Cache::BeginDrain() {
  draining_ = true;
  if (listener_ && !accept_again_) loop_->Remove(listener_->fd(), this);
  accept_again_.reset();
  listener_.reset();
}

void Cache::Accept() {
  for (;;) {
    UniqueFd socket(::accept4(listener_->fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket) {
      AddLink(std::move(socket));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return;
    // Level-triggered: without a pause it would be reported again and again.
    Warn(accept_warnings_, fmt::format("accept a link: {}", ErrnoText(errno)));
    loop_->Remove(listener_->fd(), this);
    accept_again_ = loop_->now() + kAcceptPause;
    ArmTimer();
    return;
  }
}

void Cache::AddLink(UniqueFd socket) {
  const auto peer = shm::CredentialsOfPeer(socket.get());
  const bool allowed = peer.ok() && (peer->uid == ::geteuid() ||
                                     std::ranges::find(options_.allowed_uids, peer->uid) !=
                                         options_.allowed_uids.end());
  if (!allowed || links_.size() >= kLinkCountMax) {
    counters_.links_refused.Add();
    Warn(refused_warnings_,
         fmt::format("refused a link of pid {}, uid {}: {}", peer.ok() ? peer->pid : 0,
                     peer.ok() ? peer->uid : 0,
                     allowed ? "there are too many" : "another user (see --allow-uid)"));
    return;
  }
  const std::uint64_t id = ++last_link_;
  auto link = std::make_unique<PeerLink>(id, *peer, loop_, std::move(socket),
                                         static_cast<PeerLink::Owner*>(this));
  if (const absl::Status started = link->channel().Start(); !started.ok()) {
    counters_.links_refused.Add();
    Warn(refused_warnings_, fmt::format("link {}: {}", id, ds::Message(started)));
    return;
  }
  counters_.links_made.Add();
  links_.emplace(id, std::move(link));
  UpdateGauges();
}

void Cache::Warn(LogLimit& limit, std::string_view what) {
  const auto left_out = limit.Admit(loop_->now());
  if (!left_out) return;
  if (*left_out == 0) return spdlog::warn("{}", what);
  spdlog::warn("{} (and {} before it that are not in the log)", what, *left_out);
}

PeerLink* Cache::Find(LinkId link) {
  const auto it = links_.find(Raw(link));
  return it == links_.end() ? nullptr : it->second.get();
}

void Cache::SendTo(LinkId link, const Message& message, int descriptor) {
  if (PeerLink* const to = Find(link)) to->channel().Send(message, descriptor);
}

void Cache::EndLink(PeerLink& link, std::string_view reason) {
  const auto it = links_.find(link.id());
  if (it == links_.end()) return;
  if (!reason.empty()) {
    Warn(ended_warnings_,
         fmt::format("link {} of pid {} ended: {}", link.id(), link.peer().pid, reason));
  }
  link.channel().Close();
  if (link.delayed > 0) {
    std::erase_if(delayed_, [&](const DelayedWant& delayed) { return delayed.link == link.id(); });
  }
  store_.store().holdings().EndLink(link.id());
  fill_table_.HandleLinkEnd(LinkId{link.id()});
  ended_links_.push_back(std::move(it->second));
  links_.erase(it);
  if (!deferred_) loop_->Defer(this);
  deferred_ = true;
}

// Events.

void Cache::OnEvents(std::uint32_t events) {
  if (events == 0) {
    deferred_ = false;
    ended_links_.clear();
  } else if (listener_) {
    Accept();
  }
}

void Cache::OnLinkEnd(PeerLink& link, const absl::Status& why) {
  if (absl::IsInvalidArgument(why)) counters_.malformed.Add();
  if (absl::IsResourceExhausted(why)) counters_.links_overrun.Add();
  EndLink(link, why.ok() ? "" : ds::Message(why));
  Finish();
}

void Cache::OnTimer() {
  const TimePoint now = loop_->now();
  if (const auto deadline = fill_table_.NextDeadline(); deadline && *deadline <= now) {
    // What has arrived is read first: a link is silent only if nothing of it lies here.
    std::vector<LinkId> ids;
    for (const auto& [id, link] : links_) ids.push_back(LinkId{id});
    for (const LinkId id : ids) {
      if (PeerLink* const link = Find(id)) link->channel().ReceiveArrived();
    }
    fill_table_.HandleTimeout(now);
  }
  while (!delayed_.empty() && delayed_.front().due <= now) {
    const DelayedWant delayed = std::move(delayed_.front());
    delayed_.pop_front();
    PeerLink* const link = Find(LinkId{delayed.link});
    CHECK(link != nullptr, "they end with their link");
    --link->delayed;
    AnswerWant(*link, delayed.want);
  }
  if (accept_again_ && *accept_again_ <= now) {
    accept_again_.reset();
    if (!loop_->Add(listener_->fd(), EPOLLIN, this).ok()) accept_again_ = now + kAcceptPause;
  }
  Finish();
}

void Cache::OnMessage(PeerLink& link, Message message, UniqueFd descriptor) {
  const bool hello = std::holds_alternative<Hello>(message);
  const bool for_control =
      hello || std::holds_alternative<Purge>(message) || std::holds_alternative<Status>(message);
  if (hello == link.greeting.has_value()) {
    counters_.malformed.Add();
    EndLink(link, hello ? "a second HELLO" : "its first message is not HELLO");
  } else if (!hello && link.greeting->control && !for_control) {
    counters_.malformed.Add();
    EndLink(link, "a message that only a proxy sends");
  } else {
    std::visit(
        [&]<typename T>(T& content) {
          if constexpr (std::is_same_v<T, Hello>) {
            Handle(link, content, std::move(descriptor));
          } else if constexpr (T::kSender == Sender::kLink) {
            Handle(link, content);
          }
        },
        message);
  }
  Finish();
}

void Cache::Finish() {
  for (std::vector<FillAction> actions = fill_table_.TakeActions(); !actions.empty();
       actions = fill_table_.TakeActions()) {
    for (const FillAction& action : actions) {
      std::visit([&](const auto& what) { Do(what); }, action);
    }
    closed_.clear();
  }
  for (const std::uint64_t id : store_.store().TakeLinksToTell()) {
    PeerLink* const link = Find(LinkId{id});
    if (link == nullptr) continue;
    if (link->told_of_retired) {
      link->retired_since = true;
    } else {
      link->told_of_retired = true;
      link->channel().Send(Retired{});
    }
  }
  UpdateGauges();
  ArmTimer();
}

void Cache::ArmTimer() {
  std::optional<TimePoint> next = fill_table_.NextDeadline();
  const auto consider = [&](TimePoint time) { next = next ? std::min(*next, time) : time; };
  if (!delayed_.empty()) consider(delayed_.front().due);
  if (accept_again_) consider(*accept_again_);
  if (next) {
    loop_->Arm(this, *next);
  } else {
    loop_->Cancel(this);
  }
}

void Cache::UpdateGauges() {
  const Store& store = store_.store();
  const auto set = [](std::atomic<std::uint64_t>& gauge, std::uint64_t value) {
    gauge.store(value, std::memory_order_relaxed);
  };
  set(counters_.evicted, store_.evicted());
  set(counters_.objects, store_.policy().objects());
  set(counters_.bytes, store.layout().used_bytes());
  set(counters_.retired_bytes, store.holdings().retired_bytes());
  set(counters_.links, links_.size());
  set(counters_.fills, fill_table_.fills());
}

// Lookups and times.

std::int64_t Cache::now_ns() const {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(loop_->now().time_since_epoch())
      .count();
}

std::optional<IndexEntry> Cache::FindKey(std::string_view key) const {
  const Store& store = store_.store();
  const KeyHash hash = store.Hash(key);
  const auto entry = store.index().Find(hash);
  if (!entry || store.Read(hash)->key() != key) return std::nullopt;
  return entry;
}

std::optional<Place> Cache::PlaceOf(std::string_view key) const {
  const auto entry = FindKey(key);
  if (!entry) return std::nullopt;
  return PlaceOfEntry(*entry);
}

ObjectTimes Cache::TimesOf(const Freshness& freshness, bool negative) const {
  const auto nanoseconds = [](std::chrono::seconds s) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(s).count();
  };
  const std::int64_t age_zero_ns = std::min(freshness.age_zero_ns, now_ns());
  std::int64_t lifetime_ns = freshness.lifetime_ns.value_or(nanoseconds(options_.ttl));
  if (negative) {
    const std::int64_t most = nanoseconds(options_.negative_ttl);
    lifetime_ns = std::min(freshness.lifetime_ns.value_or(most), most);
  }
  const std::int64_t fresh_until_ns = Later(age_zero_ns, lifetime_ns);
  const bool never_stale = negative || freshness.must_revalidate;
  return {
      .flags = (negative ? IndexEntry::kNegative : 0) |
               (freshness.must_revalidate ? IndexEntry::kMustRevalidate : 0),
      .fresh_until_ns = fresh_until_ns,
      .stale_until_ns = never_stale ? fresh_until_ns : Later(fresh_until_ns, freshness.stale_ns),
      .age_zero_ns = age_zero_ns};
}

// Messages: the link, and what it wants.

void Cache::Handle(PeerLink& link, Hello& message, UniqueFd descriptor) {
  if (descriptor) {
    auto segments = PeerSegments::Adopt(std::move(descriptor), kSegmentsBytesMax);
    if (!segments.ok() || segments->geometry().count != message.segments ||
        segments->geometry().segment_bytes != message.segment_bytes) {
      counters_.malformed.Add();
      return EndLink(link, segments.ok() ? "HELLO names other segments than it brings"
                                         : ds::Message(segments.status()));
    }
    link.segments.emplace(*std::move(segments));
  }
  link.greeting = {.control = message.control, .name = EscapeBytes(message.name)};
  link.greeting->name.resize(std::min(link.greeting->name.size(), kNameBytesMax));
  if (!message.control) {
    spdlog::info("link {}: {} (pid {}, uid {})", link.id(), link.greeting->name, link.peer().pid,
                 link.peer().uid);
  }
  link.channel().Send(Welcome{.link = link.id(),
                              .small_max = store_.store().layout().geometry().SmallMax(),
                              .object_max = options_.ObjectMax()},
                      store_.store().index().fd());
}

void Cache::Handle(PeerLink& link, Want& message) {
  if (options_.delay.count() == 0) return AnswerWant(link, message);
  if (delayed_.size() >= kDelayedMax || link.delayed >= kDelayedMaxOfLink) {
    counters_.passed.Add();
    return link.channel().Send(Passed{.request = message.request});
  }
  ++link.delayed;
  delayed_.push_back({loop_->now() + options_.delay, link.id(), std::move(message)});
}

void Cache::AnswerWant(PeerLink& link, const Want& want) {
  store_.policy().Touch(store_.store().Hash(want.key));
  const auto entry = FindKey(want.key);
  const bool fresh = entry && entry->fresh_until_ns > now_ns();
  if (draining_ && !fresh) {
    counters_.misses.Add();
    counters_.passed.Add();
    return link.channel().Send(Passed{.request = want.request});
  }
  fill_table_.HandleWant(LinkId{link.id()}, RequestId{want.request}, want.key, fresh, loop_->now());
  // The answer needs the key.
  std::vector<FillAction> actions = fill_table_.TakeActions();
  for (const FillAction& action : actions) {
    if (const auto* lead = std::get_if<fill_action::Lead>(&action)) {
      fills_[lead->fill].key = want.key;
    }
    if (std::holds_alternative<fill_action::Found>(action)) {
      counters_.hits.Add();
      link.channel().Send(Found{.request = want.request, .place = PlaceOfEntry(*entry)});
    } else {
      std::visit([&](const auto& what) { Do(what); }, action);
    }
  }
}

void Cache::Handle(PeerLink& link, Alive& /*message*/) {
  fill_table_.HandleAlive(LinkId{link.id()}, loop_->now());
}

void Cache::Handle(PeerLink& link, Leave& message) {
  fill_table_.HandleLeave(LinkId{link.id()}, FillId{message.fill}, loop_->now());
}

void Cache::Handle(PeerLink& link, Read& message) {
  fill_table_.HandleProgressRead(LinkId{link.id()}, FillId{message.fill}, loop_->now());
}

void Cache::Handle(PeerLink& /*link*/, Hits& message) {
  counters_.hits.Add(message.hits);
  counters_.stale.Add(message.stale);
  counters_.passed.Add(message.passed);
  counters_.misses.Add(message.coalesced);
  counters_.coalesced.Add(message.coalesced);
  counters_.bytes_saved.Add(message.bytes_saved);
  for (const KeyHash& hash : message.hashes) store_.policy().Touch(hash);
}

// Messages: what a leader says.

std::optional<bool> Cache::CopyFrom(PeerLink& link, const Segment& segment,
                                    std::span<std::byte> content) {
  const SegmentCopy copy = link.segments->CopyFrom(LeaseOf(segment), content);
  link.channel().Send(Taken{.segment = segment.index, .token = segment.token});
  if (copy == SegmentCopy::kOutside) {
    counters_.malformed.Add();
    EndLink(link, "a segment that it does not have");
    return std::nullopt;
  }
  return copy == SegmentCopy::kCopied;
}

void Cache::Handle(PeerLink& link, Begin& message) {
  const LinkId id{link.id()};
  const FillId fill_id{message.fill};
  const Term term{message.term};
  const auto led = fill_table_.FindLed(id, fill_id, term);
  if (!led || led->begun) {
    return fill_table_.HandleBegin(id, fill_id, term, message.length, loop_->now());
  }
  Fill& fill = fills_.at(fill_id);
  const StoreObject object{
      .hash = store_.store().Hash(fill.key), .key = fill.key, .fields = message.fields};
  if (message.length <= options_.ObjectMax()) {
    // What was purged meanwhile is not the policy's business any more.
    fill.memfd = led->publish ? store_.BeginFill(object, message.length)
                              : store_.store().BeginFill(object, message.length);
  }
  if (!fill.memfd) {
    return fill_table_.HandleEnd(id, fill_id, term, FillEnd::kPass, loop_->now());
  }
  fill.times = TimesOf(message.freshness, /*negative=*/false);
  fill_table_.HandleBegin(id, fill_id, term, message.length, loop_->now());
}

void Cache::Handle(PeerLink& link, Data& message) {
  const LinkId id{link.id()};
  const FillId fill_id{message.fill};
  const Term term{message.term};
  const auto led = fill_table_.FindLed(id, fill_id, term);
  const std::uint64_t bytes = message.segment.bytes;
  if (!link.segments) {
    counters_.malformed.Add();
    return EndLink(link, "DATA without segments");
  }
  if (!led || !led->TakesData(message.offset, bytes)) {
    link.channel().Send(Taken{.segment = message.segment.index, .token = message.segment.token});
    return fill_table_.HandleData(id, fill_id, term, message.offset, bytes, loop_->now());
  }
  const std::uint64_t memfd = *fills_.at(fill_id).memfd;
  const auto copied = CopyFrom(link, message.segment, store_.store().FillSpace(memfd).first(bytes));
  if (!copied) return;
  if (!*copied) {
    return fill_table_.HandleEnd(id, fill_id, term, FillEnd::kBroken, loop_->now());
  }
  store_.store().RaiseFill(memfd, bytes);
  fill_table_.HandleData(id, fill_id, term, message.offset, bytes, loop_->now());
}

void Cache::Handle(PeerLink& link, Insert& message) {
  const LinkId id{link.id()};
  const FillId fill_id{message.fill};
  const Term term{message.term};
  const auto end = [&](FillEnd how) {
    fill_table_.HandleEnd(id, fill_id, term, how, loop_->now());
  };
  std::vector<std::byte> body;
  bool copied = true;
  if (message.segment) {
    const std::uint64_t bytes = message.segment->bytes;
    if (!link.segments || bytes > link.segments->geometry().PayloadBytes()) {
      counters_.malformed.Add();
      return EndLink(link, "INSERT with a segment that it does not have");
    }
    // Not used if it is too large, but the segment comes back in any case.
    body.resize(bytes <= options_.ObjectMax() ? bytes : 0);
    const auto result = CopyFrom(link, *message.segment, body);
    if (!result) return;
    copied = *result;
  }
  const auto led = fill_table_.FindLed(id, fill_id, term);
  if (led && led->begun) {
    counters_.malformed.Add();
    return EndLink(link, "INSERT of a fill that has begun");
  }
  if (!led || !copied) return end(FillEnd::kBroken);  // without `led` it has no effect
  if (message.segment && body.size() != message.segment->bytes) return end(FillEnd::kPass);

  Fill& fill = fills_.at(fill_id);
  fill.times = TimesOf(message.freshness, /*negative=*/false);
  if (fill.stale_at_once) fill.times = MadeStale(fill.times, now_ns());
  const StoreObject object{.hash = store_.store().Hash(fill.key),
                           .key = fill.key,
                           .fields = message.fields,
                           .body = body};
  if (led->publish && store_.Insert(object, fill.times)) {
    fill.found = Outcome::kComplete;
    return fill_table_.HandleInsert(id, fill_id, term, loop_->now());
  }
  InsertForFollowers(message, id, body);
}

/// The object is not kept: purged meanwhile, or not worth its room. It becomes an object of its own
/// for those who take part.
void Cache::InsertForFollowers(const Insert& message, LinkId link,
                               std::span<const std::byte> body) {
  const FillId fill_id{message.fill};
  const Term term{message.term};
  Fill& fill = fills_.at(fill_id);
  fill.memfd = store_.store().BeginFill(
      {.hash = store_.store().Hash(fill.key), .key = fill.key, .fields = message.fields},
      body.size());
  if (!fill.memfd) {
    return fill_table_.HandleEnd(link, fill_id, term, FillEnd::kPass, loop_->now());
  }
  fill_table_.HandleBegin(link, fill_id, term, body.size(), loop_->now());
  if (!body.empty()) {
    std::ranges::copy(body, store_.store().FillSpace(*fill.memfd).begin());
    store_.store().RaiseFill(*fill.memfd, body.size());
    fill_table_.HandleData(link, fill_id, term, 0, body.size(), loop_->now());
  }
  fill_table_.HandleEnd(link, fill_id, term, FillEnd::kComplete, loop_->now());
}

void Cache::Handle(PeerLink& link, End& message) {
  const LinkId id{link.id()};
  const FillId fill_id{message.fill};
  const Term term{message.term};
  const auto led = fill_table_.FindLed(id, fill_id, term);
  if (led && !led->begun) {
    Fill& fill = fills_.at(fill_id);
    if (message.outcome == Outcome::kNotModified && led->publish) Revalidate(fill, message);
    if (message.outcome == Outcome::kNegative) {
      fill.times = TimesOf(message.freshness, /*negative=*/true);
      fill.negative_fields = std::move(message.fields);
    }
    // The origin no longer lets it be shared; an older version is not to be offered.
    if (message.outcome == Outcome::kPass && led->publish) {
      store_.Evict(store_.store().Hash(fill.key));
    }
  }
  fill_table_.HandleEnd(id, fill_id, term, FillEndOf(message.outcome), loop_->now());
}

void Cache::Revalidate(const Fill& fill, const End& message) {
  if (!FindKey(fill.key)) return;  // evicted meanwhile
  const KeyHash hash = store_.store().Hash(fill.key);
  const ObjectTimes times = TimesOf(message.freshness, /*negative=*/false);
  const Record record = *store_.store().Read(hash);
  if (message.fields.empty() || message.fields == record.fields()) {
    store_.store().Update(hash, times);
    return;
  }
  store_.Insert({.hash = hash, .key = fill.key, .fields = message.fields, .body = record.Body()},
                times);
}

// Messages: memory.

void Cache::Handle(PeerLink& link, Open& message) {
  const auto live = store_.store().Find(message.memfd);
  if (!live) {
    return link.channel().Send(Opened{.memfd = message.memfd, .gone = true});
  }
  store_.store().holdings().Hold(link.id(), message.memfd);
  link.channel().Send(Opened{.memfd = message.memfd, .chunk = live->chunk}, live->fd);
}

void Cache::Handle(PeerLink& link, Released& message) {
  for (const std::uint64_t memfd : message.memfds) {
    store_.store().holdings().Release(link.id(), memfd);
    link.copied.erase(memfd);
  }
  link.told_of_retired = false;
  if (std::exchange(link.retired_since, false)) {
    link.told_of_retired = true;
    link.channel().Send(Retired{});
  }
}

void Cache::Handle(PeerLink& link, Copy& message) {
  const Segment& segment = message.segment;
  const auto answer = [&](std::uint64_t bytes, bool gone) {
    link.channel().Send(
        Copied{.segment = segment.index, .token = segment.token, .bytes = bytes, .gone = gone});
  };
  if (!link.segments || segment.index >= link.segments->geometry().count) {
    counters_.malformed.Add();
    return EndLink(link, "COPY into a segment that it does not have");
  }
  auto mapped = link.copied.find(message.memfd);
  if (mapped == link.copied.end()) {
    const auto live = store_.store().Find(message.memfd);
    if (!live) return answer(0, true);
    UniqueFd duplicate(::fcntl(live->fd, F_DUPFD_CLOEXEC, 0));
    if (!duplicate) return answer(0, true);
    auto memfd = shm::Memfd::Adopt(std::move(duplicate), shm::Memfd::Access::kRead,
                                   {.max = std::numeric_limits<std::size_t>::max()});
    if (!memfd.ok()) return answer(0, true);
    store_.store().holdings().Hold(link.id(), message.memfd);
    mapped = link.copied.emplace(message.memfd, *std::move(memfd)).first;
  }
  const auto memory = mapped->second.bytes();
  const auto record = Record::Read(memory, message.record_offset);
  if (!record.ok()) return answer(0, true);
  std::span<const std::byte> part = record->Body();
  if (message.part == Part::kRecord) {
    part = memory.subspan(message.record_offset,
                          RecordBytes(record->key().size(), record->fields().size()));
  }
  part = part.subspan(std::min<std::uint64_t>(message.offset, part.size()));
  part = part.first(std::min<std::uint64_t>(
      {part.size(), segment.bytes, link.segments->geometry().PayloadBytes()}));
  link.segments->CopyTo(LeaseOf(segment), part);
  answer(part.size(), false);
}

// Messages: control.

void Cache::Handle(PeerLink& link, Purge& message) {
  const std::uint64_t objects = PurgeMatching(message.key, message.prefix, message.soft);
  spdlog::info("purged {} objects: {} \"{}\"{}", objects, message.prefix ? "prefix" : "path",
               EscapeBytes(message.key), message.soft ? ", softly" : "");
  link.channel().Send(Purged{.request = message.request, .objects = objects});
}

std::uint64_t Cache::PurgeMatching(std::string_view pattern, bool prefix, bool soft) {
  std::uint64_t purged = 0;
  for (auto& [id, fill] : fills_) {
    if (!Matches(fill.key, pattern, prefix)) continue;
    if (soft) {
      fill.stale_at_once = true;
      continue;
    }
    for (const LinkId part : fill_table_.HandlePurge(fill.key)) {
      SendTo(part, FillPurged{Raw(id)});
    }
    if (store_.Evict(store_.store().Hash(fill.key))) ++purged;
  }
  std::vector<KeyHash> hashes;
  if (!prefix && !pattern.starts_with('/')) {
    if (FindKey(pattern)) hashes.push_back(store_.store().Hash(pattern));
  } else {
    store_.policy().VisitInEvictionOrder([&](const KeyHash& hash) {
      const auto record = store_.store().Read(hash);
      if (record && Matches(record->key(), pattern, prefix)) hashes.push_back(hash);
    });
  }
  for (const KeyHash& hash : hashes) {
    const IndexEntry entry = *store_.store().index().Find(hash);
    const bool pinned = pinned_.contains(std::string(store_.store().Read(hash)->key()));
    if (soft && pinned) continue;  // there is no origin to ask
    ++purged;
    if (soft && (entry.flags & IndexEntry::kNegative) == 0) {
      store_.store().Update(hash, MadeStale({.flags = entry.flags,
                                             .fresh_until_ns = entry.fresh_until_ns,
                                             .stale_until_ns = entry.stale_until_ns,
                                             .age_zero_ns = entry.age_zero_ns},
                                            now_ns()));
    } else {
      store_.Evict(hash);
    }
  }
  return purged;
}

void Cache::Handle(PeerLink& link, Status& message) {
  UpdateGauges();
  Report report{.request = message.request,
                .objects = Shown(counters_.objects),
                .bytes = Shown(counters_.bytes),
                .memory = Shown(options_.memory_bytes),
                .retired_bytes = Shown(counters_.retired_bytes),
                .hits = Shown(counters_.hits.Get()),
                .misses = Shown(counters_.misses.Get()),
                .coalesced = Shown(counters_.coalesced.Get()),
                .stale = Shown(counters_.stale.Get()),
                .passed = Shown(counters_.passed.Get()),
                .evicted = Shown(counters_.evicted),
                .bytes_saved = Shown(counters_.bytes_saved.Get())};
  for (auto it = links_.upper_bound(message.after_link); it != links_.end(); ++it) {
    const PeerLink& other = *it->second;
    if (!other.greeting || other.greeting->control) continue;
    if (report.links.size() == kLinksMax) {
      report.more = true;
      break;
    }
    const auto led = std::ranges::count_if(
        fills_, [&](const auto& fill) { return fill.second.leader == other.id(); });
    report.links.push_back(
        {.link = other.id(),
         .pid = static_cast<std::uint32_t>(other.peer().pid),
         .uid = other.peer().uid,
         .name = other.greeting->name,
         .retired_bytes = Shown(store_.store().holdings().RetiredBytesOf(other.id())),
         .fills_led = static_cast<std::uint32_t>(led)});
  }
  link.channel().Send(report);
}

// What the fill table lists.

void Cache::Do(const fill_action::Found& /*action*/) {
  CHECK(false, "answered where it was asked");
}

void Cache::Do(const fill_action::Pass& action) {
  counters_.misses.Add();
  counters_.passed.Add();
  SendTo(action.link, Passed{.request = Raw(action.request)});
}

void Cache::Do(const fill_action::Lead& action) {
  counters_.misses.Add();
  Fill& fill = fills_[action.fill];
  fill.leader = Raw(action.link);
  fill.term = Raw(action.term);
  std::optional<Place> stale = PlaceOf(fill.key);
  if (stale && (stale->flags & IndexEntry::kNegative) != 0) stale.reset();
  SendTo(action.link, Lead{.request = Raw(action.request),
                           .fill = Raw(action.fill),
                           .term = Raw(action.term),
                           .stale = stale});
}

void Cache::Do(const fill_action::Follow& action) {
  counters_.misses.Add();
  counters_.coalesced.Add();
  SendTo(action.link, Follow{.request = Raw(action.request),
                             .fill = Raw(action.fill),
                             .term = fills_.at(action.fill).term});
}

void Cache::Do(const fill_action::Begun& action) {
  if (Find(action.link) == nullptr) return;
  const auto fill = fills_.find(action.fill);
  if (fill == fills_.end()) return;
  const std::uint64_t memfd = *fill->second.memfd;
  const auto live = store_.store().Find(memfd);
  CHECK(live, "a fill under way is not retired");
  store_.store().holdings().Hold(Raw(action.link), memfd);
  SendTo(action.link, Begun{.fill = Raw(action.fill), .memfd = memfd}, live->fd);
}

void Cache::Do(const fill_action::Progress& action) {
  SendTo(action.link, Progress{.fill = Raw(action.fill)});
}

void Cache::Do(const fill_action::Promoted& action) {
  counters_.promoted.Add();
  if (const auto fill = fills_.find(action.fill); fill != fills_.end()) {
    fill->second.leader = Raw(action.link);
    fill->second.term = Raw(action.term);
  }
  SendTo(action.link,
         Promote{.fill = Raw(action.fill), .term = Raw(action.term), .offset = action.filled});
}

void Cache::Do(const fill_action::Demoted& action) {
  const auto fill = fills_.find(action.fill);
  if (fill == fills_.end()) return;
  SendTo(action.link, Follow{.fill = Raw(action.fill), .term = fill->second.term});
}

void Cache::Do(const fill_action::CloseFill& action) {
  const auto it = fills_.find(action.fill);
  CHECK(it != fills_.end());
  const Fill fill = std::move(it->second);
  fills_.erase(it);
  const KeyHash hash = store_.store().Hash(fill.key);
  Closed closed{.outcome = Outcome::kBroken, .place = std::nullopt};
  switch (action.end) {
    case FillEnd::kComplete: {
      closed.outcome = Outcome::kComplete;
      const ObjectTimes times = fill.stale_at_once ? MadeStale(fill.times, now_ns()) : fill.times;
      if (!action.publish) {
        store_.AbandonFill(*fill.memfd, hash);
      } else if (store_.PublishFill(*fill.memfd, hash, times)) {
        closed.place = PlaceOf(fill.key);
      }
      break;
    }
    case FillEnd::kNegative:
      closed.outcome = Outcome::kNegative;
      if (!action.publish) break;
      if (fill.stale_at_once || fill.times.fresh_until_ns <= now_ns()) {
        store_.Evict(hash);
      } else if (store_.Insert({.hash = hash, .key = fill.key, .fields = fill.negative_fields},
                               fill.times)) {
        closed.place = PlaceOf(fill.key);
      }
      break;
    case FillEnd::kFound:
      closed.outcome = fill.found;
      closed.place = PlaceOf(fill.key);
      break;
    case FillEnd::kPass:
      closed.outcome = Outcome::kPass;
      [[fallthrough]];
    case FillEnd::kBroken:
      if (fill.memfd) store_.AbandonFill(*fill.memfd, hash);
      break;
  }
  closed_[action.fill] = closed;
}

void Cache::Do(const fill_action::Ended& action) {
  const auto closed = closed_.find(action.fill);
  CHECK(closed != closed_.end());
  SendTo(action.link, Ended{.fill = Raw(action.fill),
                            .outcome = closed->second.outcome,
                            .place = closed->second.place});
}

void Cache::Do(const fill_action::EndLink& action) {
  counters_.malformed.Add();
  if (PeerLink* const link = Find(action.link)) EndLink(*link, action.reason);
}

// Pinned objects.

bool Cache::Pin(std::string_view path, std::string_view fields, std::span<const std::byte> body) {
  const bool kept = store_.Insert(
      {.hash = store_.store().Hash(path), .key = path, .fields = fields, .body = body},
      {.fresh_until_ns = kForever, .stale_until_ns = kForever, .age_zero_ns = now_ns()},
      /*pinned=*/true);
  if (kept) {
    pinned_.emplace(path);
  } else {
    pinned_.erase(std::string(path));
  }
  Finish();
  return kept;
}

void Cache::KeepPinned(const std::set<std::string>& paths) {
  for (auto it = pinned_.begin(); it != pinned_.end();) {
    if (paths.contains(*it)) {
      ++it;
      continue;
    }
    store_.Evict(store_.store().Hash(*it));
    it = pinned_.erase(it);
  }
  Finish();
}

}  // namespace ds::ipc_proxy_cache
