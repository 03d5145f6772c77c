#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace ds::udp_transfer {

/// begin <= x < end.
struct Interval {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  std::uint64_t size() const { return end - begin; }
  friend bool operator==(const Interval&, const Interval&) = default;
};

/// A set of numbers (stream offsets, packet numbers) as sorted intervals that neither overlap nor
/// touch. Adding at the end and removing at the begin, the common cases, take constant time, others
/// move what lies behind; memory is kept for later. Single threaded.
class IntervalSet {
 public:
  explicit IntervalSet(std::size_t intervals_max = std::numeric_limits<std::size_t>::max())
      : intervals_max_(intervals_max) {}

  /// False, and nothing has changed, when that would make more than intervals_max intervals.
  /// REQUIRES: begin < end.
  [[nodiscard]] bool Add(std::uint64_t begin, std::uint64_t end);
  void Remove(std::uint64_t begin, std::uint64_t end);
  /// Removes all numbers below `begin`.
  void RemoveBelow(std::uint64_t begin) { Remove(0, begin); }

  bool Contains(std::uint64_t number) const;
  /// The intervals that have numbers in [begin, end), ascending; valid until the set changes.
  std::span<const Interval> Overlapping(std::uint64_t begin, std::uint64_t end) const;

  bool empty() const { return first_ == intervals_.size(); }
  /// Ascending; valid until the set changes.
  std::span<const Interval> intervals() const {
    return std::span<const Interval>(intervals_).subspan(first_);
  }
  /// REQUIRES: !empty().
  const Interval& front() const { return intervals_[first_]; }
  const Interval& back() const { return intervals_.back(); }

 private:
  using Iterator = std::vector<Interval>::iterator;
  /// The first interval whose end lies beyond `number`.
  Iterator EndingBeyond(std::uint64_t number);
  void Erase(Iterator begin, Iterator end);

  std::size_t intervals_max_;
  std::vector<Interval> intervals_;
  std::size_t first_ = 0;  ///< those before are removed
};

}  // namespace ds::udp_transfer
