#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ipc_proxy_cache/core/key_hash.h"

namespace ds::ipc_proxy_cache {

struct TinyLfuKnobs {
  int counter_bits = 4;
  double alpha = 0;        // score = freq * bytes^alpha
  bool promote_rejecting = false;
  bool doorkeeper = false;
  bool adaptive = false;
  double window = 0.01;
  double step = 0.0625;
  int sample = 10;
  bool aggregate = true;
};
extern TinyLfuKnobs g_knobs;

class FrequencySketch {
 public:
  FrequencySketch();
  void Reserve(std::size_t objects);
  void Add(const KeyHash& key, std::uint64_t times);
  std::uint64_t Estimate(const KeyHash& key) const;

 private:
  std::size_t At(const KeyHash& key, unsigned row) const;
  std::uint64_t max_;
  std::size_t width_;
  std::vector<std::uint16_t> counters_;
  std::vector<bool> door_;
  std::uint64_t additions_ = 0;
  std::size_t objects_ = 0;
};

class TinyLfu {
 public:
  struct Insertion {
    bool admitted = false;
    std::vector<KeyHash> evicted;
  };

  explicit TinyLfu(std::uint64_t capacity_bytes);

  void RecordAccess(const KeyHash& key, std::uint64_t times);
  Insertion Insert(const KeyHash& key, std::uint64_t bytes);
  Insertion InsertPinned(const KeyHash& key, std::uint64_t bytes);
  bool Remove(const KeyHash& key);
  bool Contains(const KeyHash& key) const { return Find(key) != kNone; }
  std::optional<KeyHash> LeastValued(std::span<const KeyHash> keys) const;

  std::uint64_t bytes() const;
  std::size_t objects() const { return objects_; }
  double window_share() const { return window_share_; }
  std::uint64_t inspected_ = 0;

 private:
  using Index = std::uint32_t;
  static constexpr Index kNone = UINT32_MAX;
  enum class Segment : std::uint8_t { kWindow, kProbation, kProtected, kPinned };
  struct Entry {
    KeyHash key;
    std::uint64_t bytes = 0;
    Index newer = kNone;
    Index older = kNone;
    Index next_in_bucket = kNone;
    Segment segment = Segment::kWindow;
  };
  struct List {
    Index newest = kNone;
    Index oldest = kNone;
    std::uint64_t bytes = 0;
  };

  List& ListOf(Segment s) { return lists_[static_cast<std::size_t>(s)]; }
  const List& ListOf(Segment s) const { return lists_[static_cast<std::size_t>(s)]; }
  Index Find(const KeyHash& key) const;
  Index Create(const KeyHash& key, std::uint64_t bytes);
  void Destroy(Index i);
  void Append(Segment s, Index i);
  void Detach(Index i);
  void Move(Segment s, Index i) {
    Detach(i);
    Append(s, i);
  }
  std::uint64_t Available() const;
  std::uint64_t WindowMax() const;
  std::uint64_t MainMax() const { return Available() - WindowMax(); }
  std::uint64_t MainBytes() const {
    return ListOf(Segment::kProbation).bytes + ListOf(Segment::kProtected).bytes;
  }
  double Score(const KeyHash& key, std::uint64_t bytes) const;
  bool MakeRoom(const KeyHash& key, std::uint64_t bytes, std::vector<KeyHash>* evicted);
  void Adapt();

  std::uint64_t capacity_;
  FrequencySketch sketch_;
  std::vector<Entry> entries_;
  std::vector<Index> buckets_;
  Index free_ = kNone;
  std::size_t objects_ = 0;
  std::array<List, 4> lists_;
  std::vector<Index> victims_;
  double window_share_;
  double step_;
  std::uint64_t hits_ = 0, accesses_ = 0;
  double hit_ratio_ = 0;
};

}  // namespace ds::ipc_proxy_cache
