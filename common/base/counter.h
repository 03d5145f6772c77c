#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace ds {

/// A count written by one thread and read by any: a plain load and store, no locked instruction.
/// Put the counters of one thread into one struct aligned to 64 bytes and sum over the threads at
/// the scrape.
class Counter {
 public:
  /// REQUIRES: always the same thread.
  void Add(std::uint64_t n = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  std::uint64_t Get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// A histogram with one bucket per power of two, for the metrics page: bucket i counts values v
/// with 2^(i-1) < v <= 2^i (bucket 0: 0 and 1). Written by one thread, read by any.
class LogHistogram {
 public:
  static constexpr std::size_t kBuckets = 40;

  void Record(std::uint64_t value) {
    const auto bucket = static_cast<std::size_t>(std::bit_width(value == 0 ? 0 : value - 1));
    counts_[bucket < kBuckets ? bucket : kBuckets - 1].Add();
    sum_.Add(value);
  }
  std::uint64_t count(std::size_t bucket) const { return counts_[bucket].Get(); }
  std::uint64_t sum() const { return sum_.Get(); }

 private:
  std::array<Counter, kBuckets> counts_;
  Counter sum_;
};

}  // namespace ds
