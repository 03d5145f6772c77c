#include "udp_transfer/core/connection.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <variant>

#include "common/base/check.h"
#include "common/base/status.h"

namespace ds::udp_transfer {
namespace {

/// Time-outs without an answer after which the path is suspected.
constexpr unsigned kSuspiciousTimeouts = 3;
/// RFC 9002, 6.2.4.
constexpr unsigned kProbesPerTimeout = 2;
/// Probe time-outs for which a closed connection lingers (RFC 9000, 10.2).
constexpr unsigned kLingerPeriods = 3;
/// Ranges in an ack. Each stands in many acks; those that all were lost are made up for by the full
/// ones.
constexpr std::size_t kAckRangesUsually = 16;
constexpr unsigned kAcksPerFullOne = 8;
/// Leaves room for data in the smallest datagram; enough for kAckRangesMax where gaps are small.
constexpr std::size_t kAckBytesMax = 600;
constexpr std::size_t kCloseTextMax = 512;
constexpr std::size_t kTagMax = 32;

/// Who sends little needs no long memory: several times what is in flight, and the acks beside it.
std::size_t RememberedPackets(std::size_t send_buffer) {
  constexpr std::size_t kAtLeast = 8192;
  constexpr std::size_t kBytesOfEach = 256;
  return std::bit_ceil(std::clamp(send_buffer / kBytesOfEach, kAtLeast, LossDetector::kPacketsMax));
}

}  // namespace

/// What the next datagram carries.
struct Connection::Plan {
  bool ack = false;
  bool ping = false;
  bool limit_update = false;
  std::optional<SendStream::Chunk> chunk{};

