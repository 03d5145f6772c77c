#include "getfile/core/server_connection.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace ds::getfile {
namespace {

constexpr Duration kRefusedHeaderTimeout = std::chrono::seconds(1);
/// How long a peer's last acknowledgement may go unnoticed: what a time-out may come too late by.
constexpr Duration kCheckInterval = std::chrono::seconds(1);

int HttpCodeOf(AnswerStatus status) {
  switch (status) {
    case AnswerStatus::kOk:
      return 200;
    case AnswerStatus::kFileNotFound:
      return 404;
    case AnswerStatus::kInvalid:
      return 400;
    case AnswerStatus::kError:
      break;
  }
  return 500;
}

}  // namespace

AnswerStatus NearestStatus(int http_code) {
  if (http_code < 400) return AnswerStatus::kOk;
  if (http_code == 403 || http_code == 404 || http_code == 410) return AnswerStatus::kFileNotFound;
  return http_code < 500 ? AnswerStatus::kInvalid : AnswerStatus::kError;
}

ServerConnection::ServerConnection(const Options* options, TimePoint now, bool refuse)
    : options_(options),
      refuse_(refuse),
      deadline_(now + (refuse ? std::min(kRefusedHeaderTimeout, options->header_timeout)
                              : options->header_timeout)) {}

void ServerConnection::HandleBytes(std::string_view bytes, TimePoint now) {
  if (phase_ == Phase::kDraining) return;  // discarded
  CHECK(phase_ == Phase::kReading && pipelined_.empty());
  // The common case is one whole request per read: nothing is copied but its path.
  bytes.remove_prefix(parser_.Feed(bytes));
  pipelined_ = bytes;
  ReadRequest(now);
}

/// Acts on what the parser has made of the bytes so far.
void ServerConnection::ReadRequest(TimePoint now) {
  switch (parser_.state()) {
    case RequestParser::State::kIncomplete:
      return;
    case RequestParser::State::kInvalid:
      return Refuse(AnswerStatus::kInvalid, parser_.http_code(), now);
    case RequestParser::State::kComplete:
      request_ = parser_.TakeRequest();
      request_time_ = now;
      if (refuse_) {
        if (request_.protocol == Protocol::kHttp) {
          return BeginHttpAnswer(AnswerWithCode(request_, 503, http_context()), now);
        }
        return BeginAnswer(AnswerStatus::kError, 0, now);
      }
      phase_ = Phase::kLookup;
      deadline_.reset();
      return;
  }
}

/// Answers a request that could not be read to its end; the connection ends with it, since nobody
/// knows where the next one would begin.
void ServerConnection::Refuse(AnswerStatus status, int http_code, TimePoint now) {
  request_ = Request();  // with keep_alive false
  request_.protocol = parser_.protocol();
  request_.head = parser_.partial_request().head;
  request_time_ = now;
  if (request_.protocol == Protocol::kHttp) {
    return BeginHttpAnswer(AnswerWithCode(request_, http_code, http_context()), now);
  }
  BeginAnswer(status, 0, now);
}

void ServerConnection::HandleEndOfInput(std::uint64_t unacknowledged, TimePoint now) {
  if (phase_ == Phase::kDraining || !parser_.started()) {
    // A peer that ended its side may still be reading, or never read at all.
    if (unacknowledged == 0) return Close(End::kDone, false);
    if (phase_ != Phase::kDraining) BeginDraining(now);
    return CheckSoon(now);
  }
  CHECK(phase_ == Phase::kReading);
  Refuse(AnswerStatus::kInvalid, 400, now);
}

void ServerConnection::HandleLookup(const LookupAnswer& answer, TimePoint now) {
  CHECK(phase_ == Phase::kLookup && answer.status != AnswerStatus::kInvalid);
  CHECK(answer.http_code == 0 || NearestStatus(answer.http_code) == answer.status);
  const bool found = answer.status == AnswerStatus::kOk;
  if (request_.protocol == Protocol::kGetfile) {
    return BeginAnswer(answer.status, found ? answer.length : 0, now);
  }
  if (found) {
    CHECK(answer.fields != nullptr);
    return BeginHttpAnswer(AnswerWithContent(request_, *answer.fields, answer.length,
                                             http_context(answer.http_fields)),
                           now);
  }
  const int code = answer.is_folder        ? 301
                   : answer.http_code != 0 ? answer.http_code
                                           : HttpCodeOf(answer.status);
  BeginHttpAnswer(AnswerWithCode(request_, code, http_context(answer.http_fields)), now);
}

HttpContext ServerConnection::http_context(std::string_view fields) const {
  return {.date = options_->http_date != nullptr ? std::string_view(*options_->http_date)
                                                 : "Thu, 01 Jan 1970 00:00:00 GMT",
          .keep_alive = KeepsAlive(),
          .fields = fields};
}

void ServerConnection::BeginHttpAnswer(HttpAnswer answer, TimePoint now) {
  BeginAnswer(NearestStatus(answer.code), answer.body_length, now);
  http_code_ = answer.code;
  head_ = std::move(answer.head);
  body_first_ = answer.body_first;
}

void ServerConnection::BeginAnswer(AnswerStatus status, std::uint64_t length, TimePoint now) {
  phase_ = Phase::kSending;
  status_ = status;
  http_code_ = HttpCodeOf(status);
  last_answer_ = !KeepsAlive();
  head_ = FormatAnswer(options_->dialect, status, length);
  head_sent_ = 0;
  body_first_ = 0;
  body_length_ = length;
  body_sent_ = 0;
  body_was_late_ = false;
  NoteProgress(now);
}

