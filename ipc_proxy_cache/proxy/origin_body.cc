#include "ipc_proxy_cache/proxy/origin_body.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <ctime>

#include "getfile/core/http_text.h"
#include "getfile/front/send.h"
#include "ipc_proxy_cache/proxy/origin_answer.h"

namespace ds::ipc_proxy_cache {
namespace {

using getfile::AnswerStatus;

constexpr std::uint64_t kWindowBytes = 256U << 10U;
/// Of an error's page: beyond it a new connection is cheaper.
constexpr std::uint64_t kDiscardMax = 64U << 10U;

}  // namespace

int GatewayCode(const absl::Status& status) {
  return status.code() == absl::StatusCode::kDeadlineExceeded ? 504 : 502;
}

absl::Status Collect(const OriginAccess& access, std::string_view url, std::string_view bytes,
                     CollectedBody* collected) {
  absl::Status status = collected->Append(bytes);
  if (!status.ok()) {
    access.counters->unknown_length_failures.Add();
    spdlog::error("collect \"{}\": {}", url, Message(status));
  }
  return status;
}

/// Once told, the body is the connection's.
class OriginBody::Pending final : public getfile::PendingLookup {
 public:
  explicit Pending(std::shared_ptr<OriginBody> body) : body_(std::move(body)) {}
  ~Pending() override { body_->sink_ = nullptr; }

