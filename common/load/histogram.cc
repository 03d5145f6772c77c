#include "common/load/histogram.h"

#include <algorithm>
#include <cmath>

#include "common/base/check.h"

namespace ds::load {

void LatencyHistogram::Merge(const LatencyHistogram& other) {
  for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  max_ = std::max(max_, other.max_);
}

void LatencyHistogram::Clear() {
  std::fill(counts_.begin(), counts_.end(), 0);
  count_ = sum_ = max_ = 0;
}

double LatencyHistogram::Mean() const {
  return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_);
}

std::uint64_t LatencyHistogram::ValueAtQuantile(double q) const {
  CHECK(q >= 0 && q <= 1);
  if (count_ == 0) return 0;
  // 0.07 * 100 is a little more than 7 in binary; the rank is 7 all the same.
  const double rank = std::ceil(q * static_cast<double>(count_) - 1e-6);
  const auto wanted =
      std::clamp<std::uint64_t>(static_cast<std::uint64_t>(std::max(rank, 1.0)), 1, count_);
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    // The last bucket also has what is beyond the range.
    if (seen >= wanted) return i + 1 == counts_.size() ? max_ : std::min(LargestAt(i), max_);
  }
  return max_;
}

}  // namespace ds::load
