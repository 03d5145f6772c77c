#include "ipc_proxy_cache/proxy/cache_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace ds::ipc_proxy_cache {
namespace {

using getfile::AnswerStatus;

constexpr Duration kAliveInterval = std::chrono::milliseconds(250);
/// Segments that wait at the cache; each is a message, of which the link's queue holds 256.
constexpr std::size_t kHandedOverMax = 128;

}  // namespace

CacheClient::CacheClient(net::EventLoop* loop, const OriginAccess* access,
                         ProxyLink::Options options, SharedSegments* segments, bool ask_origin)
    : loop_(loop),
      access_(access),
      ask_origin_(ask_origin),
      desk_(segments, loop),
      link_(loop, std::move(options), &desk_, access->counters, this) {}

CacheClient::~CacheClient() {
  loop_->Cancel(this);
  if (!ended_.empty()) loop_->CancelDefer(this);
  fetches_.clear();
  ended_.clear();
}

std::int64_t CacheClient::NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

CacheClient::Answer CacheClient::Lookup(const std::string& key, const std::string& path, bool head,
                                        getfile::LookupSink* sink) {
  link_.Turn();
  auto looked = link_.view()->Lookup(key);
  std::shared_ptr<const CachedObject> stale;
  if (const auto* hit = std::get_if<ReaderView::Hit>(&looked)) {
    const std::int64_t now = NowNs();
    const bool fresh = now < hit->entry.fresh_until_ns;
    if (fresh || now < hit->entry.stale_until_ns) {
      if (auto answer = AnswerFrom(hit->object, fresh ? Served::kHit : Served::kStale,
                                   hit->entry.age_zero_ns, nullptr)) {
        // Nobody waits for this one; the next client gets the new version.
        if (!fresh && ask_origin_ && key != path && !fetches_.contains(key))
          FetchOf(key)->AskCache(hit->object);
        return *std::move(answer);
      }
    }
    stale = hit->object;
  }
  if (const auto known = fetches_.find(key); known != fetches_.end()) {
    return known->second->Join(head, sink);
  }
  // What is pinned is there for all origins, under its path alone.
  if (std::holds_alternative<ReaderView::Miss>(looked) && key != path &&
      !std::holds_alternative<ReaderView::Miss>(link_.view()->Lookup(path))) {
    return Lookup(path, path, head, sink);
  }
  if (const auto* needed = std::get_if<ReaderView::NeedsMemfd>(&looked)) {
    KeyFetch* const fetch = FetchOf(key);
    auto joined = fetch->Join(head, sink);
    fetch->AwaitMemfd(needed->memfd);
    return joined;
  }
  if (!ask_origin_ || key == path) {
    access_->counters->served[static_cast<std::size_t>(Served::kMiss)].Add();
    return getfile::LookupResult{
        {.status = AnswerStatus::kFileNotFound, .http_fields = "X-Cache: MISS\r\n"}, nullptr};
  }
  KeyFetch* const fetch = FetchOf(key);
  auto joined = fetch->Join(head, sink);
  fetch->AskCache(std::move(stale));
  return joined;
}

KeyFetch* CacheClient::FetchOf(const std::string& key) {
  auto& fetch = fetches_[key];
  if (fetch == nullptr) fetch = std::make_unique<KeyFetch>(this, key);
  return fetch.get();
}

std::optional<getfile::LookupResult> CacheClient::AnswerFrom(
    const std::shared_ptr<const CachedObject>& object, Served served, std::int64_t age_zero_ns,
    std::shared_ptr<ObjectGrowth> growth) {
  const auto stored = DecodeStoredFields(object->fields());
  if (!stored) return std::nullopt;
  access_->counters->served[static_cast<std::size_t>(served)].Add();
  if (served == Served::kHit || served == Served::kStale) {
    CountHit(*object, served == Served::kStale);
  }
  answer_fields_ = fmt::format("X-Cache: {}\r\n", kServedNames[static_cast<std::size_t>(served)]);
  if (served != Served::kMiss) {
    const std::int64_t age_s = std::max<std::int64_t>(NowNs() - age_zero_ns, 0) / 1'000'000'000;
    answer_fields_ += fmt::format("Age: {}\r\n", age_s);
  }
  if (stored->status != 200) {
    const int code = getfile::NearestStatus(stored->status) == AnswerStatus::kFileNotFound
                         ? stored->status
                         : 404;
    return getfile::LookupResult{
        {.status = AnswerStatus::kFileNotFound, .http_code = code, .http_fields = answer_fields_},
        nullptr};
  }
  auto body = std::make_shared<ObjectBody>(access_, object, *stored, std::move(growth));
  const getfile::ContentFields* const fields = &body->fields();
  return getfile::LookupResult{{.status = AnswerStatus::kOk,
                                .length = object->body_bytes(),
                                .fields = fields,
                                .http_fields = answer_fields_},
                               std::move(body)};
}

void CacheClient::CountHit(const CachedObject& object, bool stale) {
  ++(stale ? hits_.stale : hits_.hits);
  hits_.bytes_saved += object.body_bytes();
  hits_.hashes.push_back(object.hash());
  if (hits_.hashes.size() >= kHashesMax) return SendHits();
  if (!armed()) loop_->Arm(this, loop_->now() + kAliveInterval);
}

