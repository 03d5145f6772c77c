#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace ds::ipc_proxy_cache {

/// Who has which of a proxy's segments (ARCHITECTURE.md, "Who has a segment"). It knows numbers
/// only; shm/segment_memory has the bytes. Deterministic, single threaded; the workers of a proxy
/// share one under a mutex. The queue of those who wait is as long as its callers let it be: each
/// waits once for each thing that it wants to hand over.
class SegmentPool {
 public:
  /// The right to one segment until it is given back. A value.
  struct Lease {
    std::uint32_t segment = 0;
    std::uint64_t token = 0;  ///< not 0, never used again; to be written at its beginning

    friend bool operator==(const Lease&, const Lease&) = default;
  };
  /// A lease for somebody who had to wait, to be told now.
  struct Grant {
    std::uint64_t waiter = 0;
    Lease lease;

    friend bool operator==(const Grant&, const Grant&) = default;
  };

  /// REQUIRES: count > 0.
  explicit SegmentPool(std::uint32_t count);

  /// A segment, or nothing: then `waiter`, a number that the caller chooses, waits behind all that
  /// wait already. REQUIRES: `waiter` does not wait.
  std::optional<Lease> Acquire(std::uint64_t waiter);
  /// False if it does not wait (any more).
  bool CancelWait(std::uint64_t waiter);

  /// A message with the lease was sent on `link`: from now on the cache has the segment.
  /// REQUIRES: the lease is held.
  void HandOver(const Lease& lease, std::uint64_t link);
  /// The holder no longer waits for the cache's answer, and must not touch the segment: it stays
  /// set aside until TakeBack() or the end of the link. REQUIRES: the lease was handed over.
  void SetAside(const Lease& lease);

  enum class Return {
    kHolder,  ///< whoever handed it over has it again, and may hand it over once more
    kPool,    ///< it had been set aside and is free now, or granted
    kNone,    ///< no such lease was handed over on that link: the peer is wrong
  };
  struct TakenBack {
    Return to = Return::kNone;
    std::optional<Grant> grant{};
  };
  /// The cache answered on `link` that it is done with the segment.
  TakenBack TakeBack(const Lease& lease, std::uint64_t link);
  /// The holder needs it no more. REQUIRES: the lease is held and not handed over.
  std::optional<Grant> Release(const Lease& lease);

  struct LinkEnd {
    std::vector<Lease> returned;  ///< to their holders, in the order of segments
    std::vector<Grant> grants;    ///< of those that had been set aside
  };
  /// The cache has closed the link: nothing that was sent on it will be executed any more.
  LinkEnd EndLink(std::uint64_t link);

  std::size_t count() const { return slots_.size(); }
  std::size_t free() const { return free_.size(); }
  std::size_t waiting() const { return waiting_.size(); }
  std::size_t set_aside() const;

 private:
  enum class State : std::uint8_t { kFree, kHeld, kHandedOver, kAside };
  struct Slot {
    State state = State::kFree;
    std::uint64_t token = 0;
    std::uint64_t link = 0;
  };

  bool Is(const Lease& lease, State state) const;
  Lease LeaseOut(std::uint32_t segment);
  /// To the first who waits, else to the free ones.
  std::optional<Grant> GiveBack(std::uint32_t segment);

  std::vector<Slot> slots_;
  std::deque<std::uint32_t> free_;  ///< the one longest free first
  std::deque<std::uint64_t> waiting_;
  std::uint64_t last_token_ = 0;
};

}  // namespace ds::ipc_proxy_cache
