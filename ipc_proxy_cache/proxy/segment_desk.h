#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/status.h"
#include "common/net/event_loop.h"
#include "ipc_proxy_cache/core/segment_pool.h"
#include "ipc_proxy_cache/shm/segment_memory.h"

namespace ds::ipc_proxy_cache {

class SegmentDesk;

/// The segments of one proxy, shared by its workers: SegmentPool under a mutex, and their memory.
/// Owned by the proxy, outlives the desks. Thread-safe.
class SharedSegments {
 public:
  static absl::StatusOr<std::unique_ptr<SharedSegments>> Create(const SegmentGeometry& geometry);

  const SegmentMemory& memory() const { return memory_; }

 private:
  friend class SegmentDesk;
  SharedSegments(SegmentMemory memory, std::uint32_t count)
      : memory_(std::move(memory)), pool_(count) {}
  /// Tells the desk that waits, on its own thread.
  void Deliver(std::optional<SegmentPool::Grant> grant) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const SegmentMemory memory_;
  Mutex mutex_;
  SegmentPool pool_ ABSL_GUARDED_BY(mutex_);
  std::map<std::uint64_t, SegmentDesk*> waiters_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;  ///< of waits and links
};

/// Who waits for a segment.
class SegmentWaiter {
 public:
  /// Try again; called once, on the loop's thread.
  virtual void OnSegmentFree() = 0;

 protected:
  virtual ~SegmentWaiter() = default;
};

/// One worker's way to the shared segments. What is handed to the cache is set aside at once: it
/// comes back to the pool, for whoever needs one next, when the cache says TAKEN or the link is
/// over. Belongs to its loop's thread.
class SegmentDesk {
 public:
  /// `loop` and `shared` must outlive it.
  SegmentDesk(SharedSegments* shared, net::EventLoop* loop);
  ~SegmentDesk();
  SegmentDesk(const SegmentDesk&) = delete;
  SegmentDesk& operator=(const SegmentDesk&) = delete;

  const SegmentMemory& memory() const { return shared_->memory(); }
  std::size_t payload_bytes() const { return memory().geometry().PayloadBytes(); }

  /// A segment, its token written; or nothing: then `waiter` is told when it is worth another try.
  std::optional<SegmentPool::Lease> Acquire(SegmentWaiter* waiter);
  void CancelWait(SegmentWaiter* waiter);
  /// A message with the lease was sent on the present link.
  void HandOver(const SegmentPool::Lease& lease);
  /// False: the peer has no such segment.
  bool TakeBack(const SegmentPool::Lease& lease);
  /// The present link is over: the cache has closed it.
  void EndLink() { EndLink(LeaveLink()); }
  /// The present link is given up. What was handed over on it stays aside, since the cache may yet
  /// see it, until EndLink() with the number that this returns.
  std::uint64_t LeaveLink();
  void EndLink(std::uint64_t link);

 private:
  friend class SharedSegments;
  void OnGrant(std::uint64_t wait, const SegmentPool::Lease& lease);

  SharedSegments* const shared_;
  net::EventLoop* const loop_;
  /// Cleared by the destructor; what was posted to the loop looks here first.
  const std::shared_ptr<SegmentDesk*> self_;
  std::uint64_t link_ = 0;
  std::map<std::uint64_t, SegmentWaiter*> waits_;
  std::vector<SegmentPool::Lease> granted_;  ///< for the waiter that is being told
};

}  // namespace ds::ipc_proxy_cache
