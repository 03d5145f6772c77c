#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/shm/memfd.h"
#include "ipc_proxy_cache/shm/index_layout.h"

namespace ds::ipc_proxy_cache {

/// A worker's view of the index that the cache writes meanwhile. Owned by the link it came with and
/// given up with it. Its memory is mapped read-only; the const methods take no lock, make no system
/// call, end after a bounded number of steps whatever the writer does or however it died, and may be
/// called from any thread. Movable.
class IndexReader {
 public:
  /// How often a slot that changes while it is read is read again, before it counts as absent.
  static constexpr int kAttemptsMax = 64;

  /// Checks seals, size and header of what came with WELCOME. kInvalidArgument if it is no index.
  static absl::StatusOr<IndexReader> Adopt(UniqueFd fd);

  KeyHash Hash(std::string_view key) const { return HashKey(secret_, key); }

  /// The entry as it was at one moment during the call. Nothing may also mean that the key was just
  /// being written, or moved: a miss that the cache clears up. The record's own key must be compared
  /// before its body is used.
  std::optional<IndexEntry> Find(const KeyHash& hash) const;

  /// Whether the cache still uses the memfd. To be asked once more after mapping one.
  bool IsLive(std::uint64_t id) const {
    return live_table_[id % live_table_.size()].load(std::memory_order_acquire) == id;
  }
  /// Grows after ids have ceased to be live.
  std::uint64_t retirements() const {
    return header_->retirements.load(std::memory_order_acquire);
  }

 private:
  explicit IndexReader(shm::Memfd memfd, const IndexGeometry& geometry);

  shm::Memfd memfd_;
  HashSecret secret_;
  // Inside memfd_'s mapping, which does not move with the object.
  const IndexHeader* header_;
  std::span<const SharedWord> live_table_;
  std::span<const IndexSlot> slots_;
};

}  // namespace ds::ipc_proxy_cache