  bool empty() const { return !ack && !ping && !chunk; }
  bool asks_for_ack() const { return ping || chunk; }
};

absl::Status Connection::Options::Validate() const {
  if (send_buffer < MtuSearch::kBase) return InvalidArgument("send buffer: below 1200 bytes");
  if (receive_buffer < kFirstLimit) return InvalidArgument("receive buffer: below 65536 bytes");
  if (datagram_max < MtuSearch::kBase || datagram_max > kDatagramMax) {
    return InvalidArgument("datagram size: not between 1200 and 65507 bytes");
  }
  if (tag_bytes > kTagMax) return InvalidArgument("tag: over 32 bytes");
  if (!(rate_max > 0)) return InvalidArgument("rate limit: not above 0");
  if (idle_timeout <= Duration::zero() || keep_alive <= Duration::zero() ||
      initial_rtt <= Duration::zero()) {
    return InvalidArgument("time-out: not above 0");
  }
  return absl::OkStatus();
}

Connection::Connection(const Options& options, TimePoint now)
    : options_(options),
      initial_(options.role == Role::kClient),
      send_(options.send_buffer, options.peer_limit),
      receive_(options.receive_buffer),
      detector_(options.initial_rtt, RememberedPackets(options.send_buffer)),
      mtu_(options.datagram_max),
      bbr_({.datagram_bytes = MtuSearch::kBase,
            .initial_window = 32 * MtuSearch::kBase,
            .initial_rtt = options.initial_rtt,
            .rate_max = options.rate_max},
           options.seed),
      // What the peer knows of the limit before the first ack: the cookie's window, or kFirstLimit.
      limit_sent_(options.role == Role::kClient ? kFirstLimit : receive_.limit()),
      ping_(options.role == Role::kClient),
      last_received_(now) {
  CHECK(options.Validate().ok());
}

// Datagrams that come.

std::optional<std::uint64_t> Connection::PacketNumber(std::span<const std::byte> datagram) const {
  const auto header = DecodeHeader(datagram);
  if (!header || header->connection_id != options_.id) return std::nullopt;
  if (header->initial && options_.role == Role::kClient) return std::nullopt;
  const std::uint64_t number =
      ReconstructPacketNumber(received_.expected(), header->packet_number_low);
  if (received_.IsDuplicate(number)) return std::nullopt;
  return number;
}

Connection::Received Connection::HandleDatagram(std::span<const std::byte> datagram,
                                                std::uint64_t packet_number, TimePoint now) {
  if (state_ != State::kOpen) {
    if (state_ == State::kClosing) close_due_ = true;
    return Received::kDropped;
  }
  if (received_.IsDuplicate(packet_number)) {
    ++stats_.duplicate_datagrams;
    return Received::kDuplicate;
  }
  const auto header = DecodeHeader(datagram);
  CHECK(header.has_value());
  ++stats_.received_datagrams;
  last_received_ = now;

  bool eliciting = false;
  bool taken = true;
  FrameReader frames(datagram.subspan(header->size()));
  while (const auto frame = frames.Next()) {
    if (const auto* stream = std::get_if<StreamFrame>(&*frame)) {
      eliciting = true;
      switch (receive_.Insert(stream->offset, stream->payload, stream->end)) {
        case ReceiveStream::Taken::kTaken:
          break;
        case ReceiveStream::Taken::kNoRoom:
          taken = false;
          break;
        case ReceiveStream::Taken::kViolation:
          Close(kCloseProtocolViolation, "stream bytes beyond the end of the stream", now);
          break;
      }
      ack_now_ |= stream->end && taken;
    } else if (const auto* ack = std::get_if<AckFrame>(&*frame)) {
      HandleAck(*ack, now);
    } else if (const auto* close = std::get_if<CloseFrame>(&*frame)) {
      End(State::kDraining, {close->code, /*by_peer=*/true, std::string(close->text)}, now);
    } else {
      eliciting = true;
    }
    if (state_ != State::kOpen) return Received::kDropped;
  }
  if (!frames.error().empty()) {
    Close(kCloseProtocolViolation, frames.error(), now);
    return Received::kDropped;
  }
  if (!taken) {
    ++stats_.dropped_datagrams;
    return Received::kDropped;
  }
  NoteReceived(packet_number, eliciting, now);
  return Received::kTaken;
}

/// RFC 9000, 13.2.1: every second packet is acknowledged, and at once what is out of order. The
/// shell hands over several datagrams before it polls, so that one ack answers them all.
void Connection::NoteReceived(std::uint64_t number, bool eliciting, TimePoint now) {
  const bool in_order = number == received_.expected() && number > 0;
  if (number >= received_.expected()) largest_received_at_ = now;
  received_.Add(number);
  if (!eliciting) return;
  if (unacknowledged_++ == 0) ack_deadline_ = now + kAckDelayMax;
  ack_now_ |= unacknowledged_ >= 2 || !in_order;
}

void Connection::HandleAck(const AckFrame& ack, TimePoint now) {
  const LossDetector::Events* events = detector_.HandleAck(ack, now);
  if (events == nullptr) {
    return Close(kCloseProtocolViolation, "acknowledgement of a packet never sent", now);
  }
  if (ack.largest >= initial_begin_) initial_ = false;
  send_.RaiseLimit(ack.stream_limit);
  Apply(*events, now);
}

void Connection::Apply(const LossDetector::Events& events, TimePoint now) {
  bbr_.SetReordering(detector_.reordering());
  outcomes_.clear();
  for (const SentPacket& packet : events.acked) {
    send_.OnAcked(packet.stream_offset, packet.stream_bytes, packet.stream_end);
    if (packet.mtu_probe) {
      mtu_.OnProbeAcked(packet.bytes);
      continue;
    }
    mtu_.OnAcked(packet.bytes, packet.sent_at);
    outcomes_.push_back({packet.state, packet.sent_at, packet.bytes});
  }
  for (const SentPacket& packet : events.acked_late) {
    send_.OnAcked(packet.stream_offset, packet.stream_bytes, packet.stream_end);
    if (packet.mtu_probe) continue;
    ++stats_.spuriously_lost_datagrams;
    mtu_.OnAcked(packet.bytes, packet.sent_at);
    bbr_.OnSpuriousLoss({packet.state, packet.sent_at, packet.bytes});
  }
  if (!outcomes_.empty()) bbr_.OnAcked(now, outcomes_, events.rtt.value_or(Duration::zero()));

  outcomes_.clear();
  for (const SentPacket& packet : events.lost) {
    send_.OnLost(packet.stream_offset, packet.stream_bytes, packet.stream_end);
    limit_lost_ |= packet.limit_update;
    if (packet.mtu_probe) {  // RFC 8899, 3: says nothing of congestion
      mtu_.OnProbeLost(packet.bytes);
      continue;
    }
    ++stats_.lost_datagrams;
    mtu_.OnLost(packet.bytes, packet.sent_at);
    outcomes_.push_back({packet.state, packet.sent_at, packet.bytes});
  }
  if (!outcomes_.empty()) bbr_.OnLost(now, outcomes_);
  if (events.persistent_congestion) bbr_.OnPersistentCongestion();
  if (events.probe) OnProbeTimeout();
  bbr_.SetDatagramBytes(mtu_.size());
}

/// RFC 9002, 6.2.4.
void Connection::OnProbeTimeout() {
  ++stats_.probe_timeouts;
  probes_due_ = kProbesPerTimeout;
  // Perhaps the path no longer carries large datagrams.
  if (detector_.probe_count() == kSuspiciousTimeouts && mtu_.size() > MtuSearch::kBase) {
    mtu_.StartAgain();
  }
  if (!send_.Next(1)) send_.SendOldestAgain(kProbesPerTimeout * room());
}

// Datagrams that leave.

std::size_t Connection::room() const {
  return mtu_.size() - options_.tag_bytes - kStreamHeaderBytes -
         (initial_ ? kInitialHeaderBytes : kPacketHeaderBytes);
}

std::span<const Interval> Connection::AckedRanges() const {
  const std::span<const Interval> ranges = received_.ranges();
  const bool full = acks_sent_ % kAcksPerFullOne == 0;
  return ranges.last(RangesWithin(ranges, full ? kAckRangesMax : kAckRangesUsually, kAckBytesMax));
}

/// With nothing in flight one datagram may leave, however large.
bool Connection::WindowIsOpen() const {
  return bbr_.in_flight() == 0 || bbr_.in_flight() + mtu_.size() <= bbr_.congestion_window();
}

/// Acks carry the limit along, but are not acknowledged: when the peer may be waiting for room, and
/// no more of its packets ask for acks, it is told with a packet that does. Only once much is new
/// (RFC 9000, 4.2).
bool Connection::WindowUpdateIsDue() const {
  if (!established() || receive_.complete()) return false;
  if (limit_lost_) return true;
  const std::uint64_t known = limit_sent_ - std::min(limit_sent_, receive_.highest());
  return known < options_.receive_buffer / 2 &&
         receive_.limit() - limit_sent_ >= options_.receive_buffer / 4;
}

Connection::Plan Connection::PlanDatagram(TimePoint now) {
  const bool probe = probes_due_ > 0;
  const bool may_send = probe || (WindowIsOpen() && pacer_.MaySend(now) && !detector_.crowded());
  Plan plan;
  plan.limit_update = WindowUpdateIsDue();
  plan.ack = established() && (unacknowledged_ > 0 || ack_now_ || ping_ || plan.limit_update);
  if (may_send) {
    plan.chunk = send_.Next(room());
    if (plan.chunk && plan.ack) {
      const std::size_t beside_ack = room() - AckBytes(AckedRanges());
      if (!plan.chunk->again) {
        plan.chunk = send_.Next(beside_ack);
      } else if (plan.chunk->size > beside_ack) {  // in pieces it would stay in pieces
        plan.chunk.reset();
        plan.ping = plan.limit_update;
        if (ack_now_ || plan.ping) return plan;  // alone, and the chunk after it
        plan.chunk = send_.Next(room());
        plan.ack = plan.limit_update = false;
      }
    }
  }
  if (plan.chunk) return plan;
  plan.ping = ping_ || plan.limit_update || probe;
  plan.ack = established() && (plan.ping || ack_now_);
  if (plan.empty() && may_send) bbr_.OnAppLimited();
  return plan;
}

std::optional<Connection::Transmit> Connection::PollTransmit(std::span<std::byte> out,
                                                             TimePoint now) {
  CHECK(out.size() >= mtu_.size());
  if (state_ == State::kOpen && detector_.ignored()) {
    Close(kCloseProtocolViolation, "too many packets without an acknowledgement", now);
  } else if (state_ == State::kOpen && detector_.full()) {
    Apply(detector_.GiveUpOldest(now), now);
  }
  if (state_ != State::kOpen) return PollClose(out, now);
  if (const auto probe = PollMtuProbe(out, now)) return probe;
  const Plan plan = PlanDatagram(now);
  if (plan.empty()) return std::nullopt;
  return Write(plan, out, now);
}

WireWriter Connection::Begin(std::span<std::byte> out) const {
  WireWriter writer(out.first(mtu_.size() - options_.tag_bytes));
  PacketHeader header{options_.id, static_cast<std::uint32_t>(detector_.next_packet_number()), {}};
  if (initial_) header.initial = options_.initial;
  EncodeHeader(header, writer);
  return writer;
}

Connection::Transmit Connection::Record(Transmit transmit, const Plan& plan, TimePoint now) {
  const std::size_t bytes = transmit.size + options_.tag_bytes;
  transmit.packet_number = detector_.next_packet_number();
  transmit.initial = initial_;
  ++stats_.sent_datagrams;
  stats_.sent_bytes += bytes;
  if (!plan.asks_for_ack()) {
    detector_.OnSentWithoutAck(now);
    return transmit;
  }
  ping_ = false;
  SentPacket packet{.sent_at = now,
                    .bytes = static_cast<std::uint32_t>(bytes),
                    .limit_update = plan.limit_update,
                    .mtu_probe = transmit.mtu_probe};
  if (plan.chunk) {
    packet.stream_offset = plan.chunk->offset;
    packet.stream_bytes = static_cast<std::uint32_t>(plan.chunk->size);
    packet.stream_end = plan.chunk->end;
  }
  if (!transmit.mtu_probe) packet.state = bbr_.OnSent(now, bytes);
  detector_.OnSent(packet);
  pacer_.OnSent(now, bytes, bbr_.pacing_rate(), bbr_.send_quantum());
  if (probes_due_ > 0 && !transmit.mtu_probe) {
    probes_due_ = plan.chunk ? probes_due_ - 1 : 0;  // one ping is as good as two
  }
  return transmit;
}

Connection::Transmit Connection::Write(const Plan& plan, std::span<std::byte> out, TimePoint now) {
  WireWriter writer = Begin(out);
  if (plan.ack) WriteAck(writer, now);
  if (plan.limit_update) limit_lost_ = false;
  if (plan.chunk) {
    EncodeStreamHeader(plan.chunk->offset, plan.chunk->end, writer);
    send_.Copy(*plan.chunk, writer.Skip(plan.chunk->size));
    send_.OnSent(*plan.chunk);
    stats_.sent_stream_bytes += plan.chunk->size;
    if (plan.chunk->again) stats_.retransmitted_stream_bytes += plan.chunk->size;
  } else if (plan.ping) {
    EncodePing(writer);
  }
  return Record({.size = writer.written()}, plan, now);
}

void Connection::WriteAck(WireWriter& writer, TimePoint now) {
  const auto delay =
      std::chrono::duration_cast<std::chrono::microseconds>(now - largest_received_at_).count();
  EncodeAck(AckedRanges(),
            static_cast<std::uint32_t>(std::clamp<std::int64_t>(delay, 0, 0xffffffff)),
            receive_.limit(), writer);
  ++acks_sent_;
  limit_sent_ = receive_.limit();
  unacknowledged_ = 0;
  ack_now_ = false;
}

/// Probes are extra: as they say nothing of congestion, the window does not count them. Only who
/// has much to send gains by large datagrams.
std::optional<Connection::Transmit> Connection::PollMtuProbe(std::span<std::byte> out,
                                                             TimePoint now) {
  if (!established() || probes_due_ > 0 || !pacer_.MaySend(now) || detector_.crowded() ||
      send_.unsent() < mtu_.size()) {
    return std::nullopt;
  }
  const auto size = mtu_.ProbeSize(now);
  if (!size || *size > out.size() || send_.unsent() < *size) return std::nullopt;
  mtu_.OnProbeSent(*size);
  WireWriter writer = Begin(out);
  EncodePing(writer);
  const std::size_t unpadded = writer.written();
  const std::size_t end = *size - options_.tag_bytes;
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(unpadded),
            out.begin() + static_cast<std::ptrdiff_t>(end), std::byte{0});
  return Record({.size = end, .mtu_probe = true}, {.ping = true}, now);
}

