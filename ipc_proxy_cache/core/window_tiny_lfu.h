#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "ipc_proxy_cache/core/frequency_sketch.h"
#include "ipc_proxy_cache/core/key_hash.h"

namespace ds::ipc_proxy_cache {

/// What became of an insertion.
struct Insertion {
  bool admitted = false;         ///< the object is kept
  std::vector<KeyHash> evicted;  ///< others that are not kept any more, in this order

  friend bool operator==(const Insertion&, const Insertion&) = default;
};

/// Which objects a cache of so many bytes keeps, with a window of a given size: W-TinyLFU (Einziger
/// et al., as in frequency_sketch.h), with sizes (Einziger, Eytan, Friedman, Manes, "Lightweight
/// Robust Size Aware Cache Management", 2022). What is new enters the window, an LRU list. What
/// leaves it must be worth more than all it would drive out of the main part together; if not it is
/// evicted, and those it was compared with are spared for a while. The main part is a segmented
/// LRU: probation, and for what was asked for there, protected (at most four fifths). What is
/// larger than the window competes for the main part at once. Pinned objects are never evicted.
///
/// An object's worth is estimated frequency x sqrt(bytes): between the object hit ratio (frequency
/// alone, which starves large objects) and the byte hit ratio (x bytes, which starves small ones).
///
/// Deterministic, single threaded, a part of TinyLfu, which owns the sketch.
class WindowTinyLfu {
 public:
  /// REQUIRES: 0 <= window_share <= 1.
  WindowTinyLfu(std::uint64_t capacity_bytes, double window_share);

  /// Keeps the object or not; whatever was kept under that key is not any more. O(1) amortised over
  /// insertions; a refusal looks at 64 others at most. REQUIRES: bytes > 0; the key is not pinned.
  Insertion Insert(const KeyHash& key, std::uint64_t bytes, const FrequencySketch& sketch);
  /// As above, but nothing is in the way save what is pinned already.
  Insertion InsertPinned(const KeyHash& key, std::uint64_t bytes);
  /// False if it was not there.
  bool Erase(const KeyHash& key);
  /// The object was asked for; the sketch is the caller's business. False if it is not kept.
  bool Touch(const KeyHash& key);

  /// Moves objects between window and main part, evicts none. REQUIRES: 0 <= share <= 1.
  void SetWindowShare(double share);
  /// Evicts what is too much, by age. REQUIRES: at least what is pinned.
  std::vector<KeyHash> SetCapacity(std::uint64_t bytes);

  std::optional<std::uint64_t> BytesOf(const KeyHash& key) const;
  bool IsPinned(const KeyHash& key) const;
  std::uint64_t capacity() const { return capacity_; }
  std::uint64_t bytes() const;
  std::uint64_t pinned_bytes() const { return ListOf(Segment::kPinned).bytes; }
  std::size_t objects() const { return objects_; }
  double window_share() const { return window_share_; }

  static double Worth(std::uint64_t frequency, std::uint64_t bytes);

  /// Calls `visit` with the hash of each object, those that are in danger first: probation, window,
  /// protected, each from the oldest on; at the end what is pinned.
  template <typename Visit>
  void VisitInEvictionOrder(Visit visit) const {
    for (const Segment segment :
         {Segment::kProbation, Segment::kWindow, Segment::kProtected, Segment::kPinned}) {
      for (Index i = ListOf(segment).oldest; i != kNone; i = entries_[i].newer) {
        visit(entries_[i].key);
      }
    }
  }

 private:
  using Index = std::uint32_t;
  static constexpr Index kNone = UINT32_MAX;
  enum class Segment : std::uint8_t { kProbation, kWindow, kProtected, kPinned };
  struct Entry {
    KeyHash key;
    std::uint64_t bytes = 0;
    Index newer = kNone;
    Index older = kNone;
    Index next_in_bucket = kNone;  ///< or the next free one
    Segment segment = Segment::kProbation;
  };
  static_assert(sizeof(Entry) == 40);
  struct List {
    Index newest = kNone;
    Index oldest = kNone;
    std::uint64_t bytes = 0;
  };

  List& ListOf(Segment segment) { return lists_[static_cast<std::size_t>(segment)]; }
  const List& ListOf(Segment segment) const { return lists_[static_cast<std::size_t>(segment)]; }

  Index* BucketOf(const KeyHash& key) { return &buckets_[key.low & (buckets_.size() - 1)]; }
  Index Find(const KeyHash& key) const;
  Index Create(const KeyHash& key, std::uint64_t bytes, Segment segment);
  void Destroy(Index i);
  void Evict(Index i, std::vector<KeyHash>* evicted);
  void Append(Segment segment, Index i);
  void Detach(Index i);
  void Move(Segment segment, Index i);

  std::uint64_t Available() const { return capacity_ - pinned_bytes(); }
  std::uint64_t WindowMax() const;
  std::uint64_t MainMax() const { return Available() - WindowMax(); }
  std::uint64_t WindowBytes() const { return ListOf(Segment::kWindow).bytes; }
  std::uint64_t MainBytes() const {
    return ListOf(Segment::kProbation).bytes + ListOf(Segment::kProtected).bytes;
  }
  Index OldestInMain() const;
  /// Evicts from the main part until `bytes` fit, or nothing: then the answer is false.
  bool MakeRoom(const KeyHash& key, std::uint64_t bytes, const FrequencySketch& sketch,
                std::vector<KeyHash>* evicted);
  /// What is too much for the window goes to the main part while there is room.
  void PassWindowOn();
  /// Evicts by age until both parts are within their bounds.
  void Trim(std::vector<KeyHash>* evicted);

  // Always: main <= MainMax, window + main <= Available; after an insertion window <= WindowMax.
  std::uint64_t capacity_;
  double window_share_;
  std::vector<Entry> entries_;
  std::vector<Index> buckets_;  // a power of two, chained
  Index free_ = kNone;
  std::size_t objects_ = 0;
  std::array<List, 4> lists_;
  std::vector<Index> victims_;  // of MakeRoom; kept for its memory
};

}  // namespace ds::ipc_proxy_cache
