#include "udp_transfer/core/interval_set.h"

#include <algorithm>

#include "common/base/check.h"

namespace ds::udp_transfer {

IntervalSet::Iterator IntervalSet::EndingBeyond(std::uint64_t number) {
  const auto begin = intervals_.begin() + static_cast<std::ptrdiff_t>(first_);
  return std::upper_bound(
      begin, intervals_.end(), number,
      [](std::uint64_t n, const Interval& interval) { return n < interval.end; });
}

bool IntervalSet::Add(std::uint64_t begin, std::uint64_t end) {
  CHECK(begin < end);
  if (!empty() && begin >= back().begin && begin <= back().end) {  // grows the last one
    intervals_.back().end = std::max(back().end, end);
    return true;
  }
  // All that overlap or touch become one.
  const Iterator first =
      empty() || begin > back().end ? intervals_.end() : EndingBeyond(begin == 0 ? 0 : begin - 1);
  Iterator last = first;
  while (last != intervals_.end() && last->begin <= end) ++last;
  if (first == last) {
    if (intervals_.size() - first_ >= intervals_max_) return false;
    if (first_ > 0 && first == intervals_.begin() + static_cast<std::ptrdiff_t>(first_)) {
      intervals_[--first_] = {begin, end};
    } else {
      intervals_.insert(first, {begin, end});
    }
    return true;
  }
  first->begin = std::min(first->begin, begin);
  first->end = std::max((last - 1)->end, end);
  Erase(first + 1, last);
  return true;
}

void IntervalSet::Remove(std::uint64_t begin, std::uint64_t end) {
  if (begin >= end || empty() || end <= front().begin || begin >= back().end) return;
  Iterator first = EndingBeyond(begin);
  if (first->begin < begin) {
    if (first->end > end) {  // from its middle
      const Interval rest{end, first->end};
      first->end = begin;
      intervals_.insert(first + 1, rest);
      return;
    }
    first->end = begin;
    ++first;
  }
  Iterator last = first;
  while (last != intervals_.end() && last->end <= end) ++last;
  if (last != intervals_.end() && last->begin < end) last->begin = end;
  Erase(first, last);
}

void IntervalSet::Erase(Iterator begin, Iterator end) {
  const auto first = intervals_.begin() + static_cast<std::ptrdiff_t>(first_);
  if (begin != first) {
    intervals_.erase(begin, end);
    return;
  }
  // At the front: they stay until there are more of them than of others.
  first_ += static_cast<std::size_t>(end - begin);
  if (2 * first_ >= intervals_.size()) {
    intervals_.erase(intervals_.begin(), intervals_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
}

std::span<const Interval> IntervalSet::Overlapping(std::uint64_t begin, std::uint64_t end) const {
  const std::span<const Interval> all = intervals();
  const auto first =
      std::upper_bound(all.begin(), all.end(), begin,
                       [](std::uint64_t n, const Interval& interval) { return n < interval.end; });
  const auto last = std::lower_bound(
      first, all.end(), end,
      [](const Interval& interval, std::uint64_t n) { return interval.begin < n; });
  return {first, last};
}

bool IntervalSet::Contains(std::uint64_t number) const {
  return !Overlapping(number, number + 1).empty();
}

}  // namespace ds::udp_transfer
