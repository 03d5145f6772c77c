#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ipc_proxy_cache/core/key_hash.h"

namespace ds::ipc_proxy_cache {

/// How often keys were asked for of late, whether they are in the cache or not: a count-min sketch
/// with conservative update, four counters of 4 bits for a key, all in one cache line. When ten
/// additions were made for each object of the cache, all counters are halved (Einziger, Friedman,
/// Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", 2017). An estimate is never too low
/// but by this aging, and too high where other keys have the same four counters. Deterministic;
/// with a keyed hash nobody can aim at another key's counters. Owned by the TinyLfu; single
/// threaded.
class FrequencySketch {
 public:
  static constexpr std::uint64_t kMax = 15;  ///< of an estimate

  FrequencySketch() { Reserve(0); }

  /// Makes the sketch large enough for a cache of that many objects: at least 16 counters (8 bytes)
  /// for each, less than twice that. It grows and never shrinks; estimates stay.
  void Reserve(std::size_t objects);
  /// Counts `times` accesses; every ten per object halve all counters. O(1) amortised.
  void Add(const KeyHash& key, std::uint64_t times);
  /// At most kMax.
  std::uint64_t Estimate(const KeyHash& key) const;

 private:
  static constexpr std::size_t kRows = 4;
  /// A cache line: 32 counters for each row.
  struct alignas(64) Block {
    std::array<std::uint64_t, 2 * kRows> words{};
  };
  /// Where a row's counter lies in the block.
  struct Place {
    std::size_t word;
    unsigned shift;
  };
  static Place PlaceOf(const KeyHash& key, std::size_t row);
  static std::uint64_t Minimum(const Block& block, const KeyHash& key);
  const Block& BlockOf(const KeyHash& key) const {
    return blocks_[key.high & (blocks_.size() - 1)];
  }
  void Halve();

  std::vector<Block> blocks_;  // a power of two
  std::size_t objects_ = 0;
  std::uint64_t additions_ = 0;
};

}  // namespace ds::ipc_proxy_cache
