#include "udp_transfer/core/loss_detector.h"

#include <algorithm>
#include <bit>

#include "common/base/check.h"

namespace ds::udp_transfer {
namespace {

constexpr std::size_t kPacketsAtFirst = 256;
/// Round trips without reordering after which the thresholds come half the way back.
constexpr int kReorderingMemory = 32;

}  // namespace

bool RttEstimate::AddSample(Duration sample, Duration ack_delay) {
  if (sample <= Duration::zero()) return false;
  if (ack_delay > kAckDelayMax) {  // the packet's first ack was lost: the wait is not the path's
    const Duration floor = std::min(sample, has_sample() ? min_ : smoothed_);
    sample = std::max(floor, sample - (ack_delay - kAckDelayMax));
    ack_delay = kAckDelayMax;
  }
  latest_ = sample;
  if (!has_sample()) {
    min_ = smoothed_ = sample;
    variation_ = sample / 2;
    return true;
  }
  min_ = std::min(min_, sample);
  if (sample >= min_ + ack_delay) sample -= ack_delay;
  variation_ = (3 * variation_ + std::chrono::abs(smoothed_ - sample)) / 4;
  smoothed_ = (7 * smoothed_ + sample) / 8;
  return true;
}

void LossDetector::OnSent(const SentPacket& packet) {
  const std::uint64_t number = next_;
  TakeNumber(packet.sent_at);
  At(number) = packet;
  Word(number) |= Bit(number);
  ++in_flight_;
  last_sent_ = packet.sent_at;
}

void LossDetector::OnSentWithoutAck(TimePoint now) {
  TakeNumber(now);
  if (in_flight_ == 0) undecided_ = next_;
}

void LossDetector::TakeNumber(TimePoint now) {
  CHECK(!full());
  if (next_ - base_ == packets_.size()) Forget(now);
  if (next_ - base_ == packets_.size()) Grow();
  At(next_).sent_at = now;
  ++next_;
}

void LossDetector::Grow() {
  const std::size_t size = packets_.empty() ? kPacketsAtFirst : 2 * packets_.size();
  std::vector<SentPacket> packets(size);
  std::vector<std::uint64_t> remembered(size / 64);
  for (std::uint64_t number = base_; number < next_; ++number) {
    packets[number & (size - 1)] = At(number);
    remembered[(number & (size - 1)) / 64] |= Word(number) & Bit(number);
  }
  packets_ = std::move(packets);
  remembered_ = std::move(remembered);
}

std::uint64_t LossDetector::NextRemembered(std::uint64_t begin, std::uint64_t end) {
  while (begin < end) {
    const std::uint64_t rest = Word(begin) >> (begin % 64);
    if (rest != 0) {
      return std::min(end, begin + static_cast<unsigned>(std::countr_zero(rest)));
    }
    begin += 64 - begin % 64;
  }
  return end;
}

const LossDetector::Events* LossDetector::HandleAck(const AckFrame& ack, TimePoint now) {
  if (ack.largest >= next_) return nullptr;
  ClearEvents();
  const std::uint64_t silence_begin = largest_acked_ ? *largest_acked_ + 1 : 0;
  std::uint64_t silence_end = next_;
  AckRanges ranges = ack.ranges;
  while (const auto range = ranges.Next()) {
    if (range->end <= base_) break;
    const std::uint64_t begin = std::max(range->begin, base_);
    for (std::uint64_t number = NextRemembered(begin, range->end); number < range->end;
         number = NextRemembered(number + 1, range->end)) {
      OnAcked(number, now);
    }
    if (range->end > silence_begin) silence_end = std::max(silence_begin, range->begin);
  }
  if (!events_.acked.empty()) {
    // RFC 9002, 5.1.
    if (ack.largest >= std::max(silence_begin, rtt_begin_) &&
        rtt_.AddSample(now - At(ack.largest).sent_at, std::chrono::microseconds(ack.delay_us))) {
      events_.rtt = rtt_.latest();
    }
    probe_count_ = 0;
  }
  if (ack.largest >= silence_begin) largest_acked_ = ack.largest;
  if (now - reordered_at_ > kReorderingMemory * rtt_.smoothed()) {
    packet_threshold_ = std::max(kPacketThreshold, packet_threshold_ / 2);
    reordering_ /= 2;
    reordered_at_ = now;
  }
  DetectLost(now);
  DetectPersistentCongestion(silence_begin, silence_end);
  Forget(now);
  return &events_;
}

void LossDetector::OnAcked(std::uint64_t number, TimePoint now) {
  SentPacket& packet = At(number);
  Word(number) &= ~Bit(number);
  if (number < largest_acked_) AdaptToReordering(number, now);
  if (packet.lost) {
    events_.acked_late.push_back(packet);
    return;
  }
  --in_flight_;
  events_.acked.push_back(packet);
}

/// A packet comes after one that left later: the next ones are given as long as this one needed.
void LossDetector::AdaptToReordering(std::uint64_t number, TimePoint now) {
  const std::uint64_t distance = std::min(*largest_acked_ - number, kPacketThresholdMax - 1);
  const Duration late = std::min(now - At(number).sent_at - rtt_.smoothed(),
                                 std::max(kReorderingMax, rtt_.smoothed()));
  if (2 * distance >= packet_threshold_ || 2 * late >= reordering_) reordered_at_ = now;
  packet_threshold_ = std::max(packet_threshold_, distance + 1);
  reordering_ = std::max(reordering_, late);
}

/// RFC 9002, 6.1.2.
Duration LossDetector::LossDelay() const {
  const Duration rtt = std::max(rtt_.smoothed(), rtt_.latest());
  return std::max(kGranularity, rtt + std::max(rtt / 8, reordering_));
}

/// RFC 9002, A.10. Packets leave in the order of their numbers, so that all before the first that
/// is not lost are decided, and none behind it is lost.
void LossDetector::DetectLost(TimePoint now) {
  loss_time_.reset();
  if (!largest_acked_) return;
  const Duration delay = LossDelay();
  while (true) {
    undecided_ = NextRemembered(undecided_, std::max(undecided_, *largest_acked_));
    if (undecided_ >= *largest_acked_) break;
    const SentPacket& packet = At(undecided_);
    if (packet.sent_at + delay > now && undecided_ + packet_threshold_ > *largest_acked_) {
      loss_time_ = packet.sent_at + delay;
      break;
    }
    TakeForLost(undecided_++);
  }
  if (in_flight_ == 0) undecided_ = next_;
}

void LossDetector::TakeForLost(std::uint64_t number) {
  SentPacket& packet = At(number);
  packet.lost = true;
  --in_flight_;
  events_.lost.push_back(packet);
}

const LossDetector::Events& LossDetector::GiveUpOldest(TimePoint now) {
  ClearEvents();
  Forget(now);
  const std::uint64_t end = std::max(undecided_, base_ + packets_max_ / 2);
  while ((undecided_ = NextRemembered(undecided_, end)) < end) TakeForLost(undecided_++);
  DetectLost(now);
  Forget(now);
  return events_;
}

/// RFC 9002, 7.6: of the packets that left between two that were acknowledged, all are lost, and
/// they span a long time.
void LossDetector::DetectPersistentCongestion(std::uint64_t silence_begin,
                                              std::uint64_t silence_end) {
  if (events_.lost.size() < 2 || !rtt_.has_sample()) return;
  std::optional<TimePoint> first;
  TimePoint last;
  for (std::uint64_t number = NextRemembered(std::max(silence_begin, base_), silence_end);
       number < silence_end; number = NextRemembered(number + 1, silence_end)) {
    const SentPacket& packet = At(number);
    if (!packet.lost) return;
    if (!first) first = packet.sent_at;
    last = packet.sent_at;
  }
  events_.persistent_congestion = first && last - *first > 3 * ProbeTimeout();
}

/// Lost packets are remembered for some time, since their acks tell how much the path reorders.
void LossDetector::Forget(TimePoint now) {
  const Duration memory = 3 * ProbeTimeout();
  while (base_ < undecided_) {
    base_ = NextRemembered(base_, undecided_);
    if (base_ == undecided_ || (!crowded() && At(base_).sent_at + memory > now)) break;
    Word(base_) &= ~Bit(base_);
    ++base_;
  }
}

void LossDetector::ForgetPath(Duration initial_rtt) {
  rtt_ = RttEstimate(initial_rtt);
  rtt_begin_ = next_;
  packet_threshold_ = kPacketThreshold;
  reordering_ = Duration::zero();
}

void LossDetector::ForgetAll() {
  std::fill(remembered_.begin(), remembered_.end(), 0);
  base_ = undecided_ = next_;
  in_flight_ = 0;
  loss_time_.reset();
}

Duration LossDetector::ProbeTimeout() const {
  return rtt_.smoothed() + std::max(4 * rtt_.variation(), kGranularity) + kAckDelayMax;
}

std::optional<TimePoint> LossDetector::Deadline() const {
  if (loss_time_) return loss_time_;
  if (in_flight_ == 0) return std::nullopt;
  const Duration timeout = ProbeTimeout();
  const Duration interval = timeout * (std::int64_t{1} << std::min(probe_count_, 12U));
  return last_sent_ + std::min(interval, ProbeIntervalMax());
}

const LossDetector::Events& LossDetector::HandleTimeout(TimePoint now) {
  ClearEvents();
  if (loss_time_) {
    DetectLost(now);
  } else if (in_flight_ > 0) {
    ++probe_count_;
    events_.probe = true;
  }
  Forget(now);
  return events_;
}

void LossDetector::ClearEvents() {
  events_.acked.clear();
  events_.acked_late.clear();
  events_.lost.clear();
  events_.rtt.reset();
  events_.persistent_congestion = false;
  events_.probe = false;
}

}  // namespace ds::udp_transfer
