#include "ipc_proxy_cache/proxy/cache_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "ipc_proxy_cache/proxy/copied_body.h"
#include "ipc_proxy_cache/proxy/origin_answer.h"

namespace ds::ipc_proxy_cache {
namespace {

using getfile::AnswerStatus;

constexpr Duration kAliveInterval = std::chrono::milliseconds(250);
/// Segments that wait at the cache; each is a message, of which the link's queue holds 256.
constexpr std::size_t kHandedOverMax = 128;

}  // namespace

CacheClient::CacheClient(net::EventLoop* loop, const OriginAccess* access,
                         ProxyLink::Options options, SharedSegments* segments, bool by_copies)
    : loop_(loop),
      access_(access),
      by_copies_(by_copies),
      desk_(segments, loop),
      link_(loop, std::move(options), &desk_, access->counters, this),
      copies_(&link_, &desk_) {}

CacheClient::~CacheClient() {
  loop_->Cancel(this);
  if (!ended_.empty()) loop_->CancelDefer(this);
  known_.Clear();
  fetches_.clear();
  set_aside_.clear();
  ended_.clear();
}

std::int64_t CacheClient::NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

const std::string& CacheClient::NameOf(const getfile::Request& request) {
  if (request.query.empty()) return request.path;
  name_.assign(request.path).append(1, '\0').append(request.query);
  return name_;
}

/// What cannot be asked for anew is used as long as the origin does not forbid it (RFC 9111 section
/// 4.2.4, "disconnected").
Usable CacheClient::UsableNow(const IndexEntry& entry) const {
  const std::int64_t now = NowNs();
  if (now < entry.fresh_until_ns) return Usable::kFresh;
  const bool allowed = !ask_origin() && (entry.flags & IndexEntry::kMustRevalidate) == 0;
  return now < entry.stale_until_ns || allowed ? Usable::kStale : Usable::kNo;
}

std::optional<getfile::LookupResult> CacheClient::LookupAgain(const getfile::Request& request) {
  link_.Turn();
  const std::string& name = NameOf(request);
  const Known* const had = known_.Find(name);
  if (had == nullptr) return std::nullopt;
  const auto entry = link_.view()->Find(had->hash);
  if (!entry || entry->memfd != had->entry.memfd ||
      entry->record_offset != had->entry.record_offset) {
    known_.Forget(name);
    return std::nullopt;
  }
  if (NowNs() >= entry->fresh_until_ns) return std::nullopt;
  return AnswerWith(*had->answered, Served::kHit, entry->age_zero_ns);
}

CacheClient::Answer CacheClient::Lookup(const getfile::Request& request, const std::string& key,
                                        getfile::LookupSink* sink) {
  link_.Turn();
  return LookupKey(request, key, sink);
}

CacheClient::Answer CacheClient::LookupKey(const getfile::Request& request, const std::string& key,
                                           getfile::LookupSink* sink) {
  auto looked = link_.view()->Lookup(key);
  const bool pinned = key == request.path;
  std::shared_ptr<const CachedObject> stale;
  if (const auto* hit = std::get_if<ReaderView::Hit>(&looked)) {
    const Usable usable = UsableNow(hit->entry);
    if (usable != Usable::kNo) {
      if (const auto answered = Prepare(hit->object, nullptr)) {
        if (usable == Usable::kFresh) {
          known_.Keep(NameOf(request), {hit->object->hash(), hit->entry, answered},
                      sizeof(Known) + sizeof(Answered) + hit->object->fields().size());
          answered_ = answered;
          return AnswerWith(*answered, Served::kHit, hit->entry.age_zero_ns);
        }
        // Nobody waits for this one; the next client gets the new version.
        if (!pinned) Revalidate(key, hit->object);
        answered_ = answered;
        return AnswerWith(*answered, Served::kStale, hit->entry.age_zero_ns);
      }
    }
    stale = hit->object;
  }
  if (const auto known = fetches_.find(key); known != fetches_.end()) {
    return known->second->Join(request.head, sink);
  }
  // What is pinned is there for all origins, under its path alone.
  if (std::holds_alternative<ReaderView::Miss>(looked) && !pinned &&
      !std::holds_alternative<ReaderView::Miss>(link_.view()->Lookup(request.path))) {
    return LookupKey(request, request.path, sink);
  }
  if (const auto* needed = std::get_if<ReaderView::NeedsMemfd>(&looked)) {
    KeyFetch* const fetch = FetchOf(key);
    auto joined = fetch->Join(request.head, sink);
    fetch->AwaitMemfd(needed->memfd, needed->record_offset);
    return joined;
  }
  if (!ask_origin() || pinned) {
    return NotFound();
  }
  KeyFetch* const fetch = FetchOf(key);
  auto joined = fetch->Join(request.head, sink);
  fetch->AskCache(std::move(stale));
  return joined;
}

getfile::LookupResult CacheClient::NotFound() {
  access_->counters->served[static_cast<std::size_t>(Served::kMiss)].Add();
  return {{.status = AnswerStatus::kFileNotFound, .http_fields = "X-Cache: MISS\r\n"}, nullptr};
}

void CacheClient::Revalidate(const std::string& key,
                             const std::shared_ptr<const CachedObject>& object) {
  if (ask_origin() && up() && !fetches_.contains(key)) FetchOf(key)->AskCache(object);
}

KeyFetch* CacheClient::FetchOf(const std::string& key) {
  auto& fetch = fetches_[key];
  if (fetch == nullptr) fetch = std::make_unique<KeyFetch>(this, key);
  if (!armed()) loop_->Arm(this, loop_->now() + kAliveInterval);
  return fetch.get();
}

std::shared_ptr<CacheClient::Answered> CacheClient::Prepare(
    const std::shared_ptr<const CachedObject>& object, std::shared_ptr<ObjectGrowth> growth) {
  const auto stored = DecodeForeignFields(object->fields());
  if (!stored) return nullptr;
  auto answered = std::make_shared<Answered>();
  answered->object = object;
  if (stored->status != 200) {
    const bool not_found = getfile::NearestStatus(stored->status) == AnswerStatus::kFileNotFound;
    answered->code = not_found ? stored->status : 404;
    return answered;
  }
  answered->fields = ContentFieldsOf(*stored);
  if (!object->head_only()) {
    answered->body = std::make_shared<ObjectBody>(access_, object, std::move(growth));
  }
  return answered;
}

std::optional<getfile::LookupResult> CacheClient::AnswerFrom(
    const std::shared_ptr<const CachedObject>& object, Served served, std::int64_t age_zero_ns,
    std::shared_ptr<ObjectGrowth> growth) {
  const auto answered = Prepare(object, std::move(growth));
  if (answered == nullptr) return std::nullopt;
  answered_ = answered;
  auto result = AnswerWith(*answered, served, age_zero_ns);
  answered->body.reset();  // it counts as a reader
  return result;
}

/// What the result refers to is `answered`, and this object's until the next answer.
getfile::LookupResult CacheClient::AnswerWith(const Answered& answered, Served served,
                                              std::int64_t age_zero_ns) {
  access_->counters->served[static_cast<std::size_t>(served)].Add();
  if (served == Served::kHit || served == Served::kStale) {
    CountHit(*answered.object, served == Served::kStale);
  } else if (served == Served::kCoalesced) {
    hits_.bytes_saved += answered.object->body_bytes();
    if (!armed()) loop_->Arm(this, loop_->now() + kAliveInterval);
  }
  answer_fields_.assign("X-Cache: ");
  answer_fields_.append(kServedNames[static_cast<std::size_t>(served)]).append("\r\n");
  if (served != Served::kMiss) {
    const std::int64_t age_s = std::max<std::int64_t>(NowNs() - age_zero_ns, 0) / 1'000'000'000;
    const fmt::format_int age(age_s);
    answer_fields_.append("Age: ").append(age.data(), age.size()).append("\r\n");
  }
  if (answered.code != 200) {
    return {{.status = AnswerStatus::kFileNotFound,
             .http_code = answered.code,
             .http_fields = answer_fields_},
            nullptr};
  }
  return {{.status = AnswerStatus::kOk,
           .length = answered.object->body_bytes(),
           .fields = &answered.fields,
           .http_fields = answer_fields_},
          answered.body != nullptr
              ? answered.body
              : std::make_shared<CopiedBody>(access_, &copies_, answered.object)};
}

void CacheClient::CountHit(const CachedObject& object, bool stale) {
  ++(stale ? hits_.stale : hits_.hits);
  hits_.bytes_saved += object.body_bytes();
  hits_.hashes.push_back(object.hash());
  if (hits_.hashes.size() >= kHashesMax) return SendHits();
  if (!armed()) loop_->Arm(this, loop_->now() + kAliveInterval);
}

void CacheClient::SendHits() {
  if (hits_.hits + hits_.stale + hits_.passed + hits_.coalesced + hits_.bytes_saved == 0) return;
  Message message(std::move(hits_));
  link_.Send(message);
  hits_ = std::move(std::get<Hits>(message));  // its room is used again
  hits_.hits = hits_.stale = hits_.passed = hits_.coalesced = hits_.bytes_saved = 0;
  hits_.hashes.clear();
}

/// Says that the link lives, as long as it takes part in a fill, and what was hit meanwhile.
void CacheClient::OnTimer() {
  SendHits();
  std::vector<KeyFetch*> fetches;
  for (const auto& [fill, fetch] : by_fill_) fetches.push_back(fetch);
  for (KeyFetch* const fetch : fetches) fetch->LeaveIfAbandoned();
  if (Waits()) link_.Watch();
  if (!by_fill_.empty()) link_.Send(Alive{});
  if (Waits()) loop_->Arm(this, loop_->now() + kAliveInterval);
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
  if (const auto* copied = std::get_if<Copied>(&message)) {
    if (!copies_.HandleCopied(*copied)) link_.Break("a COPIED that nobody asked for");
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
  if (const auto* purged = std::get_if<FillPurged>(&message)) return SetAside(purged->fill);
  if (const auto* promote = std::get_if<Promote>(&message)) return to_fill(promote->fill);
  if (const auto* ended = std::get_if<Ended>(&message)) return to_fill(ended->fill);
  link_.Break("a message that nobody asked for");
}

void CacheClient::SetAside(std::uint64_t fill) {
  const auto part = by_fill_.find(fill);
  if (part == by_fill_.end()) return;
  const auto found = fetches_.find(part->second->key());
  if (found == fetches_.end() || found->second.get() != part->second) return;
  set_aside_.emplace(part->second, std::move(found->second));
  fetches_.erase(found);
}

void CacheClient::OnRetired() {
  known_.ForgetIf([&](const Known& known) { return !link_.view()->IsLive(known.entry.memfd); });
  answered_.reset();
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
  known_.Clear();
  copies_.HandleCacheGone();
  std::vector<KeyFetch*> fetches;
  for (const auto& [key, fetch] : fetches_) fetches.push_back(fetch.get());
  for (const auto& [fetch, owned] : set_aside_) fetches.push_back(fetch);
  for (KeyFetch* const fetch : fetches) fetch->OnCacheGone();
}

void CacheClient::Drop(KeyFetch* fetch) {
  stalled_.erase(fetch);
  std::erase_if(by_memfd_, [&](const auto& entry) { return entry.second == fetch; });
  std::erase_if(by_request_, [&](const auto& entry) { return entry.second == fetch; });
  if (ended_.empty()) loop_->Defer(this);
  if (const auto aside = set_aside_.find(fetch); aside != set_aside_.end()) {
    ended_.push_back(std::move(aside->second));
    set_aside_.erase(aside);
    return;
  }
  const auto found = fetches_.find(fetch->key());
  ended_.push_back(std::move(found->second));
  fetches_.erase(found);
}

void CacheClient::OnEvents(std::uint32_t /*events*/) { ended_.clear(); }

}  // namespace ds::ipc_proxy_cache
