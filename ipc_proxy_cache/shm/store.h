#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/shm/memfd.h"
#include "ipc_proxy_cache/core/holding_table.h"
#include "ipc_proxy_cache/core/store_layout.h"
#include "ipc_proxy_cache/shm/index_writer.h"
#include "ipc_proxy_cache/shm/record.h"

namespace ds::ipc_proxy_cache {

/// An object as it is handed to the store; the views are copied.
struct StoreObject {
  KeyHash hash;  ///< of the key, by the store's own Hash()
  std::string_view key;
  std::string_view fields;  ///< opaque
  std::span<const std::byte> body = {};
};

/// What the index says besides the place. A value.
struct ObjectTimes {
  std::uint32_t flags = 0;  ///< of IndexEntry
  std::int64_t fresh_until_ns = 0;
  std::int64_t stale_until_ns = 0;
  std::int64_t age_zero_ns = 0;
};

/// The memory of the cache: carries out what StoreLayout decides on memfds, publishes in the index,
/// and knows which links hold what. Which objects are worth keeping is decided by its caller
/// (EvictingStore). Owned by the cache's one thread. Bytes that were published never change.
class Store {
 public:
  /// kInvalidArgument if the memory is out of bounds (StoreGeometry).
  static absl::StatusOr<Store> Create(std::uint64_t memory_bytes, const HashSecret& secret);

  const IndexWriter& index() const { return index_; }
  const StoreLayout& layout() const { return layout_; }
  KeyHash Hash(std::string_view key) const { return index_.Hash(key); }
  /// What the object counts for in the policy, whose capacity is layout().geometry()'s.
  std::uint64_t Footprint(std::size_t key_bytes, std::size_t fields_bytes,
                          std::uint64_t body_bytes) const;

  enum class Result {
    kStored,
    kSetFull,  ///< nothing changed: evict one of index().Occupants(), then again
    kNoRoom,   ///< no memory or no descriptor: the object passes through; what was there stays
  };
  /// Stores the object whole and publishes it, in place of what the key had.
  Result Insert(const StoreObject& object, const ObjectTimes& times);
  /// What the key has, to be stored again with other fields: its body may be given to Insert(). The
  /// views are valid until the next call.
  std::optional<Record> Read(const KeyHash& hash) const;
  /// Publishes other times for what the key has. False if it has nothing.
  bool Update(const KeyHash& hash, const ObjectTimes& times);
  /// The object leaves the index; its bytes are dead. False if the key has none.
  bool Evict(const KeyHash& hash);

  /// An object of its own, to be filled: the id of its memfd, with the record at 0. It is not in
  /// the index, but followers may be sent it. Nothing if there is no room.
  std::optional<std::uint64_t> BeginFill(const StoreObject& object, std::uint64_t body_bytes);
  /// Where the next bytes go: what of the body is not filled yet. REQUIRES: a fill under way.
  std::span<std::byte> FillSpace(std::uint64_t fill) const;
  /// The first `bytes` of FillSpace() have been written, and readers may have them.
  void RaiseFill(std::uint64_t fill, std::uint64_t bytes);
  std::uint64_t Filled(std::uint64_t fill) const;
  /// REQUIRES: it is filled. A small one is copied into a chunk. After anything but kSetFull the
  /// fill is over, and unless it was stored its memfd is retired.
  Result PublishFill(std::uint64_t fill, const ObjectTimes& times);
  /// It was broken off, or is not to be kept. Its memfd is retired.
  void AbandonFill(std::uint64_t fill);

  /// A live memfd, or nothing (it is gone). The descriptor is the store's until the next call.
  struct LiveMemfd {
    int fd = -1;
    bool chunk = false;
  };
  std::optional<LiveMemfd> Find(std::uint64_t memfd) const;

  /// The bookkeeping of links: Hold() before the descriptor is sent.
  HoldingTable& holdings() { return holdings_; }
  const HoldingTable& holdings() const { return holdings_; }
  /// Links to be told that something they hold was retired, since the last call; ascending.
  std::vector<std::uint64_t> TakeLinksToTell();

 private:
  static constexpr int kCleanedMax = 4;  ///< chunks that one insertion may copy

  struct Filling {
    PlacedObject object;
    KeyHash hash;
  };

  Store(IndexWriter index, const StoreGeometry& geometry)
      : index_(std::move(index)), layout_(geometry) {}

  std::optional<std::uint64_t> CreateMemfd(std::uint64_t bytes);
  bool OpenChunk();
  bool Clean(std::uint64_t chunk);
  std::optional<StorePlace> PlaceSmall(const ObjectSize& size);
  std::optional<StorePlace> PlaceOwn(const ObjectSize& size);
  void Write(const StoreObject& object, const PlacedObject& placed, std::uint64_t filled);
  void Publish(const KeyHash& hash, const StorePlace& place, const ObjectTimes& times);
  bool SetIsFull(const KeyHash& hash) const;
  void Drop(const StorePlace& place);
  void Retire(std::uint64_t memfd);

  IndexWriter index_;
  StoreLayout layout_;
  HoldingTable holdings_;
  std::map<std::uint64_t, shm::Memfd> memfds_;
  std::map<std::uint64_t, Filling> fills_;
  /// Retired during a call, unmapped at its end: a body may have been given from one of them.
  std::vector<shm::Memfd> dropped_;
  std::vector<std::uint64_t> links_to_tell_;
  std::uint64_t last_memfd_ = 0;
};

}  // namespace ds::ipc_proxy_cache
