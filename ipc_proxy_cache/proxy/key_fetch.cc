#include "ipc_proxy_cache/proxy/key_fetch.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "ipc_proxy_cache/proxy/cache_client.h"
#include "ipc_proxy_cache/proxy/origin_answer.h"

namespace ds::ipc_proxy_cache {
namespace {

using getfile::AnswerStatus;
using std::chrono::seconds;

constexpr int kAttemptsMax = 4;
constexpr std::uint64_t kStageBytes = 256U << 10U;
constexpr std::uint64_t kDiscardMax = 64U << 10U;
constexpr std::uint64_t kRecordBytesMax =
    sizeof(RecordHeader) + kKeyBytesMax + kStoredFieldsBytesMax + kRecordAlignment;
/// Stands for "the origin says nothing"; the cache knows its own --ttl. So far above what an origin
/// can say (2^31 s) that it stays there when Restrict() takes an age of a redirect off it.
constexpr seconds kUnsaid{std::int64_t{1} << 40U};
constexpr seconds kSaidMax{std::int64_t{1} << 31U};
constexpr std::int64_t kSecond_ns = 1'000'000'000;

CachePolicyOptions PolicyOptions() {
  return {.ttl = kUnsaid, .negative_ttl = kUnsaid, .stale_if_error = seconds(0)};
}

Freshness FreshnessOf(const CacheDecision& decision, std::int64_t now_ns) {
  // An answer older than this machine's clock is as old as that, with a shorter life.
  const std::int64_t age_ns = decision.age.count() * kSecond_ns;
  const std::int64_t before_zero_ns = std::max<std::int64_t>(age_ns - now_ns, 0);
  Freshness freshness;
  freshness.age_zero_ns = std::max<std::int64_t>(now_ns - age_ns, 0);
  if (decision.storing != Storing::kStore) {
    freshness.lifetime_ns = 0;
  } else if (decision.lifetime <= kSaidMax) {
    freshness.lifetime_ns =
        std::max<std::int64_t>(decision.lifetime.count() * kSecond_ns - before_zero_ns, 0);
  }
  freshness.stale_ns = decision.stale_while_revalidate.count() * kSecond_ns;
  freshness.must_revalidate = decision.must_revalidate;
  return freshness;
}

/// What the redirects on the way to an answer leave of a decision on it.
CacheDecision Restricted(CacheDecision decision, const OriginHead& head,
                         const OriginAnswer& answer) {
  for (const AnswerHead& redirect : head.redirects) {
    const std::vector<HttpField> fields = FieldsOf(redirect.fields);
    OriginAnswer one = answer;
    one.status = redirect.code;
    one.fields = fields;
    decision = Restrict(decision, DecideCaching(one, PolicyOptions()));
  }
  return decision;
}

}  // namespace

/// A client that waits. Once it is told, or fetches for itself, the KeyFetch knows it no more.
class KeyFetch::Client final : public getfile::PendingLookup {
 public:
  Client(KeyFetch* owner, bool is_head, getfile::LookupSink* its_sink)
      : fetch(owner), head(is_head), sink(its_sink) {
    fetch->clients_.push_back(this);
  }
  ~Client() override {
    if (fetch == nullptr) return;
    fetch->clients_.remove(this);
    fetch->Schedule();
  }