 private:
  const std::shared_ptr<OriginBody> body_;
};

std::unique_ptr<getfile::PendingLookup> OriginBody::Ask(const OriginAccess* access, std::string url,
                                                        bool head, getfile::LookupSink* sink) {
  std::shared_ptr<OriginBody> body(
      new OriginBody(access, {.url = std::move(url), .head = head, .fields = {}}, sink));
  body->Begin();
  return std::make_unique<Pending>(body);
}

void OriginBody::Adopt(const OriginAccess* access, std::string url,
                       std::unique_ptr<OriginFetch> fetch, const OriginHead& head,
                       getfile::LookupSink* sink,
                       std::unique_ptr<getfile::PendingLookup>* pending) {
  const std::shared_ptr<OriginBody> body(
      new OriginBody(access, {.url = std::move(url), .head = false, .fields = {}}, sink));
  body->fetch_ = std::move(fetch);
  body->fetch_->SetSink(body.get());
  *pending = std::make_unique<Pending>(body);
  body->OnHead(head);
}

std::shared_ptr<OriginBody> OriginBody::Continue(const OriginAccess* access,
                                                 const CachedObject& object, std::uint64_t first) {
  const bool pinned = object.key().starts_with('/');
  if (!access->allowed || pinned) return nullptr;
  auto continuation = Continuation::Of(object.fields(), first, object.body_bytes());
  if (!continuation) return nullptr;
  std::shared_ptr<OriginBody> body(new OriginBody(
      access,
      {.url = std::string(object.key()), .head = false, .fields = continuation->RequestFields()},
      nullptr));
  body->continuation_ = std::move(continuation);
  body->position_ = first;
  body->Begin();
  return body;
}

void OriginBody::Begin() {
  access_->counters->origin_fetches.Add();
  fetch_ = access_->client->Begin(request_, this);
}

void OriginBody::OnHead(const OriginHead& head) {
  const std::vector<HttpField> fields = FieldsOf(head.fields);
  if (continuation_) {
    if (!continuation_->IsAnsweredBy(head.code, fields)) return Break();
    state_ = State::kStreaming;
    return;
  }
  const std::optional<std::uint64_t> length = LengthOf(fields);
  if (request_.head && (head.code == 405 || head.code == 501 || (head.code == 200 && !length))) {
    // Only a GET tells.
    request_.head = false;
    return Begin();
  }
  code_ = head.code;
  answer_fields_ =
      fmt::format("X-Cache: {}\r\n", kServedNames[static_cast<std::size_t>(Served::kPass)]);
  if (code_ != 200) {
    state_ = State::kDiscarding;
    return;
  }
  fields_ = ContentFieldsOf(View(KeepFields(code_, std::time(nullptr), fields)));
  if (const auto age = FindField(fields, "age")) {
    if (getfile::IsFieldValue(*age)) answer_fields_ += fmt::format("Age: {}\r\n", *age);
  }
  if (!length) {
    state_ = State::kCollecting;
    collected_ = std::make_shared<CollectedBody>(access_->collection);
    return;
  }
  state_ = State::kStreaming;
  TellFound(*length, shared_from_this());
}

bool OriginBody::OnBody(std::string_view bytes) {
  switch (state_) {
    case State::kDiscarding:
      discarded_ += bytes.size();
      if (discarded_ > kDiscardMax) OnEnd(absl::OkStatus());
      return true;
    case State::kCollecting:
      access_->counters->origin_bytes.Add(bytes.size());
      if (!Collect(*access_, request_.url, bytes, collected_.get()).ok()) TellFailure(502);
      return true;
    case State::kStreaming:
      break;
    case State::kAsking:
    case State::kOver:
      return true;
  }
  if (buffered() >= kWindowBytes) {
    paused_ = true;
    return false;
  }
  access_->counters->origin_bytes.Add(bytes.size());
  if (position_ < wanted_) {  // the buffer is empty
    const std::uint64_t unwanted = std::min<std::uint64_t>(wanted_ - position_, bytes.size());
    position_ += unwanted;
    bytes.remove_prefix(unwanted);
  }
  buffer_ += bytes;
  waiters_.Wake(position_ + buffered());
  return true;
}

void OriginBody::OnEnd(absl::Status status) {
  const auto self = shared_from_this();
  const State state = std::exchange(state_, State::kOver);
  if (state == State::kDiscarding) {
    if (getfile::NearestStatus(code_) == AnswerStatus::kFileNotFound) {
      return Tell({.status = AnswerStatus::kFileNotFound, .http_code = code_}, nullptr);
    }
    return TellFailure(502);
  }
  if (!status.ok()) {
    access_->counters->origin_failures.Add();
    spdlog::debug("{}", Message(status));
  }
  if (state == State::kStreaming || continuation_) {
    return waiters_.Wake(UINT64_MAX);
  }
  if (!status.ok()) return TellFailure(GatewayCode(status));
  if (state != State::kCollecting) return;
  const std::uint64_t length = collected_->size();
  TellFound(length, std::move(collected_));
}

void OriginBody::Tell(getfile::LookupAnswer answer, std::shared_ptr<getfile::Body> body) {
  if (sink_ == nullptr) return;
  access_->counters->served[static_cast<std::size_t>(Served::kPass)].Add();
  answer.http_fields = answer_fields_;
  std::exchange(sink_, nullptr)->OnLookup({answer, std::move(body)});
}

void OriginBody::TellFailure(int http_code) {
  const auto self = shared_from_this();
  state_ = State::kOver;
  fetch_.reset();
  Tell({.status = AnswerStatus::kError, .http_code = http_code}, nullptr);
}

/// The head's fields are this object's, and last as long as the call.
void OriginBody::TellFound(std::uint64_t length, std::shared_ptr<getfile::Body> body) {
  const auto self = shared_from_this();
  Tell({.status = AnswerStatus::kOk, .length = length, .fields = &fields_}, std::move(body));
}

void OriginBody::Break() {
  state_ = State::kOver;
  fetch_.reset();
  waiters_.Wake(UINT64_MAX);
}

getfile::Body::Sent OriginBody::Send(int socket, std::string_view head, std::uint64_t offset,
                                     std::uint64_t bytes_max, bool hold) {
  AdvanceTo(offset);
  const std::string_view there =
      offset != position_ ? std::string_view()
                          : std::string_view(buffer_).substr(buffer_begin_).substr(0, bytes_max);
  Sent sent;
  if (!head.empty() || !there.empty()) {
    sent = getfile::SendFromMemory(socket, head, there, hold && there.size() == bytes_max);
    if (sent.bytes > head.size()) AdvanceTo(offset + sent.bytes - head.size());
  }
  if (sent.outcome == Outcome::kSent && there.size() < bytes_max) {
    sent.outcome = state_ == State::kOver ? Outcome::kSourceBroken : Outcome::kNotYet;
  }
  return sent;
}

void OriginBody::Wait(getfile::BodyWaiter* waiter, std::uint64_t offset) {
  waiters_.Add(waiter, offset);
}

/// What stands before `offset` is not needed (any more), whether it is there yet or not.
void OriginBody::AdvanceTo(std::uint64_t offset) {
  if (offset <= position_) return;
  wanted_ = std::max(wanted_, offset);
  const std::uint64_t there = std::min(offset - position_, buffered());
  buffer_begin_ += there;
  position_ += there;
  if (buffer_begin_ >= kWindowBytes / 2 || buffer_begin_ == buffer_.size()) {
    buffer_.erase(0, buffer_begin_);
    buffer_begin_ = 0;
  }
  if (paused_ && buffered() <= kWindowBytes / 2) {
    paused_ = false;
    if (fetch_ != nullptr) fetch_->Resume();
  }
}

}  // namespace ds::ipc_proxy_cache