void Connection::DatagramTooBig(std::size_t bytes, TimePoint now) {
  if (state_ != State::kOpen) return;
  if (!mtu_.OnTooBig(bytes)) {
    return End(State::kClosed,
               {kClosePathTooSmall, /*by_peer=*/false, "the path carries no 1200 bytes"}, now);
  }
  bbr_.SetDatagramBytes(mtu_.size());
}

// Time.

TimePoint Connection::IdleDeadline() const {
  const TimePoint deadline =
      last_received_ + std::max(options_.idle_timeout, 3 * detector_.ProbeTimeout());
  const bool awaits_place = awaits_place_ && !established();
  return awaits_place ? deadline + 2 * detector_.ProbeIntervalMax() : deadline;
}

std::optional<TimePoint> Connection::KeepAliveDeadline() const {
  const bool awaits_peer = !send_.complete() || !receive_.complete();
  if (!established() || !awaits_peer || detector_.in_flight() > 0) return std::nullopt;
  return last_received_ + std::min(options_.keep_alive, options_.idle_timeout / 3);
}

std::optional<TimePoint> Connection::EndDeadline() const {
  if (state_ == State::kClosed) return std::nullopt;
  return state_ == State::kOpen ? IdleDeadline() : close_deadline_;
}

std::optional<TimePoint> Connection::NextDeadline() const {
  if (state_ != State::kOpen) return EndDeadline();
  TimePoint deadline = IdleDeadline();
  const auto no_later_than = [&](std::optional<TimePoint> other) {
    if (other) deadline = std::min(deadline, *other);
  };
  no_later_than(detector_.Deadline());
  no_later_than(KeepAliveDeadline());
  if (unacknowledged_ > 0) no_later_than(ack_deadline_);
  if (WindowIsOpen() && !detector_.crowded() && send_.Next(1)) no_later_than(pacer_.NextBurst());
  return deadline;
}

