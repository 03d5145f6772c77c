#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "ipc_proxy_cache/core/frequency_sketch.h"
#include "ipc_proxy_cache/core/key_hash.h"
#include "ipc_proxy_cache/core/window_tiny_lfu.h"

namespace ds::ipc_proxy_cache {

/// Which objects are worth keeping: W-TinyLFU in bytes (window_tiny_lfu.h) with a window that suits
/// what is asked for. It knows keys and sizes, not places, and says what is to be evicted.
///
/// Five miniatures, each a sixteenth of the cache with a window of another size, see the accesses
/// to a sixteenth of the keys (Waldspurger et al., "Cache Modeling and Optimization using Miniature
/// Simulations", 2017). The window follows the one that had the most of late, a step at a time.
/// On traces this is within a point or two of the best fixed window on each; hill climbing, as in
/// Einziger et al., "Adaptive Software Cache Management" (2018), was slower to find a large window
/// and lost more when nothing changed. A doorkeeper and wider counters were measured too and left
/// out: no better.
///
/// Memory: 40 bytes for each object and, as tables grow by doubling, up to 40 more; 4 to 8 of
/// buckets; 8 to 16 of counters; miniatures at 5/16 of the first two. So 66 to 126 bytes for each
/// object of the largest number there ever was; it is not given back. Deterministic. Owned by the
/// cache's one thread; not thread-safe.
class TinyLfu {
 public:
  explicit TinyLfu(std::uint64_t capacity_bytes);

  /// The key was asked for so many times, whether it is here or not: hits, and the miss before an
  /// insertion. O(1) amortised.
  void Touch(const KeyHash& key, std::uint64_t times = 1);

  /// Keeps an object or not. Another one under that key is not kept any more in either case (its
  /// pin passes to the new one). O(1) amortised. REQUIRES: bytes > 0.
  Insertion Insert(const KeyHash& key, std::uint64_t bytes);
  /// Keeps an object until it is erased; refused only if there is no room beside what is pinned.
  Insertion InsertPinned(const KeyHash& key, std::uint64_t bytes);
  /// The object is gone for another reason. False if it was not kept.
  bool Erase(const KeyHash& key);

  bool Contains(const KeyHash& key) const { return main_.BytesOf(key).has_value(); }
  /// To compare objects one of which must go, as those in a full set of the index: the least first.
  /// Nothing if it is not kept, infinity if it is pinned.
  std::optional<double> ValueOf(const KeyHash& key) const;
  /// Calls `visit` with the hash of each object, roughly in the order in which they would be
  /// evicted if nothing was asked for any more; pinned ones last.
  template <typename Visit>
  void VisitInEvictionOrder(Visit visit) const {
    main_.VisitInEvictionOrder(visit);
  }

  std::uint64_t capacity() const { return main_.capacity(); }
  std::uint64_t bytes() const { return main_.bytes(); }
  std::size_t objects() const { return main_.objects(); }
  double window_share() const { return main_.window_share(); }

 private:
  struct Miniature {
    WindowTinyLfu cache;
    double had = 0;  ///< sum of the worth of one access for each hit; fades
  };

  /// What follows from `times` accesses for the window's size.
  void Adapt(std::uint64_t times);
  void ChooseWindow();
  void ResizeMiniatures();

  FrequencySketch sketch_;
  WindowTinyLfu main_;
  std::vector<Miniature> miniatures_;
  std::size_t chosen_ = 0;      ///< of the miniatures
  std::uint64_t until_choice_;  ///< accesses
  std::uint64_t until_step_;    ///< accesses
};

}  // namespace ds::ipc_proxy_cache