  KeyFetch* fetch;
  const bool head;
  getfile::LookupSink* const sink;
  std::unique_ptr<getfile::PendingLookup> own;  ///< its own fetch
};

KeyFetch::KeyFetch(CacheClient* owner, std::string key) : owner_(owner), key_(std::move(key)) {}

KeyFetch::~KeyFetch() {
  for (Client* const client : clients_) client->fetch = nullptr;
  owner_->desk().CancelWait(this);
  owner_->copies().Cancel(this);
  if (scheduled_) owner_->loop()->CancelDefer(this);
}

std::variant<getfile::LookupResult, std::unique_ptr<getfile::PendingLookup>> KeyFetch::Join(
    bool head, getfile::LookupSink* sink) {
  had_clients_ = true;
  if (growth_ != nullptr) {
    if (auto answer = owner_->AnswerFrom(object_, NextLabel(), CacheClient::NowNs(), growth_)) {
      return *std::move(answer);
    }
  }
  return std::make_unique<Client>(this, head, sink);
}

/// A pinned object's key is its path: no origin has it.
bool KeyFetch::MayAsk() const { return owner_->ask_origin() && !key_.starts_with('/'); }

void KeyFetch::AwaitMemfd(std::uint64_t memfd, std::uint64_t record_offset) {
  if (++attempts_ > kAttemptsMax) return PassOn();
  state_ = State::kAwaitingMemfd;
  if (!owner_->by_copies()) return owner_->AwaitMemfd(memfd, this);
  copied_memfd_ = memfd;
  copied_offset_ = record_offset;
  record_.clear();
  owner_->copies().Ask({.memfd = memfd, .record_offset = record_offset, .part = Part::kRecord},
                       this);
}

void KeyFetch::TakeCopied(std::uint64_t /*offset*/, std::span<const std::byte> bytes) {
  record_.insert(record_.end(), bytes.begin(), bytes.end());
  if (bytes.empty()) record_.clear();  // it ends before it should
}

void KeyFetch::OnCopied() {
  const std::uint64_t bytes = Record::BytesOf(record_);
  if (bytes == 0 || bytes > kRecordBytesMax) return OnCopyFailed();
  if (record_.size() < bytes) {
    return owner_->copies().Ask({.memfd = copied_memfd_,
                                 .record_offset = copied_offset_,
                                 .part = Part::kRecord,
                                 .offset = record_.size()},
                                this);
  }
  std::vector<std::uint64_t> aligned((record_.size() + 7) / 8);
  std::ranges::copy(record_, std::as_writable_bytes(std::span(aligned)).begin());
  auto object = owner_->link().view()->AddCopy(copied_memfd_, copied_offset_, std::move(aligned));
  if (!object.ok()) return OnCopyFailed();
  copied_ = *std::move(object);
  OnOpened(/*gone=*/false);
}

void KeyFetch::OnCopyFailed() {
  // Without a cache OnCacheGone() says so.
  if (owner_->up()) OnOpened(/*gone=*/true);
}

void KeyFetch::AskCache(std::shared_ptr<const CachedObject> stale) {
  if (++attempts_ > kAttemptsMax) return PassOn();
  state_ = State::kAsking;
  stale_ = std::move(stale);
  owner_->link().Send(Want{.request = owner_->NextRequest(this), .key = key_});
}

void KeyFetch::OnOpened(bool gone) {
  if (had_clients_ && clients_.empty()) return Finish();
  const auto place = std::exchange(place_, std::nullopt);
  if (!gone && place) return Resolve(*place);
  LookAgain();
}

void KeyFetch::LookAgain() {
  auto looked = owner_->link().view()->Lookup(key_);
  if (const auto* needed = std::get_if<ReaderView::NeedsMemfd>(&looked)) {
    return AwaitMemfd(needed->memfd, needed->record_offset);
  }
  const auto* hit = std::get_if<ReaderView::Hit>(&looked);
  if (hit != nullptr) {
    const Usable usable = owner_->UsableNow(hit->entry);
    if (usable != Usable::kNo) {
      if (usable == Usable::kStale) label_ = Served::kStale;
      const std::shared_ptr<const CachedObject> object = hit->object;
      CacheClient* const owner = owner_;
      const std::string key = key_;
      const bool ask = usable == Usable::kStale && MayAsk();
      Serve(object, hit->entry);
      if (ask) owner->Revalidate(key, object);
      return;
    }
  }
  if (!MayAsk()) {
    return TellAll({.status = AnswerStatus::kFileNotFound, .http_fields = "X-Cache: MISS\r\n"},
                   nullptr);
  }
  AskCache(hit != nullptr ? hit->object : nullptr);
}

void KeyFetch::OnAnswer(const Message& message) {
  if (const auto* found = std::get_if<Found>(&message)) {
    if (clients_.empty()) return Finish();
    return Resolve(found->place);
  }
  if (const auto* follow = std::get_if<ds::ipc_proxy_cache::Follow>(&message)) {
    Follow(follow->fill, follow->term);
    return LeaveIfAbandoned();
  }
  const auto* lead = std::get_if<Lead>(&message);
  if (lead == nullptr) {  // Passed, and counted by the cache
    passed_by_cache_ = true;
    return PassOn();
  }
  state_ = State::kLeading;
  fill_ = lead->fill;
  term_ = lead->term;
  label_ = Served::kMiss;
  owner_->AddFill(fill_, this);
  std::vector<std::string> conditions;
  if (lead->stale && stale_ != nullptr) {
    if (const auto stored = DecodeForeignFields(stale_->fields())) {
      for (const auto& field : ConditionalFields(*stored)) {
        conditions.push_back(fmt::format("{}: {}", field.name, field.value));
      }
    }
  }
  conditional_ = !conditions.empty();
  BeginFetch(std::move(conditions));
  LeaveIfAbandoned();
}

void KeyFetch::Follow(std::uint64_t fill, std::uint64_t term) {
  if (fill_ != fill) owner_->AddFill(fill, this);
  state_ = State::kFollowing;
  fill_ = fill;
  term_ = term;
  if (label_ != Served::kMiss) label_ = Served::kCoalesced;
  // What was fetched as a leader is of no use any more.
  fetching_ = Fetching::kNothing;
  fetch_.reset();
  stage_.clear();
  collected_.reset();
  owner_->desk().CancelWait(this);
}

void KeyFetch::BeginFetch(std::vector<std::string> fields) {
  fetching_ = Fetching::kHead;
  origin_done_ = paused_ = ended_ = false;
  stage_.clear();
  collected_.reset();
  discarded_ = 0;
  negative_code_ = 0;
  asked_unix_s_ = std::time(nullptr);
  owner_->access()->counters->origin_fetches.Add();
  fetch_ = owner_->access()->client->Begin(
      {.url = key_, .head = false, .fields = std::move(fields)}, this);
}

void KeyFetch::ContinueAt(std::uint64_t offset) {
  sent_ = offset;
  length_ = object_->body_bytes();
  continuation_ = Continuation::Of(object_->fields(), offset, length_);
  if (!continuation_) return SendEnd(Outcome::kBroken);
  BeginFetch(continuation_->RequestFields());
}

void KeyFetch::OnHead(const OriginHead& head) {
  const std::vector<HttpField> fields = FieldsOf(head.fields);
  const OriginAnswer answer{.status = head.code,
                            .fields = fields,
                            .requested_unix_s = asked_unix_s_,
                            .received_unix_s = std::time(nullptr)};
  if (continuation_) {
    const bool same = continuation_->IsAnsweredBy(head.code, fields);
    fetching_ = same ? Fetching::kStreaming : Fetching::kNothing;
    if (!same) SendEnd(Outcome::kBroken);
    return;
  }
  if (head.code == 200) return HandleContent(head, answer);
  if (head.code == 304 && conditional_) return HandleNotModified(head, answer);
  fetching_ = Fetching::kDiscarding;
  failure_code_ = 502;
  if (getfile::NearestStatus(head.code) == AnswerStatus::kFileNotFound) {
    HandleNegative(head, answer);
  }
}

void KeyFetch::HandleNegative(const OriginHead& head, const OriginAnswer& answer) {
  negative_code_ = answer.status;
  const CacheDecision decision = Restricted(DecideCaching(answer, PolicyOptions()), head, answer);
  freshness_ = FreshnessOf(decision, CacheClient::NowNs());
  fields_ =
      EncodeStoredFields(View(KeepFields(answer.status, answer.received_unix_s, answer.fields)))
          .value_or("");
  if (fields_.empty()) freshness_.lifetime_ns = 0;
}

void KeyFetch::HandleNotModified(const OriginHead& head, const OriginAnswer& answer) {
  const auto stored = DecodeStoredFields(stale_->fields());
  auto refreshed = stored ? Refresh(*stored, answer, PolicyOptions()) : std::nullopt;
  if (refreshed) refreshed->decision = Restricted(refreshed->decision, head, answer);
  if (!refreshed || refreshed->decision.storing == Storing::kPass) {
    conditional_ = false;
    return BeginFetch({});
  }
  std::string fields = EncodeStoredFields(View(refreshed->fields)).value_or("");
  if (fields == stale_->fields()) fields.clear();
  fetching_ = Fetching::kNothing;
  SendEnd(Outcome::kNotModified, FreshnessOf(refreshed->decision, CacheClient::NowNs()),
          std::move(fields));
}

void KeyFetch::HandleContent(const OriginHead& head, const OriginAnswer& answer) {
  const CacheDecision decision = Restricted(DecideCaching(answer, PolicyOptions()), head, answer);
  const auto length = LengthOf(answer.fields);
  const Welcome& welcome = owner_->link().welcome();
  // RFC 9112 section 9.8: without TLS's own goodbye such an answer may be cut, and libcurl does not
  // say whether there was one.
  const bool perhaps_cut = head.until_close && key_.starts_with("https:");
  if (decision.storing == Storing::kPass || perhaps_cut ||
      length.value_or(0) > welcome.object_max) {
    SendEnd(Outcome::kPass);
    return PassOn(&head);
  }
  freshness_ = FreshnessOf(decision, CacheClient::NowNs());
  fields_ =
      *EncodeStoredFields(View(KeepFields(answer.status, answer.received_unix_s, answer.fields)));
  const std::uint64_t insert_max =
      std::min<std::uint64_t>(welcome.small_max, owner_->desk().payload_bytes());
  if (!length || *length <= insert_max) {
    fetching_ = Fetching::kCollecting;
    collected_ = std::make_shared<CollectedBody>(
        length ? CollectionLimits{.memory_max = *length, .bytes_max = *length}
               : owner_->access()->collection);
    return;
  }
  fetching_ = Fetching::kStreaming;
  SendBegin(*length);
}

bool KeyFetch::OnBody(std::string_view bytes) {
  if (fetching_ == Fetching::kStreaming && stage_.size() >= kStageBytes) {
    paused_ = true;
    return false;
  }
  owner_->access()->counters->origin_bytes.Add(bytes.size());
  switch (fetching_) {
    case Fetching::kDiscarding:
      discarded_ += bytes.size();
      if (discarded_ > kDiscardMax) OnEnd(absl::OkStatus());
      break;
    case Fetching::kCollecting:
      if (!Collect(*owner_->access(), key_, bytes, collected_.get()).ok()) {
        BreakOff(502);
      } else if (collected_->size() > owner_->link().welcome().object_max) {
        SendEnd(Outcome::kPass);  // the others need not wait for what they will not share
      }
      break;
    case Fetching::kStreaming:
      stage_ += bytes;
      Schedule();
      break;
    case Fetching::kNothing:
    case Fetching::kHead:
      break;
  }
  return true;
}

void KeyFetch::OnEnd(absl::Status status) {
  fetch_.reset();
  switch (fetching_) {
    case Fetching::kDiscarding:
      fetching_ = Fetching::kNothing;
      if (negative_code_ == 0) return SendEnd(Outcome::kBroken);
      return SendEnd(Outcome::kNegative, freshness_, fields_);
    case Fetching::kNothing:
      return;
    case Fetching::kHead:
    case Fetching::kCollecting:
    case Fetching::kStreaming:
      break;
  }
  if (!status.ok()) {
    owner_->access()->counters->origin_failures.Add();
    return BreakOff(GatewayCode(status));
  }
  origin_done_ = true;
  if (state_ == State::kPassing) return ServeCollected();
  if (fetching_ == Fetching::kCollecting) return HandleCollected();
  Pump();
}

void KeyFetch::BreakOff(int http_code) {
  fetch_.reset();
  failure_code_ = http_code;
  fetching_ = Fetching::kNothing;
  if (state_ == State::kPassing) return ServeFailure();
  SendEnd(Outcome::kBroken);
}

/// All of it is here: now the length is known.
void KeyFetch::HandleCollected() {
  const Welcome& welcome = owner_->link().welcome();
  length_ = collected_->size();
  if (length_ > welcome.object_max) {
    SendEnd(Outcome::kPass);
    return;  // served from here at ENDED
  }
  if (length_ > std::min<std::uint64_t>(welcome.small_max, owner_->desk().payload_bytes())) {
    fetching_ = Fetching::kStreaming;
    return SendBegin(length_);
  }
  Pump();
}

void KeyFetch::SendBegin(std::uint64_t length) {
  length_ = length;
  sent_ = 0;
  owner_->link().Send(Begin{
      .fill = fill_, .term = term_, .length = length, .freshness = freshness_, .fields = fields_});
}

void KeyFetch::SendEnd(Outcome outcome, const Freshness& freshness, std::string fields) {
  if (ended_) return;
  ended_ = true;
  owner_->link().Send(End{.fill = fill_,
                          .term = term_,
                          .outcome = outcome,
                          .freshness = freshness,
                          .fields = std::move(fields)});
}

std::uint64_t KeyFetch::bytes_come() const {
  return collected_ != nullptr ? collected_->size() : sent_ + stage_.size();
}

std::optional<Segment> KeyFetch::FillSegment() {
  if (!owner_->MayHandOver(this)) return std::nullopt;
  SegmentDesk& desk = owner_->desk();
  desk.CancelWait(this);
  const auto lease = desk.Acquire(this);
  if (!lease) return std::nullopt;
  const std::uint64_t bytes = std::min<std::uint64_t>(desk.payload_bytes(), bytes_come() - sent_);
  const std::span<std::byte> payload = desk.memory().Payload(*lease);
  if (collected_ != nullptr) {
    const std::string piece = collected_->Read(sent_, bytes);
    std::ranges::copy(std::as_bytes(std::span(piece)), payload.begin());
  } else {
    std::ranges::copy(std::as_bytes(std::span(stage_).first(bytes)), payload.begin());
    stage_.erase(0, bytes);
  }
  return Segment{.index = lease->segment, .token = lease->token, .bytes = bytes};
}

/// Hands over what has come, as far as there are segments.
void KeyFetch::Pump() {
  if (state_ != State::kLeading || ended_) return;
  const auto handed_over = [&](const Segment& segment) {
    sent_ += segment.bytes;
    owner_->desk().HandOver({.segment = segment.index, .token = segment.token});
    owner_->NoteHandedOver();
  };
  if (fetching_ == Fetching::kCollecting && origin_done_) {
    std::optional<Segment> segment;
    sent_ = 0;
    if (length_ > 0 && !(segment = FillSegment())) return;
    ended_ = true;
    owner_->link().Send(Insert{.fill = fill_,
                               .term = term_,
                               .segment = segment,
                               .freshness = freshness_,
                               .fields = fields_});
    if (segment) handed_over(*segment);
    return;
  }
  if (fetching_ != Fetching::kStreaming || growth_ == nullptr) return;
  while (sent_ < bytes_come()) {
    const auto segment = FillSegment();
    if (!segment) break;
    owner_->link().Send(Data{.fill = fill_, .term = term_, .offset = sent_, .segment = *segment});
    handed_over(*segment);
  }
  if (paused_ && stage_.size() <= kStageBytes / 2) {
    paused_ = false;
    if (fetch_ != nullptr) fetch_->Resume();
  }
  if (origin_done_ && sent_ == bytes_come()) {
    SendEnd(sent_ == length_ ? Outcome::kComplete : Outcome::kBroken);
  }
}

void KeyFetch::OnTaken() {
  if (growth_ != nullptr) growth_->waiters.Wake(object_->Body().size());
  Pump();
}

void KeyFetch::OnFillMessage(const Message& message) {
  if (const auto* begun = std::get_if<Begun>(&message)) return HandleBegun(*begun);
  if (const auto* ended = std::get_if<Ended>(&message)) return HandleEnded(*ended);
  if (std::holds_alternative<Progress>(message)) return OnTaken();
  if (const auto* follow = std::get_if<ds::ipc_proxy_cache::Follow>(&message)) {
    return Follow(follow->fill, follow->term);
  }
  if (const auto* promote = std::get_if<Promote>(&message)) {
    state_ = State::kLeading;
    term_ = promote->term;
    ended_ = conditional_ = false;
    continuation_.reset();
    if (growth_ != nullptr) return ContinueAt(promote->offset);
    BeginFetch({});
  }
}

void KeyFetch::HandleBegun(const Begun& begun) {
  auto object = owner_->link().view()->ObjectAt(begun.memfd, 0, key_);
  if (!object.ok()) return owner_->link().Break("a BEGUN without its object");
  if (!DecodeForeignFields((*object)->fields())) {
    // They are the leader's, not the cache's.
    owner_->link().Send(Leave{fill_});
    return PassOn();
  }
  object_ = *std::move(object);
  growth_ = std::make_shared<ObjectGrowth>();
  while (!clients_.empty()) {
    Tell(clients_.front(),
         *owner_->AnswerFrom(object_, NextLabel(), CacheClient::NowNs(), growth_));
  }
  Pump();
}

void KeyFetch::HandleEnded(const Ended& ended) {
  if (ended.outcome == Outcome::kPass && fetching_ == Fetching::kCollecting && !origin_done_ &&
      !clients_.empty()) {
    owner_->SetAside(fill_);  // who comes from now on has no part in it
    owner_->RemoveFill(fill_);
    fill_ = 0;
    state_ = State::kPassing;
    ended_ = true;
    return;
  }
  owner_->RemoveFill(fill_);
  fill_ = 0;
  state_ = State::kNew;
  fetching_ = Fetching::kNothing;
  fetch_.reset();
  if (growth_ != nullptr) {
    growth_->End(ended.outcome == Outcome::kComplete ? ObjectGrowth::State::kWhole
                                                     : ObjectGrowth::State::kBroken);
    return Finish();
  }
  if (clients_.empty()) return Finish();
  switch (ended.outcome) {
    case Outcome::kBroken:
      return ServeFailure();
    case Outcome::kPass:
      if (origin_done_ && collected_ != nullptr) return ServeCollected();
      return PassOn();
    case Outcome::kNegative:
      if (ended.place) return Resolve(*ended.place);
      return TellAll({.status = AnswerStatus::kFileNotFound,
                      .http_code = negative_code_ != 0 ? negative_code_ : 404,
                      .http_fields = "X-Cache: MISS\r\n"},
                     nullptr);
    case Outcome::kComplete:
    case Outcome::kNotModified:
      if (ended.place) return Resolve(*ended.place);
      return LookAgain();
  }
}

void KeyFetch::Resolve(const Place& place) {
  auto object = owner_->link().view()->ObjectAt(place.memfd, place.record_offset, key_);
  if (object.ok()) {
    return Serve(*object, {.memfd = place.memfd,
                           .record_offset = place.record_offset,
                           .flags = place.flags,
                           .fresh_until_ns = place.fresh_until_ns,
                           .stale_until_ns = place.stale_until_ns,
                           .age_zero_ns = place.age_zero_ns});
  }
  if (object.status().code() != absl::StatusCode::kNotFound) return PassOn();
  place_ = place;
  AwaitMemfd(place.memfd, place.record_offset);
}

Served KeyFetch::NextLabel() {
  const bool first = !std::exchange(labelled_, true);
  // One request had it fetched; the others of this worker came along.
  const Served label = label_ == Served::kMiss && !first ? Served::kCoalesced : label_;
  // The cache knows of one request of each worker.
  if (label == Served::kCoalesced && !first) owner_->CountCoalesced();
  return label;
}

void KeyFetch::Serve(const std::shared_ptr<const CachedObject>& object, const IndexEntry& entry) {
  while (!clients_.empty()) {
    auto answer = owner_->AnswerFrom(object, NextLabel(), entry.age_zero_ns, nullptr);
    if (!answer) return PassOn();
    Tell(clients_.front(), *answer);
  }
  Finish();
}

bool KeyFetch::ServeStale() {
  auto looked = owner_->link().view()->Lookup(key_);
  const auto* hit = std::get_if<ReaderView::Hit>(&looked);
  const auto stored = hit == nullptr ? std::nullopt : DecodeForeignFields(hit->object->fields());
  if (!stored ||
      !MayServeOnError(*stored, (hit->entry.flags & IndexEntry::kMustRevalidate) != 0,
                       std::chrono::nanoseconds(CacheClient::NowNs() - hit->entry.fresh_until_ns),
                       PolicyOptions())) {
    return false;
  }
  label_ = Served::kStale;
  Serve(hit->object, hit->entry);
  return true;
}

void KeyFetch::ServeFailure() {
  if (ServeStale()) return;
  TellAll({.status = AnswerStatus::kError,
           .http_code = failure_code_,
           .http_fields = "X-Cache: MISS\r\n"},
          nullptr);
}

void KeyFetch::ServeCollected() {
  const auto stored = DecodeStoredFields(fields_);
  const getfile::ContentFields fields = ContentFieldsOf(*stored);
  label_ = Served::kPass;
  owner_->CountPassed(clients_.size());
  TellAll({.status = AnswerStatus::kOk,
           .length = collected_->size(),
           .fields = &fields,
           .http_fields = "X-Cache: PASS\r\n"},
          std::shared_ptr<CollectedBody>(collected_));
}

void KeyFetch::TellAll(getfile::LookupAnswer answer, const std::shared_ptr<getfile::Body>& body) {
  while (!clients_.empty()) {
    owner_->access()->counters->served[static_cast<std::size_t>(NextLabel())].Add();
    Tell(clients_.front(), {answer, body});
  }
  Finish();
}

void KeyFetch::PassOn(const OriginHead* head) {
  if (!MayAsk()) {
    return TellAll({.status = AnswerStatus::kFileNotFound, .http_fields = "X-Cache: MISS\r\n"},
                   nullptr);
  }
  auto fetch = std::move(fetch_);
  const auto clients = std::exchange(clients_, {});
  if (!passed_by_cache_) owner_->CountPassed(clients.size());
  Finish();
  for (Client* const client : clients) client->fetch = nullptr;
  // The first may be told at once, and be destroyed by that.
  for (auto client = clients.rbegin(); client != clients.rend(); ++client) {
    if (*client == clients.front() && head != nullptr && fetch != nullptr) {
      OriginBody::Adopt(owner_->access(), key_, std::move(fetch), *head, (*client)->sink,
                        &(*client)->own);
    } else {
      (*client)->own = OriginBody::Ask(owner_->access(), key_, (*client)->head, (*client)->sink);
    }
  }
}

/// Destroys the client.
void KeyFetch::Tell(Client* client, const getfile::LookupResult& result) {
  client->fetch = nullptr;
  clients_.remove(client);
  client->sink->OnLookup(result);
}

void KeyFetch::OnCacheGone() {
  fill_ = 0;
  if (growth_ == nullptr && origin_done_ && collected_ != nullptr) return ServeCollected();
  if (growth_ == nullptr) return PassOn();
  growth_->End(ObjectGrowth::State::kAlone);
  Finish();
}

void KeyFetch::Schedule() {
  if (scheduled_) return;
  scheduled_ = true;
  owner_->loop()->Defer(this);
}

void KeyFetch::OnEvents(std::uint32_t /*events*/) {
  scheduled_ = false;
  Pump();
  LeaveIfAbandoned();
}

void KeyFetch::LeaveIfAbandoned() {
  const bool somebody =
      !had_clients_ || !clients_.empty() || (growth_ != nullptr && growth_->readers > 0);
  if (!somebody && state_ == State::kPassing) return Finish();
  // The answer to a WANT is waited for: a link has one of a key at a time.
  if (somebody || fill_ == 0) return;
  // What is being stored is fetched to its end: others may follow it elsewhere, and some will come.
  if (state_ == State::kLeading && fetching_ == Fetching::kStreaming) return;
  owner_->link().Send(Leave{fill_});
  Finish();
}

void KeyFetch::Finish() {
  if (state_ == State::kOver) return;
  state_ = State::kOver;
  if (fill_ != 0) owner_->RemoveFill(fill_);
  fill_ = 0;
  fetch_.reset();
  owner_->desk().CancelWait(this);
  owner_->Drop(this);
}

}  // namespace ds::ipc_proxy_cache
