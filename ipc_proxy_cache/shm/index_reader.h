#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/shm/memfd.h"
#include "ipc_proxy_cache/shm/index_layout.h"

namespace ds::ipc_proxy_cache {

/// The reader's half of the index, over memory that somebody else keeps mapped. The const methods
/// take no lock, make no system call, end after a bounded number of steps whatever the writer does
/// or however it died, and may be called from any thread. Copyable.
class IndexView {
 public:
  /// How often a slot that changes while it is read is read again, before it counts as absent.
  static constexpr int kAttemptsMax = 64;

  /// kInvalidArgument unless the memory begins with the header of an index of just its size.
  static absl::StatusOr<IndexView> Over(std::span<const std::byte> memory);

  KeyHash Hash(std::string_view key) const { return HashKey(secret_, key); }

  /// The entry as it was at one moment during the call. Nothing may also mean that the key was just
  /// being written, or moved: a miss that the cache clears up. The record's own key must be
  /// compared before its body is used.
  std::optional<IndexEntry> Find(const KeyHash& hash) const;

  /// Whether the cache still uses the memfd. To be asked once more after mapping one.
  bool IsLive(std::uint64_t id) const {
    return live_table_[id % live_table_.size()].load(std::memory_order_acquire) == id;
  }
  /// Grows after ids have ceased to be live.
  std::uint64_t retirements() const { return header_->retirements.load(std::memory_order_acquire); }

 private:
  IndexView(std::span<const std::byte> memory, const IndexGeometry& geometry);

  HashSecret secret_;
  const IndexHeader* header_;
  std::span<const SharedWord> live_table_;
  std::span<const IndexSlot> slots_;
};

/// A worker's read-only mapping of the index that the cache writes meanwhile. Owned by the link it
/// came with and given up with it. Movable; spans and views stay valid when it is moved.
class IndexReader {
 public:
  /// Checks seals, size and header of what came with WELCOME. kInvalidArgument if it is no index.
  static absl::StatusOr<IndexReader> Adopt(UniqueFd fd);

  const IndexView& view() const { return view_; }
  KeyHash Hash(std::string_view key) const { return view_.Hash(key); }
  std::optional<IndexEntry> Find(const KeyHash& hash) const { return view_.Find(hash); }
  bool IsLive(std::uint64_t id) const { return view_.IsLive(id); }
  std::uint64_t retirements() const { return view_.retirements(); }

 private:
  IndexReader(shm::Memfd memfd, const IndexView& view) : memfd_(std::move(memfd)), view_(view) {}

  shm::Memfd memfd_;
  IndexView view_;  // of memfd_'s mapping, which does not move with the object
};

}  // namespace ds::ipc_proxy_cache
