#pragma once

#include <cstddef>
#include <list>
#include <string>
#include <unordered_map>
#include <utility>

#include "common/base/time.h"

namespace ds::compute {

/// What was settled lately, by key: bounded in time, entries and bytes; what was added longest ago
/// goes first. Single threaded.
template <typename Value>
class RecentMemory {
 public:
  struct Limits {
    Duration time = std::chrono::seconds(60);
    std::size_t entries = 16384;
    std::size_t bytes = 16U << 20U;  ///< as given to Add()
  };

  explicit RecentMemory(const Limits& limits) : limits_(limits) {}

  /// A key that is there keeps its value, and its time begins again. `bytes`: what the entry is
  /// counted with. REQUIRES: `now` does not go back.
  void Add(const std::string& key, Value value, std::size_t bytes, TimePoint now) {
    const auto [found, added] = by_key_.try_emplace(key);
    if (added) {
      found->second =
          entries_.insert(entries_.end(), {key, std::move(value), now + limits_.time, bytes});
      bytes_ += bytes;
    } else {
      found->second->end = now + limits_.time;
      entries_.splice(entries_.end(), entries_, found->second);
    }
    Forget(now);
  }

  /// Null: not there (any more). Valid until the next call.
  const Value* Find(const std::string& key, TimePoint now) {
    Forget(now);
    const auto found = by_key_.find(key);
    return found == by_key_.end() ? nullptr : &found->second->value;
  }

  std::size_t size() const { return entries_.size(); }
  std::size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::string key;
    Value value;
    TimePoint end;
    std::size_t bytes;
  };
  using Entries = std::list<Entry>;  // the oldest first

  void Forget(TimePoint now) {
    while (!entries_.empty() && (entries_.front().end <= now || entries_.size() > limits_.entries ||
                                 bytes_ > limits_.bytes)) {
      bytes_ -= entries_.front().bytes;
      by_key_.erase(entries_.front().key);
      entries_.pop_front();
    }
  }

  const Limits limits_;
  Entries entries_;
  std::unordered_map<std::string, typename Entries::iterator> by_key_;  // never iterated
  std::size_t bytes_ = 0;
};

}  // namespace ds::compute
