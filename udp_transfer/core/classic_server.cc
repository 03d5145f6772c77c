#include "udp_transfer/core/classic_server.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "udp_transfer/core/transfer_name.h"

namespace ds::udp_transfer {
namespace {

constexpr std::size_t kBufBytesMin = 10;
/// The first moment that is more than kSilenceMax after `since`.
TimePoint SilenceEnds(TimePoint since) { return since + ClassicServer::kSilenceMax + Duration(1); }

template <typename Reason, std::size_t size>
void Count(std::array<std::uint64_t, size>& counters, Reason reason) {
  ++counters[static_cast<std::size_t>(reason)];
}

}  // namespace

absl::Status ClassicServer::Options::Validate() const {
  if (buf_bytes < kBufBytesMin || buf_bytes > kClassicDatagramBytesMax) {
    return InvalidArgument("the size of classic datagrams must be 10 to 65507 bytes");
  }
  if (sessions_max == 0 || sessions_per_source_max == 0) {
    return InvalidArgument("at least one classic session must be allowed");
  }
  return absl::OkStatus();
}

ClassicServer::Effects ClassicServer::HandleDatagram(const PeerAddress& from,
                                                     std::span<const std::byte> datagram,
                                                     TimePoint now) {
  effects_.clear();
  DoWhatIsDue(now);
  const auto message = ParseClassic(datagram);
  const auto* start = message ? std::get_if<ClassicStart>(&*message) : nullptr;
  const auto* data = message ? std::get_if<ClassicData>(&*message) : nullptr;
  if (start != nullptr) {
    HandleStart(from, *start, datagram.size(), now);
  } else if (data != nullptr) {
    HandleData(from, *data, datagram.size(), now);
  } else {
    ++counters_.malformed;
  }
  return effects_;
}

void ClassicServer::HandleStart(const PeerAddress& from, const ClassicStart& start,
                                std::size_t datagram_bytes, TimePoint now) {
  const auto found = by_address_.find(from);
  if (found != by_address_.end()) {
    const auto session = found->second;
    if (start == ClassicStart{session->seqno0, session->name, session->total_bytes}) {
      ++counters_.duplicates;
      Touch(session, now);
      if (session->started()) Acknowledge(session->address, StartAck(*session));
      return;
    }
    // Another start is no sign of life of the session's own client.
    const bool busy =
        session->state == State::kStoring ||
        (session->state == State::kRunning && now - session->since < kReplaceableAfter);
    if (busy) {
      ++counters_.starts_ignored;
      return;
    }
  }
  if (shutting_down_) {
    ++counters_.starts_ignored;
    return;
  }
  std::optional<RefusalReason> refusal = ReasonToRefuse(start);
  if (!refusal) {
    if (found != by_address_.end()) Replace(found->second);
    refusal = LimitInTheWay(from, start.total_bytes);
  }
  if (refusal) {
    Count(counters_.refused, *refusal);
    effects_.emplace_back(Refused{from, *refusal, start.name, start.total_bytes});
    return;
  }
  Begin(from, start, datagram_bytes, now);
}

std::optional<ClassicServer::RefusalReason> ClassicServer::ReasonToRefuse(
    const ClassicStart& start) const {
  if (!CheckClassicName(start.name).ok()) return RefusalReason::kName;
  if (start.total_bytes > options_.session_bytes_max) return RefusalReason::kSessionBytes;
  return std::nullopt;
}

std::optional<ClassicServer::RefusalReason> ClassicServer::LimitInTheWay(
    const PeerAddress& from, std::uint64_t total_bytes) const {
  if (unfinished() >= options_.sessions_max) return RefusalReason::kSessions;
  if (total_bytes > options_.total_bytes_max - reserved_bytes_) return RefusalReason::kTotalBytes;
  if (from.IsLoopback()) return std::nullopt;
  const auto found = shares_.find(from.Source());
  const Share share = found != shares_.end() ? found->second : Share{};
  if (share.sessions >= options_.sessions_per_source_max) return RefusalReason::kSessionsOfSource;
  if (total_bytes > options_.source_bytes_max - share.bytes) return RefusalReason::kBytesOfSource;
  return std::nullopt;
}

void ClassicServer::Begin(const PeerAddress& from, const ClassicStart& start,
                          std::size_t datagram_bytes, TimePoint now) {
  ++counters_.started;
  Session session{.address = from,
                  .id = ClassicSession{++last_id_},
                  .state = State::kStoring,
                  .seqno0 = start.seqno0,
                  .next_seqno = start.seqno0,
                  .name = std::string(start.name),
                  .total_bytes = start.total_bytes,
                  .received_bytes = 0,
                  .buf_bytes = options_.buf_bytes,
                  .since = now};
  // The one case in which the ack would be larger than the start: seqno0 of nines, five digits of
  // buf_bytes, and nothing to spare in name and size.
  if (ClassicAckBytes(StartAck(session)) > datagram_bytes) session.buf_bytes = 9999;
  storing_.push_back(std::move(session));
  const auto it = std::prev(storing_.end());
  by_address_.emplace(from, it);
  DropReceipt(from);
  by_id_.emplace(it->id, it);
  reserved_bytes_ += it->total_bytes;
  Share& share = shares_[from.Source()];
  ++share.sessions;
  share.bytes += it->total_bytes;
  effects_.emplace_back(Create{it->id, from, it->name, it->total_bytes});
  if (it->complete()) effects_.emplace_back(Complete{it->id});
}

void ClassicServer::HandleData(const PeerAddress& from, const ClassicData& data,
                               std::size_t datagram_bytes, TimePoint now) {
  const auto found = by_address_.find(from);
  if (found == by_address_.end()) {
    ++counters_.without_session;
    return;
  }
  const auto session = found->second;
  Touch(session, now);
  const bool being_stored = session->state == State::kStoring && data.seqno == session->next_seqno;
  if (!session->started() || being_stored) {  // its ack comes when storage is done
    ++counters_.duplicates;
    return;
  }
  const std::uint64_t room = session->total_bytes - session->received_bytes;
  if (data.seqno != session->next_seqno || data.payload.size() > room ||
      datagram_bytes > session->buf_bytes) {
    ++(data.seqno < session->next_seqno ? counters_.duplicates : counters_.not_taken);
    // An old number with a short payload, as no client repeats it, may be shorter than the answer.
    const ClassicAck ack{session->next_seqno};
    if (ClassicAckBytes(ack) <= datagram_bytes) Acknowledge(session->address, ack);
    return;
  }
  if (data.payload.empty()) {  // nothing for storage; some clients send one for an empty file
    ++session->next_seqno;
    Acknowledge(session->address, LastAck(*session));
    return;
  }
  session->received_bytes += data.payload.size();
  counters_.bytes_taken += data.payload.size();
  effects_.emplace_back(Append{session->id, data.payload});
  if (session->complete()) effects_.emplace_back(Complete{session->id});
  Move(session, State::kStoring, now);
}

ClassicServer::Effects ClassicServer::Stored(ClassicSession id, TimePoint now) {
  effects_.clear();
  DoWhatIsDue(now);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return effects_;
  const auto session = found->second;
  CHECK(session->state == State::kStoring, "one Stored() for each turn of storage");
  ++session->next_seqno;
  if (session->complete()) {
    ++counters_.finished;
    ReleaseLimits(*session);
    Move(session, State::kFinished, now);
  } else {
    Move(session, State::kRunning, now);
  }
  Acknowledge(session->address, LastAck(*session));
  if (finished_.size() > options_.sessions_max) {
    KeepReceipt(finished_.front());
    Remove(finished_.begin());
  }
  return effects_;
}

ClassicServer::Effects ClassicServer::StorageFailed(ClassicSession id, TimePoint now) {
  effects_.clear();
  DoWhatIsDue(now);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return effects_;
  CHECK(found->second->state == State::kStoring);
  DropUnfinished(found->second, DiscardReason::kStorageFailed);
  return effects_;
}

ClassicServer::HelloAnswer ClassicServer::HandleHello(const PeerAddress& from, TimePoint now) {
  effects_.clear();
  DoWhatIsDue(now);
  const auto found = by_address_.find(from);
  if (found == by_address_.end()) {
    const auto receipt = receipt_of_.find(from);
    if (receipt == receipt_of_.end()) return {true, effects_};
    Acknowledge(from, receipt->second->last_ack);
    return {false, effects_};
  }
  if (!found->second->complete()) return {true, effects_};
  // Being put in its place, it is acknowledged as soon as it is there.
  if (found->second->state == State::kFinished) {
    Acknowledge(from, LastAck(*found->second));
  }
  return {false, effects_};
}

ClassicServer::Effects ClassicServer::DropSession(const PeerAddress& from, TimePoint now) {
  effects_.clear();
  DoWhatIsDue(now);
  const auto found = by_address_.find(from);
  if (found != by_address_.end() && !found->second->complete()) {
    DropUnfinished(found->second, DiscardReason::kFast);
  }
  return effects_;
}

ClassicServer::Effects ClassicServer::DiscardAll() {
  effects_.clear();
  for (Sessions* sessions : {&running_, &storing_}) {
    while (!sessions->empty()) DropUnfinished(sessions->begin(), DiscardReason::kShutdown);
  }
  return effects_;
}

std::optional<TimePoint> ClassicServer::NextDeadline() const {
  std::optional<TimePoint> next;
  if (!running_.empty()) next = SilenceEnds(running_.front().since);
  if (!finished_.empty()) {
    const TimePoint forgotten = finished_.front().since + kHoldTime;
    next = next ? std::min(*next, forgotten) : forgotten;
  }
  return next;
}

ClassicServer::Effects ClassicServer::HandleTimeout(TimePoint now) {
  effects_.clear();
  DoWhatIsDue(now);
  return effects_;
}

void ClassicServer::DoWhatIsDue(TimePoint now) {
  while (!running_.empty() && SilenceEnds(running_.front().since) <= now) {
    DropUnfinished(running_.begin(), DiscardReason::kSilent);
  }
  while (!finished_.empty() && finished_.front().since + kHoldTime <= now) {
    KeepReceipt(finished_.front());
    Remove(finished_.begin());
  }
  while (!receipts_.empty() && receipts_.front().until <= now) {
    DropReceipt(receipts_.front().address);
  }
}

/// Not of an empty file: its ack is the one of a start, and might be taken for that by another
/// client that has got the address.
void ClassicServer::KeepReceipt(const Session& session) {
  if (session.total_bytes == 0) return;
  receipts_.push_back({session.address, session.since + kReceiptTime, LastAck(session)});
  receipt_of_[session.address] = std::prev(receipts_.end());
  if (receipts_.size() > kReceiptsMax) DropReceipt(receipts_.front().address);
}

void ClassicServer::DropReceipt(const PeerAddress& address) {
  const auto found = receipt_of_.find(address);
  if (found == receipt_of_.end()) return;
  receipts_.erase(found->second);
  receipt_of_.erase(found);
}

ClassicServer::Sessions& ClassicServer::list(State state) {
  switch (state) {
    case State::kRunning:
      return running_;
    case State::kStoring:
      return storing_;
    case State::kFinished:
      break;
  }
  return finished_;
}

/// To the end of the list of `state`; its iterator stays valid.
void ClassicServer::Move(Sessions::iterator session, State state, TimePoint now) {
  Sessions& to = list(state);
  to.splice(to.end(), list(session->state), session);
  session->state = state;
  session->since = now;
}

/// Its client was heard.
void ClassicServer::Touch(Sessions::iterator session, TimePoint now) {
  if (session->state == State::kRunning) Move(session, State::kRunning, now);
}

void ClassicServer::Replace(Sessions::iterator session) {
  if (session->state == State::kFinished) return Remove(session);
  DropUnfinished(session, DiscardReason::kReplaced);
}

void ClassicServer::DropUnfinished(Sessions::iterator session, DiscardReason reason) {
  Count(counters_.discarded, reason);
  effects_.emplace_back(Discard{session->id, reason});
  ReleaseLimits(*session);
  Remove(session);
}

void ClassicServer::ReleaseLimits(const Session& session) {
  reserved_bytes_ -= session.total_bytes;
  const auto share = shares_.find(session.address.Source());
  share->second.bytes -= session.total_bytes;
  if (--share->second.sessions == 0) shares_.erase(share);
}

void ClassicServer::Remove(Sessions::iterator session) {
  by_address_.erase(session->address);
  by_id_.erase(session->id);
  list(session->state).erase(session);
}

void ClassicServer::Acknowledge(const PeerAddress& address, const ClassicAck& ack) {
  Send send{.to = address, .buffer = {}, .size = 0};
  send.size = FormatClassic(ack, send.buffer);
  effects_.emplace_back(send);
}

ClassicAck ClassicServer::StartAck(const Session& session) const {
  return {session.seqno0 + 1, session.buf_bytes};
}

/// Of what was taken last.
ClassicAck ClassicServer::LastAck(const Session& session) const {
  if (session.next_seqno == session.seqno0 + 1) return StartAck(session);
  return {session.next_seqno, std::nullopt};
}

}  // namespace ds::udp_transfer
