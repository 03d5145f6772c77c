#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/shm/memfd.h"
#include "ipc_proxy_cache/shm/index_layout.h"

namespace ds::ipc_proxy_cache {

/// The cache's side of the index: makes the memfd and is the only one that can write it. Owned by
/// the cache's one thread; readers in other threads and processes see each change of a slot whole
/// or not at all. Not thread-safe against itself. Movable.
class IndexWriter {
 public:
  /// REQUIRES: `geometry` is valid.
  static absl::StatusOr<IndexWriter> Create(const IndexGeometry& geometry,
                                            const HashSecret& secret);

  /// To be sent to links; sealed, they can only read it.
  int fd() const { return memfd_.fd(); }
  /// The whole index, as readers in other threads of this process may see it.
  std::span<const std::byte> bytes() const { return memfd_.bytes(); }
  const IndexGeometry& geometry() const { return geometry_; }
  KeyHash Hash(std::string_view key) const { return HashKey(header_->secret, key); }

  enum class PutResult {
    kInserted,
    kUpdated,  ///< in the slot where it stood
    kSetFull,  ///< nothing changed; Erase() one of Occupants() first
  };
  /// Publishes. What `entry` points at must have been written before: whoever finds the entry sees
  /// those bytes. REQUIRES: the memfd's id is not 0 and live, the offset aligned and below 2^38.
  PutResult Put(const KeyHash& hash, const IndexEntry& entry);
  /// False if it was not there.
  bool Erase(const KeyHash& hash);
  std::optional<IndexEntry> Find(const KeyHash& hash) const;
  /// Those that stand where `hash` may: at most eight.
  std::vector<KeyHash> Occupants(const KeyHash& hash) const;

  /// Whether `id` may become live: its position in the table is not another's.
  bool HasRoomFor(std::uint64_t id) const;
  /// REQUIRES: HasRoomFor(id), id is not 0 and was never live.
  void AddLive(std::uint64_t id);
  /// Takes the id out of the table, then raises `retirements`. The entries that point there must
  /// have been changed or erased before. REQUIRES: `id` is live.
  void Retire(std::uint64_t id);

 private:
  IndexWriter(shm::Memfd memfd, const IndexGeometry& geometry, const HashSecret& secret);
  IndexSlot* FindSlot(const KeyHash& hash) const;
  SharedWord& LivePosition(std::uint64_t id) const;

  shm::Memfd memfd_;
  IndexGeometry geometry_;
  // Inside memfd_'s mapping, which does not move with the object.
  IndexHeader* header_;
  std::span<SharedWord> live_table_;
  std::span<IndexSlot> slots_;
};

}  // namespace ds::ipc_proxy_cache
