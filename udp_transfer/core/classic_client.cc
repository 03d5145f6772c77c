#include "udp_transfer/core/classic_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "udp_transfer/core/transfer_name.h"

namespace ds::udp_transfer {

ClassicClient::ClassicClient(Options options)
    : options_(std::move(options)), seqno_(options_.seqno0) {
  CHECK(CheckClassicName(options_.name).ok() && options_.seqno0 <= kSeqno0Max);
  constexpr std::size_t kStartBytesMax = 10 + 20 + kNameComponentBytesMax + 20;
  datagram_.resize(kStartBytesMax);
  datagram_bytes_ =
      FormatClassic(ClassicStart{options_.seqno0, options_.name, options_.total_bytes}, datagram_);
}

std::optional<ClassicClient::Payload> ClassicClient::Wanted() {
  if (!wanted_) return std::nullopt;
  return Payload{payload_offset_,
                 std::span(datagram_).subspan(datagram_bytes_ - payload_bytes_, payload_bytes_)};
}

void ClassicClient::Supplied() {
  CHECK(wanted_);
  wanted_ = false;
  send_due_ = true;
}

void ClassicClient::HandleDatagram(std::span<const std::byte> datagram, TimePoint now) {
  if (outcome_ != Outcome::kRunning || sends_ == 0) return;
  const auto message = ParseClassic(datagram);
  const auto* ack = message ? std::get_if<ClassicAck>(&*message) : nullptr;
  if (ack == nullptr || ack->next_seqno != seqno_ + 1) return;
  const bool start = seqno_ == options_.seqno0;
  if (ack->buf_bytes.has_value() != start) return;
  if (start) {
    const auto bytes = std::min<std::uint64_t>(*ack->buf_bytes, kClassicDatagramBytesMax);
    datagram_.resize(static_cast<std::size_t>(bytes));
  }
  if (sends_ == 1) {
    const Duration rtt = now - sent_time_;
    stats_.rtt_min = std::min(stats_.rtt_min.value_or(rtt), rtt);
  }
  payload_offset_ += payload_bytes_;
  stats_.acknowledged_bytes = payload_offset_;
  PrepareNext();
}

/// All before this is acknowledged.
void ClassicClient::PrepareNext() {
  ++seqno_;
  sends_ = 0;
  send_due_ = false;
  deadline_.reset();
  const std::uint64_t left = options_.total_bytes - payload_offset_;
  if (left == 0) {
    outcome_ = Outcome::kDone;
    return;
  }
  const std::size_t header_bytes = ClassicDataHeaderBytes(seqno_);
  if (header_bytes >= datagram_.size()) return Fail(Outcome::kBufferTooSmall);
  FormatClassicDataHeader(seqno_, datagram_);
  payload_bytes_ =
      static_cast<std::size_t>(std::min<std::uint64_t>(left, datagram_.size() - header_bytes));
  datagram_bytes_ = header_bytes + payload_bytes_;
  wanted_ = true;
}

void ClassicClient::HandleRefusal() {
  if (outcome_ == Outcome::kRunning) Fail(Outcome::kRefused);
}

std::size_t ClassicClient::PollTransmit(std::span<std::byte> out, TimePoint now) {
  if (!send_due_) return 0;
  CHECK(out.size() >= datagram_bytes_);
  std::copy_n(datagram_.begin(), datagram_bytes_, out.begin());
  send_due_ = false;
  ++sends_;
  sent_time_ = now;
  deadline_ = now + kAckTimeout;
  stats_.sent_bytes += datagram_bytes_;
  if (sends_ > 1) stats_.retransmitted_bytes += datagram_bytes_;
  return datagram_bytes_;
}

void ClassicClient::HandleTimeout(TimePoint now) {
  if (!deadline_ || now < *deadline_) return;
  deadline_.reset();
  if (sends_ == kSends) return Fail(Outcome::kNotAcknowledged);
  send_due_ = true;
}

bool ClassicClient::last_message_sent() const {
  return sends_ > 0 && payload_offset_ + payload_bytes_ == options_.total_bytes;
}

void ClassicClient::Fail(Outcome outcome) {
  outcome_ = outcome;
  deadline_.reset();
  send_due_ = false;
  wanted_ = false;
}

std::string ClassicClient::FailureText() const {
  switch (outcome_) {
    case Outcome::kNotAcknowledged:
      return fmt::format("the server is malfunctioning: {} was not acknowledged in {} sends",
                         seqno_ == options_.seqno0 ? std::string("the start message")
                                                   : fmt::format("data message {}", seqno_),
                         kSends);
    case Outcome::kRefused:
      return "the server is malfunctioning: connection refused (is it running?)";
    case Outcome::kBufferTooSmall:
      return fmt::format(
          "the server is malfunctioning: it takes datagrams of {} bytes, too few for data message "
          "{}",
          datagram_.size(), seqno_);
    case Outcome::kRunning:
    case Outcome::kDone:
      break;
  }
  return {};
}

}  // namespace ds::udp_transfer