void CacheClient::SendHits() {
  if (hits_ != Hits{}) link_.Send(std::exchange(hits_, {}));
}

/// Says that the link lives, as long as it takes part in a fill, and what was hit meanwhile.
void CacheClient::OnTimer() {
  SendHits();
  std::vector<KeyFetch*> fetches;
  for (const auto& [fill, fetch] : by_fill_) fetches.push_back(fetch);
  for (KeyFetch* const fetch : fetches) fetch->LeaveIfAbandoned();
  if (by_fill_.empty()) return;
  link_.Send(Alive{});
  loop_->Arm(this, loop_->now() + kAliveInterval);
}

std::uint64_t CacheClient::NextRequest(KeyFetch* fetch) {
  by_request_.emplace(++last_request_, fetch);
  return last_request_;
}

void CacheClient::AddFill(std::uint64_t fill, KeyFetch* fetch) {
  by_fill_[fill] = fetch;
  if (!armed()) loop_->Arm(this, loop_->now() + kAliveInterval);
}

void CacheClient::RemoveFill(std::uint64_t fill) { by_fill_.erase(fill); }

void CacheClient::AwaitMemfd(std::uint64_t memfd, KeyFetch* fetch) {
  const bool asked = by_memfd_.contains(memfd);
  by_memfd_.emplace(memfd, fetch);
  if (!asked) link_.Send(Open{memfd});
}

bool CacheClient::MayHandOver(KeyFetch* fetch) {
  if (handed_over_ < kHandedOverMax) return true;
  stalled_.insert(fetch);
  return false;
}

void CacheClient::OnCacheMessage(const Message& message) {
  const auto to_fill = [&](std::uint64_t fill) {
    if (const auto found = by_fill_.find(fill); found != by_fill_.end()) {
      found->second->OnFillMessage(message);
    }
  };
  const auto to_request = [&](std::uint64_t request) {
    const auto found = by_request_.find(request);
    if (found == by_request_.end()) return;
    KeyFetch* const fetch = found->second;
    by_request_.erase(found);
    fetch->OnAnswer(message);
  };
  if (const auto* taken = std::get_if<Taken>(&message)) {
    if (!desk_.TakeBack({.segment = taken->segment, .token = taken->token})) {
      return link_.Break("TAKEN of a segment that it does not have");
    }
    if (handed_over_ > 0) --handed_over_;
    for (KeyFetch* const fetch : std::exchange(stalled_, {})) fetch->OnTaken();
    std::vector<KeyFetch*> fetches;
    for (const auto& [fill, fetch] : by_fill_) fetches.push_back(fetch);
    for (KeyFetch* const fetch : fetches) fetch->OnTaken();
    return;
  }
  if (const auto* found = std::get_if<Found>(&message)) return to_request(found->request);
  if (const auto* lead = std::get_if<Lead>(&message)) return to_request(lead->request);
  if (const auto* passed = std::get_if<Passed>(&message)) return to_request(passed->request);
  if (const auto* follow = std::get_if<Follow>(&message)) {
    return follow->request == 0 ? to_fill(follow->fill) : to_request(follow->request);
  }
  if (const auto* begun = std::get_if<Begun>(&message)) return to_fill(begun->fill);
  if (const auto* progress = std::get_if<Progress>(&message)) {
    to_fill(progress->fill);
    return link_.Send(Read{progress->fill});
  }
  if (const auto* promote = std::get_if<Promote>(&message)) return to_fill(promote->fill);
  if (const auto* ended = std::get_if<Ended>(&message)) return to_fill(ended->fill);
  link_.Break("a message that nobody asked for");
}

void CacheClient::OnOpened(std::uint64_t memfd, bool gone) {
  std::vector<KeyFetch*> fetches;
  const auto [first, last] = by_memfd_.equal_range(memfd);
  for (auto it = first; it != last; ++it) fetches.push_back(it->second);
  by_memfd_.erase(first, last);
  for (KeyFetch* const fetch : fetches) fetch->OnOpened(gone);
}

void CacheClient::OnCacheGone() {
  by_request_.clear();
  by_fill_.clear();
  by_memfd_.clear();
  stalled_.clear();
  handed_over_ = 0;
  hits_ = {};
  std::vector<KeyFetch*> fetches;
  for (const auto& [key, fetch] : fetches_) fetches.push_back(fetch.get());
  for (KeyFetch* const fetch : fetches) fetch->OnCacheGone();
}

void CacheClient::Drop(KeyFetch* fetch) {
  stalled_.erase(fetch);
  std::erase_if(by_memfd_, [&](const auto& entry) { return entry.second == fetch; });
  std::erase_if(by_request_, [&](const auto& entry) { return entry.second == fetch; });
  const auto found = fetches_.find(fetch->key());
  if (ended_.empty()) loop_->Defer(this);
  ended_.push_back(std::move(found->second));
  fetches_.erase(found);
}

void CacheClient::OnEvents(std::uint32_t /*events*/) { ended_.clear(); }

}  // namespace ds::ipc_proxy_cache
