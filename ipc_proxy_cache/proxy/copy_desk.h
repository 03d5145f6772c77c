#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <vector>

#include "ipc_proxy_cache/core/messages.h"
#include "ipc_proxy_cache/proxy/proxy_link.h"
#include "ipc_proxy_cache/proxy/segment_desk.h"

namespace ds::ipc_proxy_cache {

/// Who asked for a piece of an object.
class CopyReceiver {
 public:
  /// The piece from `offset` on, as far as a segment takes it; `bytes` are gone after the call, and
  /// nothing is to be asked for in it.
  virtual void TakeCopied(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  /// After TakeCopied(): the segment is free again, and more may be asked for.
  virtual void OnCopied() = 0;
  /// In place of both: there is no such object any more, or no cache.
  virtual void OnCopyFailed() = 0;

 protected:
  virtual ~CopyReceiver() = default;
};

/// What a worker has the cache copy into segments, where content does not come by mapping: pieces
/// wait for a segment, in their order, and for nothing else. Owned by the worker's CacheClient.
/// Belongs to the worker's thread.
class CopyDesk final : private SegmentWaiter {
 public:
  struct Piece {
    std::uint64_t memfd = 0;
    std::uint64_t record_offset = 0;
    Part part = Part::kBody;
    std::uint64_t offset = 0;  ///< in that part
  };

  CopyDesk(ProxyLink* link, SegmentDesk* desk) : link_(link), desk_(desk) {}
  ~CopyDesk() override { desk_->CancelWait(this); }

  /// Grows when a cache goes: where a piece lies is known to one cache only, and the next one may
  /// have something else there.
  std::uint64_t cache() const { return cache_; }
  /// REQUIRES: the piece is of the present cache; `receiver` has no other one outstanding.
  void Ask(const Piece& piece, CopyReceiver* receiver);
  /// Nothing is told to `receiver` any more.
  void Cancel(CopyReceiver* receiver);
  /// Something is awaited of the cache.
  bool busy() const { return !under_way_.empty(); }

  /// False: it was not asked for.
  bool HandleCopied(const Copied& copied);
  void HandleCacheGone();

 private:
  struct Wish {
    Piece piece;
    CopyReceiver* receiver = nullptr;  ///< null: nobody waits any more
    SegmentPool::Lease lease{};        ///< once it is under way
  };
  /// Each is a message, of which the link's queue holds 256.
  static constexpr std::size_t kUnderWayMax = 64;

  void OnSegmentFree() override;
  void Pump();

  ProxyLink* const link_;
  SegmentDesk* const desk_;
  std::deque<Wish> waiting_;
  std::map<std::uint64_t, Wish> under_way_;  ///< by token
  bool waits_ = false;                       ///< for a segment
  std::uint64_t cache_ = 1;
};

}  // namespace ds::ipc_proxy_cache
