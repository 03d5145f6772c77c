#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "common/base/status.h"

// Where records and bodies lie (ARCHITECTURE.md, "The store"): which memfds there are, what is
// appended where, what is dead, what is to be cleaned, and whether it all fits into the memory. It
// knows sizes, not keys, and touches no memory: shm/store does what is decided here.

namespace ds::ipc_proxy_cache {

inline constexpr std::uint64_t kPageBytes = 4096;
/// Records begin, and bodies that follow them begin, at multiples of this.
inline constexpr std::uint64_t kRecordAlignment = 64;
/// The largest body in a chunk that follows its record; a larger one has pages of its own.
inline constexpr std::uint64_t kCopiedBodyMax = 16384;
/// What an object counts for besides its bytes: what the cache itself keeps of it.
inline constexpr std::uint64_t kObjectOverhead = 256;
/// Live memfds, beyond which no object gets one of its own.
inline constexpr std::size_t kMemfdsMax = 4096;

/// The sizes that follow from --memory. A value.
struct StoreGeometry {
  static constexpr std::uint64_t kMemoryMin = std::uint64_t{4} << 20U;
  static constexpr std::uint64_t kMemoryMax = std::uint64_t{1} << 46U;

  std::uint64_t memory_bytes = 0;
  std::uint64_t index_bytes = 0;  ///< counts against the memory, and never changes
  std::uint64_t chunk_bytes = 0;

  /// kInvalidArgument unless the memory is between the bounds and the index at most a sixteenth.
  static absl::StatusOr<StoreGeometry> For(std::uint64_t memory_bytes, std::uint64_t index_bytes);

  /// Record and body up to this lie in a chunk.
  std::uint64_t SmallMax() const { return chunk_bytes / 16; }
  /// What may be used while nothing is cleaned: one chunk is kept free.
  std::uint64_t UsableBytes() const { return memory_bytes - chunk_bytes; }
  /// What objects may take in all, by their footprints. Then the emptiest chunk is an eighth
  /// empty or more when room is needed (ARCHITECTURE.md, "Making room").
  std::uint64_t PolicyCapacity() const { return (UsableBytes() - index_bytes) / 32 * 27; }
};

struct ObjectSize {
  std::uint64_t record_bytes = 0;  ///< a multiple of kRecordAlignment, not 0
  std::uint64_t body_bytes = 0;

  friend bool operator==(const ObjectSize&, const ObjectSize&) = default;
};

struct StorePlace {
  std::uint64_t memfd = 0;
  std::uint64_t record_offset = 0;
  std::uint64_t body_offset = 0;

  friend bool operator==(const StorePlace&, const StorePlace&) = default;
};

/// An object that is somewhere. A value.
struct PlacedObject {
  StorePlace place;
  ObjectSize size;

  friend bool operator==(const PlacedObject&, const PlacedObject&) = default;
};

/// The state of all memfds. Whoever owns it does one step after the other: asks what is next, does
/// it (which may fail), and then says that it was done. Deterministic, single threaded, copyable.
class StoreLayout {
 public:
  explicit StoreLayout(const StoreGeometry& geometry) : geometry_(geometry) {}

  const StoreGeometry& geometry() const { return geometry_; }
  bool IsSmall(const ObjectSize& size) const {
    return size.record_bytes <= geometry_.SmallMax() &&
           size.body_bytes <= geometry_.SmallMax() - size.record_bytes;
  }
  /// Bytes of the memfd that an object of its own takes.
  static std::uint64_t OwnBytes(const ObjectSize& size);
  /// What the object counts for in the eviction policy, wherever it will lie.
  std::uint64_t Footprint(const ObjectSize& size) const;

