#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ds::load {

/// Latencies with three significant decimal digits, after HdrHistogram: buckets grow by powers of
/// two, and each power is divided into 1024 equal parts, so a bucket is at most 1/1024 of its
/// values wide. About 264 KiB, allocated once. A value, single threaded.
class LatencyHistogram {
 public:
  /// One hour. What is longer is counted as this, but for max() and Mean().
  static constexpr std::uint64_t kValueMax = 3'600'000'000'000;

  LatencyHistogram() : counts_(IndexOf(kValueMax) + 1) {}

  /// One latency, in nanoseconds.
  void Record(std::uint64_t ns) {
    ++counts_[IndexOf(ns < kValueMax ? ns : kValueMax)];
    ++count_;
    sum_ += ns;
    if (ns > max_) max_ = ns;
  }
  void Merge(const LatencyHistogram& other);
  void Clear();

  std::uint64_t count() const { return count_; }
  std::uint64_t max() const { return max_; }  ///< exact; 0 without values
  double Mean() const;                        ///< exact; 0 without values
  /// The smallest value that at least the share `q` of all values do not exceed: that of rank
  /// ceil(q * count), or up to 1/1024 more, and never more than max(). 0 without values.
  /// REQUIRES: 0 <= q <= 1.
  std::uint64_t ValueAtQuantile(double q) const;

 private:
  // Values below 2048 have a bucket each; above, the top eleven bits choose it.
  static constexpr int kPartBits = 10;
  static constexpr std::size_t IndexOf(std::uint64_t value) {
    const int shift = static_cast<int>(std::bit_width(value)) - (kPartBits + 1);
    if (shift <= 0) return value;
    return (static_cast<std::size_t>(shift) << kPartBits) + (value >> shift);
  }
  /// The largest value that is counted at `index`.
  static constexpr std::uint64_t LargestAt(std::size_t index) {
    if (index < (std::size_t{2} << kPartBits)) return index;
    const std::size_t shift = (index >> kPartBits) - 1;
    const std::uint64_t top = index - (shift << kPartBits);
    return ((top + 1) << shift) - 1;
  }

  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace ds::load
