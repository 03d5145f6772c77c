#include "tests/sim/link.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace ds::sim {

void Link::Send(std::span<const std::byte> datagram, std::size_t size) {
  ++counters_.sent;
  size += options_.overhead_bytes;
  if (size > options_.mtu) {
    ++counters_.too_big;
    return;
  }
  if (sending_ && queued_bytes_ + size > options_.queue_bytes) {
    ++counters_.queue_full;
    return;
  }
  queued_bytes_ += size;
  queue_.push_back({{datagram.begin(), datagram.end()}, size});
  if (!sending_) SendNext();
}

void Link::SendNext() {
  sending_ = !queue_.empty();
  if (!sending_) return;
  Datagram datagram = std::move(queue_.front());
  queue_.pop_front();
  queued_bytes_ -= datagram.size;
  sent_at_ = scheduler_.now() + TransmissionTime(datagram.size);
  scheduler_.At(sent_at_, [this, datagram = std::move(datagram)]() mutable {
    ++counters_.passed;
    counters_.passed_bytes += datagram.size;
    LeaveForWire(std::move(datagram.bytes));
    SendNext();
  });
}

void Link::LeaveForWire(std::vector<std::byte> bytes) {
  Rng& rng = scheduler_.rng();
  // A draw is made only for faults that are on, so that one of them does not change the others'
  // runs; and for each of them always, so that its outcome does not either.
  const auto happens = [&rng](double probability) {
    return probability > 0 && rng.Bernoulli(probability);
  };
  if (happens(bad_ ? options_.bad_to_good : options_.good_to_bad)) bad_ = !bad_;
  const bool burst_lost = bad_ && happens(options_.bad_loss);
  const bool lost = happens(options_.loss);
  const bool corrupted = happens(options_.corruption);
  const bool duplicated = happens(options_.duplication);
  const bool reordered = happens(options_.reordering);
  Duration delay = options_.delay;
  if (options_.jitter > Duration::zero()) delay += rng.Between(Duration::zero(), options_.jitter);
  if (lost || burst_lost) {
    ++counters_.lost;
    return;
  }
  if (corrupted && !bytes.empty()) {
    ++counters_.corrupted;
    bytes[rng.Below(bytes.size())] ^= std::byte{1} << rng.Below(8);
  }
  TimePoint when = scheduler_.now() + delay;
  if (reordered) {
    ++counters_.reordered;
    when += options_.reordering_delay;
    if (options_.reordering_jitter > Duration::zero()) {
      when += rng.Between(Duration::zero(), options_.reordering_jitter);
    }
  } else {
    when = last_place_ = std::max(when, last_place_);
  }
  if (duplicated) {
    ++counters_.duplicated;
    Deliver(when, bytes);
  }
  Deliver(when, std::move(bytes));
}

void Link::Deliver(TimePoint when, std::vector<std::byte> bytes) {
  scheduler_.At(when, [this, bytes = std::move(bytes)]() mutable {
    ++counters_.delivered;
    receiver_(std::move(bytes));
  });
}

Duration Link::TransmissionTime(std::size_t bytes) const {
  return FromSeconds(static_cast<double>(bytes) * 8 / options_.rate_bits_per_s);
}

Duration Link::QueueingDelay() const {
  if (!sending_) return Duration::zero();
  return sent_at_ - scheduler_.now() + TransmissionTime(queued_bytes_);
}

}  // namespace ds::sim