  enum class Step {
    kPlace,      ///< there is room: Append(), or CreateOwn() with a new memfd
    kOpenChunk,  ///< OpenChunk() with a new memfd of chunk_bytes
    kClean,      ///< move every object of ChunkToClean(), then ask again
    kNoRoom,     ///< nothing can be done: the object passes through
  };
  /// What is needed before an object gets a place in a chunk. `retired_bytes` are those that links
  /// still hold of memfds that are dropped here. REQUIRES: IsSmall(size).
  Step NextStepToAppend(const ObjectSize& size, std::uint64_t retired_bytes) const;
  /// The same for an object of its own, which may also be a small one that is streamed.
  Step NextStepToCreate(const ObjectSize& size, std::uint64_t retired_bytes) const;
  /// The same for an object that is moved: kPlace or kOpenChunk.
  Step NextStepToMove(const ObjectSize& size) const;

  /// `memfd` is the open chunk from now on. The one before is full; it is returned if nothing in it
  /// is alive, and exists no longer. REQUIRES: `memfd` is not 0 and was never used.
  std::optional<std::uint64_t> OpenChunk(std::uint64_t memfd);
  /// REQUIRES: NextStepToAppend() was kPlace.
  StorePlace Append(const ObjectSize& size);
  /// REQUIRES: NextStepToCreate() was kPlace, `memfd` is not 0 and was never used.
  StorePlace CreateOwn(std::uint64_t memfd, const ObjectSize& size);

  /// The object is dead. True if its memfd is to be retired: it exists no longer here.
  /// REQUIRES: a live object's record lies there.
  bool Drop(std::uint64_t memfd, std::uint64_t record_offset);

  /// The full chunk with the least live bytes, if a sixteenth of it or more is not alive.
  std::optional<std::uint64_t> ChunkToClean() const;
  /// Its live objects in the order of their records: moved in this order they need one new chunk at
  /// most. REQUIRES: `chunk` is one.
  std::vector<PlacedObject> LiveObjects(std::uint64_t chunk) const;
  struct Moved {
    StorePlace to;
    bool retired = false;  ///< it was the last one: its old chunk is to be retired
  };
  /// REQUIRES: NextStepToMove() was kPlace; `object` is alive, in a chunk that is not open.
  Moved Move(const PlacedObject& object);

  /// Where and how large the live object is whose record lies there. REQUIRES: there is one.
  PlacedObject Find(std::uint64_t memfd, std::uint64_t record_offset) const;
  bool IsChunk(std::uint64_t memfd) const { return chunks_.contains(memfd); }
  /// Index, memfds in whole, and the overhead of each object.
  std::uint64_t used_bytes() const { return used_bytes_; }
  std::size_t objects() const { return objects_; }
  std::size_t memfds() const { return chunks_.size() + owns_.size(); }

 private:
  struct Entry {
    PlacedObject object;
    bool alive = true;
  };
  struct Chunk {
    std::uint64_t bottom = 0;  ///< records and small bodies end here
    std::uint64_t top = 0;     ///< bodies with pages of their own begin here; a page boundary
    std::uint64_t live_bytes = 0;
    std::size_t live_objects = 0;
    std::vector<Entry> entries;  ///< by the offset of their records
  };

  bool FitsOpenChunk(const ObjectSize& size) const;
  bool FitsWithRetired(std::uint64_t bytes, std::uint64_t retired_bytes) const;
  Step CleanOrGiveUp(std::uint64_t retired_bytes) const;
  StorePlace Take(const ObjectSize& size);
  bool DropInChunk(std::uint64_t memfd, std::uint64_t record_offset);
  const Entry& EntryAt(std::uint64_t chunk, std::uint64_t record_offset) const;

  StoreGeometry geometry_;
  std::map<std::uint64_t, Chunk> chunks_;
  std::map<std::uint64_t, PlacedObject> owns_;
  std::optional<std::uint64_t> open_;  ///< may have been emptied, but not retired
  std::size_t objects_ = 0;
  std::uint64_t used_bytes_ = geometry_.index_bytes;
};

}  // namespace ds::ipc_proxy_cache