/// The kernel took bytes: of a body that is there, as soon as the peer has made room for them.
void ServerConnection::NoteProgress(TimePoint now) {
  progress_time_ = now;
  CheckSoon(now);
}

/// The next look at what the peer acknowledges: not later than when it would be stuck.
void ServerConnection::CheckSoon(TimePoint now) {
  deadline_ = std::min(now + std::min(kCheckInterval, options_->progress_timeout / 4),
                       progress_time_ + options_->progress_timeout);
}

/// Compares with the last look. A slow reader may take a long time to free enough of the buffer for
/// the kernel to ask for more; it is stuck only when it acknowledges nothing of what is there.
bool ServerConnection::PeerIsStuck(std::uint64_t unacknowledged, TimePoint now) {
  const std::uint64_t acknowledged = sent_total_ - std::min(sent_total_, unacknowledged);
  const bool owes_nothing = phase_ == Phase::kAwaiting && unacknowledged == 0;
  if (acknowledged > acknowledged_ || owes_nothing) progress_time_ = now;
  acknowledged_ = std::max(acknowledged_, acknowledged);  // the end of the stream counts, too
  return now - progress_time_ >= options_->progress_timeout;
}

void ServerConnection::HandleSent(std::uint64_t bytes, TimePoint now) {
  CHECK(phase_ == Phase::kSending);
  if (bytes == 0) return;
  const std::uint64_t of_head = std::min<std::uint64_t>(bytes, head_.size() - head_sent_);
  head_sent_ += of_head;
  body_sent_ += bytes - of_head;
  sent_total_ += bytes;
  CHECK(body_sent_ <= body_length_, "sent more than there is");
  // A body that comes in drops finds room in the kernel for a long time, though the peer takes
  // none.
  if (!body_was_late_) NoteProgress(now);
  if (head_sent_ == head_.size() && body_sent_ == body_length_) EndAnswer(now);
}

void ServerConnection::EndAnswer(TimePoint now) {
  RecordFinished(now);
  if (!KeepsAlive()) return BeginDraining(now);
  phase_ = Phase::kReading;
  deadline_ = now + options_->header_timeout;
  if (pipelined_.empty()) return;
  pipelined_.erase(0, parser_.Feed(pipelined_));
  ReadRequest(now);
}

void ServerConnection::HandleBodyLate() {
  CHECK(phase_ == Phase::kSending && body_left() > 0);
  phase_ = Phase::kAwaiting;
  body_was_late_ = true;
}

void ServerConnection::HandleBodyGrown() {
  CHECK(phase_ == Phase::kAwaiting);
  phase_ = Phase::kSending;
}

void ServerConnection::HandleSourceBroken(TimePoint now) {
  CHECK(InAnswer());
  RecordFinished(now);
  // An ordinary close: what was sent so far arrives, and the client sees k of n.
  end_ = End::kSourceBroken;
  BeginDraining(now);
}

void ServerConnection::BeginDraining(TimePoint now) {
  phase_ = Phase::kDraining;
  pipelined_.clear();
  NoteProgress(now);
  deadline_ = now + options_->drain_time;
}

void ServerConnection::HandlePeerGone(TimePoint now) {
  if (InAnswer()) RecordFinished(now);
  Close(phase_ == Phase::kDraining ? End::kDone : End::kPeerGone, false);
}

void ServerConnection::HandleTimeout(std::uint64_t unacknowledged, TimePoint now) {
  switch (phase_) {
    case Phase::kReading:
      end_ = End::kHeaderTimeout;
      if (!parser_.started()) {
        // Between two answers: what the peer has not taken of the last one is still on its way.
        return unacknowledged == 0 ? Close(End::kHeaderTimeout, false) : BeginDraining(now);
      }
      return Refuse(AnswerStatus::kInvalid, 408, now);
    case Phase::kSending:
    case Phase::kAwaiting:
      if (!PeerIsStuck(unacknowledged, now)) return CheckSoon(now);
      RecordFinished(now);
      // A reset, not a close: the kernel would keep what the peer does not take for minutes.
      return Close(End::kProgressTimeout, true);
    case Phase::kDraining:
      if (unacknowledged == 0) return Close(End::kDone, false);
      if (PeerIsStuck(unacknowledged, now)) return Close(End::kProgressTimeout, true);
      return CheckSoon(now);
    case Phase::kLookup:
    case Phase::kClosed:
      return;
  }
}

void ServerConnection::BeginShutdown(TimePoint now) {
  shutting_down_ = true;
  if (phase_ != Phase::kReading) return;
  if (!parser_.started()) return Close(End::kDone, false);
  // Half a header is not work in flight, and its peer must not hold the end up.
  Refuse(AnswerStatus::kInvalid, 408, now);
}

void ServerConnection::RecordFinished(TimePoint now) {
  finished_ = FinishedAnswer{.protocol = request_.protocol,
                             .head = request_.head,
                             .path = std::move(request_.path),
                             .status = status_,
                             .http_code = http_code_,
                             .body_length = body_length_,
                             .body_sent = body_sent_,
                             .elapsed = now - request_time_};
}

std::optional<FinishedAnswer> ServerConnection::TakeFinished() {
  return std::exchange(finished_, std::nullopt);
}

void ServerConnection::Close(End end, bool reset) {
  phase_ = Phase::kClosed;
  if (end_ == End::kDone) end_ = end;
  reset_ = reset;
  deadline_.reset();
}

}  // namespace ds::getfile