void Connection::HandleTimeout(TimePoint now) {
  if (state_ == State::kClosing || state_ == State::kDraining) {
    if (now < close_deadline_) return;
    close_deadline_ = now + detector_.ProbeTimeout();
    if (--close_periods_ == 0) {
      state_ = State::kClosed;
    } else if (state_ == State::kClosing) {
      close_due_ = true;
    }
    return;
  }
  if (state_ == State::kClosed) return;
  if (now >= IdleDeadline()) {
    return End(State::kClosed, {kCloseIdle, /*by_peer=*/false, "the peer is silent"}, now);
  }
  if (const auto keep_alive = KeepAliveDeadline(); keep_alive && now >= *keep_alive) ping_ = true;
  if (unacknowledged_ > 0 && now >= ack_deadline_) ack_now_ = true;
  // First for lost packets, and then perhaps for the silence of the peer about the others.
  for (int i = 0; i < 2; ++i) {
    const auto deadline = detector_.Deadline();
    if (!deadline || now < *deadline) break;
    Apply(detector_.HandleTimeout(now), now);
  }
}

// The path.

bool Connection::NeedsCookie() const {
  return state_ == State::kOpen && options_.role == Role::kClient && established() &&
         PathSeemsDead();
}

bool Connection::PathSeemsDead() const { return detector_.probe_count() >= kSuspiciousTimeouts; }

