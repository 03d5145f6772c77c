#include "udp_transfer/link/link_model.h"

#include <algorithm>
#include <cmath>

#include "common/base/check.h"

namespace ds::udp_transfer {
namespace {

bool IsProbability(double value) { return value >= 0 && value <= 1; }  // not a NaN either

}  // namespace

absl::Status LinkOptions::Validate() const {
  if (!(rate_bits_per_s >= 0) || !std::isfinite(rate_bits_per_s)) {
    return InvalidArgument("check link: the rate is negative or no number");
  }
  if (rate_bits_per_s > 0 && queue_bytes == 0 && queue_packets == 0) {
    return InvalidArgument("check link: a rate needs a queue with a limit");
  }
  if (delay < Duration::zero() || jitter < Duration::zero() || reorder_by < Duration::zero()) {
    return InvalidArgument("check link: a time is negative");
  }
  if (!IsProbability(loss) || !IsProbability(corrupt) || !IsProbability(duplicate) ||
      !IsProbability(reorder)) {
    return InvalidArgument("check link: a probability is not between 0 and 1");
  }
  if (reorder > 0 && reorder_by == Duration::zero()) {
    return InvalidArgument("check link: reordering needs the time by which packets are late");
  }
  return absl::OkStatus();
}

LinkModel::LinkModel(const LinkOptions& options, std::uint64_t seed)
    : options_(options), rng_(seed) {
  CHECK(options.Validate().ok());
}

std::optional<TimePoint> LinkModel::Transmit(TimePoint now, std::uint64_t bytes) {
  if (options_.rate_bits_per_s == 0) return now;
  while (!queue_.empty() && queue_.front().departs <= now) {
    queued_bytes_ -= queue_.front().bytes;
    queue_.pop_front();
  }
  // An idle transmitter takes any packet, however small the queue.
  if (!queue_.empty()) {
    if (options_.queue_bytes != 0 && queued_bytes_ + bytes > options_.queue_bytes) return {};
    if (options_.queue_packets != 0 && queue_.size() + 1 > options_.queue_packets) return {};
  }
  const TimePoint begins = queue_.empty() ? now : queue_.back().departs;
  const TimePoint departs =
      begins + FromSeconds(8 * static_cast<double>(bytes) / options_.rate_bits_per_s);
  queue_.push_back({departs, bytes});
  queued_bytes_ += bytes;
  return departs;
}

LinkModel::Passage LinkModel::Send(TimePoint now, std::size_t bytes) {
  CHECK(bytes > 0);
  Passage passage;
  const auto departs = Transmit(now, bytes);
  passage.queued_bytes_now = queued_bytes_;
  if (!departs) {
    passage.fate = Passage::Fate::kQueueFull;
    return passage;
  }

  // All draws are made for every packet, wanted or not: those of the next one do not depend on the
  // fate of this one, nor (being eight words exactly) on its size or on other options.
  const bool lost = rng_.Bernoulli(options_.loss);
  const bool corrupt = rng_.Bernoulli(options_.corrupt);
  const bool duplicate = rng_.Bernoulli(options_.duplicate);
  const bool reorder = rng_.Bernoulli(options_.reorder);
  const double jitter = rng_.Unit();
  const double late_by = 1 - rng_.Unit();
  const double corrupt_copy = rng_.Unit();
  const double flipped = rng_.Unit();

  if (lost) {
    passage.fate = Passage::Fate::kLost;
    return passage;
  }
  const auto part_of = [](Duration whole, double share) {
    return Duration(std::llround(static_cast<double>(whole.count()) * share));
  };
  TimePoint time = *departs + options_.delay + part_of(options_.jitter, jitter);
  if (reorder) {
    passage.reordered = true;
    time += part_of(options_.reorder_by, late_by);
  } else {
    time = last_arrival_ = std::max(time, last_arrival_);
  }
  passage.count = duplicate ? 2 : 1;
  for (Arrival& arrival : passage.copies) arrival.time = time;
  if (corrupt) {
    const auto bits = 8 * static_cast<double>(bytes);
    passage.copies[corrupt_copy * static_cast<double>(passage.count) < 1 ? 0 : 1].flipped_bit =
        static_cast<std::uint32_t>(flipped * bits);
  }
  return passage;
}

}  // namespace ds::udp_transfer
