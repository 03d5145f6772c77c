#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ipc_proxy_cache/shm/store.h"

namespace ds::ipc_proxy_cache {

/// What decides who is worth keeping, as core/tiny_lfu does. It knows keys and footprints.
template <class Policy>
concept EvictionPolicy = requires(Policy policy, const KeyHash& key, std::uint64_t bytes) {
  // In place of an earlier one of that key; the evicted ones are out of it already.
  { policy.Insert(key, bytes).admitted } -> std::convertible_to<bool>;
  { policy.Insert(key, bytes).evicted } -> std::convertible_to<std::vector<KeyHash>>;
  { policy.InsertPinned(key, bytes).admitted } -> std::convertible_to<bool>;
  { policy.Erase(key) } -> std::convertible_to<bool>;
  // Nothing if it is not kept, infinity if it is pinned.
  { policy.ValueOf(key) } -> std::convertible_to<std::optional<double>>;
};

/// A store that holds what its policy says: the two agree after each call. Owned by the cache's one
/// thread. What the policy refuses is still filled, for those who follow it, if there is room.
template <EvictionPolicy Policy>
class EvictingStore {
 public:
  /// REQUIRES: the policy's capacity is store.layout().geometry().PolicyCapacity().
  EvictingStore(Store store, Policy policy)
      : store_(std::move(store)), policy_(std::move(policy)) {}

  Store& store() { return store_; }
  const Store& store() const { return store_; }
  /// For accesses and counters only.
  Policy& policy() { return policy_; }
  /// Objects that had to make room for others.
  std::uint64_t evicted() const { return evicted_; }

  /// False if it passes through; then the key has nothing any more. A fill of the key that is under
  /// way goes on for its followers, unpublished.
  bool Insert(const StoreObject& object, const ObjectTimes& times, bool pinned = false) {
    wanted_.erase(object.hash);
    const std::uint64_t bytes =
        store_.Footprint(object.key.size(), object.fields.size(), object.body.size());
    if (Admit(object.hash, bytes, pinned)) {
      if (RetryFullSet(object.hash, [&] { return store_.Insert(object, times); })) return true;
      policy_.Erase(object.hash);
    }
    store_.Evict(object.hash);
    return false;
  }

  /// The object leaves store and policy; a fill of the key goes on for its followers, unpublished.
  bool Evict(const KeyHash& hash) {
    policy_.Erase(hash);
    wanted_.erase(hash);
    return store_.Evict(hash);
  }

  /// The fill's memfd, or nothing: then the object passes through. What the key has stays until the
  /// fill is published. REQUIRES: no fill of that key is under way.
  std::optional<std::uint64_t> BeginFill(const StoreObject& object, std::uint64_t body_bytes) {
    const std::uint64_t bytes =
        store_.Footprint(object.key.size(), object.fields.size(), body_bytes);
    const bool admitted = Admit(object.hash, bytes, false);
    const std::optional<std::uint64_t> fill = store_.BeginFill(object, body_bytes);
    if (fill && admitted) wanted_.emplace(object.hash, *fill);
    // An older version that the index has cannot stay without the policy knowing it.
    if (!fill && admitted) policy_.Erase(object.hash);
    if (!fill || !admitted) store_.Evict(object.hash);
    return fill;
  }

  /// True if it is published. REQUIRES: it is filled.
  bool PublishFill(std::uint64_t fill, const KeyHash& hash, const ObjectTimes& times) {
    const auto wanted = wanted_.find(hash);
    if (wanted == wanted_.end() || wanted->second != fill) {
      store_.AbandonFill(fill);
      return false;
    }
    wanted_.erase(wanted);
    Store::Result result = Store::Result::kSetFull;
    if (RetryFullSet(hash, [&] { return result = store_.PublishFill(fill, times); })) return true;
    if (result == Store::Result::kSetFull) store_.AbandonFill(fill);
    policy_.Erase(hash);
    store_.Evict(hash);
    return false;
  }

  /// It was broken off. What the key had before stays, for as long as the caller may serve it.
  void AbandonFill(std::uint64_t fill, const KeyHash& hash) {
    store_.AbandonFill(fill);
    const auto wanted = wanted_.find(hash);
    if (wanted == wanted_.end() || wanted->second != fill) return;
    wanted_.erase(wanted);
    policy_.Erase(hash);
    const std::optional<IndexEntry> old = store_.index().Find(hash);
    if (!old) return;
    const PlacedObject placed = store_.layout().Find(old->memfd, old->record_offset);
    if (!Admit(hash, store_.layout().Footprint(placed.size), false)) store_.Evict(hash);
  }

 private:
  bool Admit(const KeyHash& hash, std::uint64_t bytes, bool pinned) {
    const auto insertion = pinned ? policy_.InsertPinned(hash, bytes) : policy_.Insert(hash, bytes);
    bool admitted = insertion.admitted;
    for (const KeyHash& victim : insertion.evicted) {
      // A window that is smaller than the newcomer may give it up at once.
      if (victim == hash) admitted = false;
      if (victim != hash) ++evicted_;
      wanted_.erase(victim);
      store_.Evict(victim);
    }
    return admitted;
  }

  template <class Try>
  bool RetryFullSet(const KeyHash& hash, const Try& attempt) {
    for (;;) {
      const Store::Result result = attempt();
      if (result != Store::Result::kSetFull) return result == Store::Result::kStored;
      const std::optional<KeyHash> victim = LeastValued(store_.index().Occupants(hash));
      if (!victim) return false;
      Evict(*victim);
      ++evicted_;
    }
  }

  /// Nothing if all are pinned.
  std::optional<KeyHash> LeastValued(const std::vector<KeyHash>& keys) const {
    std::optional<KeyHash> least;
    double value = std::numeric_limits<double>::infinity();
    for (const KeyHash& key : keys) {
      const double its_value = policy_.ValueOf(key).value_or(0);
      if (its_value >= value) continue;
      value = its_value;
      least = key;
    }
    return least;
  }

  Store store_;
  Policy policy_;
  std::uint64_t evicted_ = 0;
  struct HashBits {
    std::size_t operator()(const KeyHash& hash) const { return hash.low; }
  };
  std::unordered_map<KeyHash, std::uint64_t, HashBits> wanted_;  ///< fills that are to be published
};

}  // namespace ds::ipc_proxy_cache