void Connection::HandleCookie(const InitialFields& initial) {
  CHECK(options_.role == Role::kClient);
  options_.initial = initial;
  initial_ = true;
  initial_begin_ = detector_.next_packet_number();
  HandlePathChange(PathChange::kAddress);
}

void Connection::HandlePathChange(PathChange change) {
  if (state_ != State::kOpen) return;
  detector_.ResetProbeCount();
  if (change == PathChange::kAddress) {
    detector_.ForgetPath(options_.initial_rtt);
    mtu_.StartAgain();
    bbr_.SetDatagramBytes(mtu_.size());
    bbr_.StartAgain();
  }
  probes_due_ = kProbesPerTimeout;
  if (!send_.Next(1)) send_.SendOldestAgain(kProbesPerTimeout * room());
}

// The end.

void Connection::Close(std::uint8_t code, std::string_view text, TimePoint now) {
  if (state_ != State::kOpen) return;
  End(State::kClosing, {code, /*by_peer=*/false, std::string(text.substr(0, kCloseTextMax))}, now);
}

void Connection::HandleReset(TimePoint now) {
  if (state_ != State::kOpen) return;
  End(State::kClosed, {kCloseReset, /*by_peer=*/true, "the peer does not know the connection"},
      now);
}

void Connection::HandleRefusal(std::string_view why, TimePoint now) {
  if (state_ != State::kOpen || established()) return;
  End(State::kClosed, {kCloseRefused, /*by_peer=*/true, std::string(why)}, now);
}

void Connection::End(State state, CloseReason reason, TimePoint now) {
  state_ = state;
  reason_ = std::move(reason);
  detector_.ForgetAll();
  close_due_ = state == State::kClosing;
  close_periods_ = kLingerPeriods;
  close_deadline_ = now + detector_.ProbeTimeout();
}

std::optional<Connection::Transmit> Connection::PollClose(std::span<std::byte> out, TimePoint now) {
  if (!std::exchange(close_due_, false)) return std::nullopt;
  WireWriter writer = Begin(out);
  // Who closes because all is done says so: the peer's last bytes have come.
  if (established() &&
      AckBytes(AckedRanges()) + kCloseHeaderBytes + reason_.text.size() <= writer.left()) {
    WriteAck(writer, now);
  }
  EncodeClose(reason_.code, reason_.text, writer);
  return Record({.size = writer.written()}, {}, now);
}

}  // namespace ds::udp_transfer
