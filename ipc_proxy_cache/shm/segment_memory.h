#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/shm/memfd.h"
#include "ipc_proxy_cache/core/segment_pool.h"

// A proxy's segments: one memfd that the proxy and the cache both write, one side at a time. A
// header page, then the segments, each at a multiple of 64 bytes; in the first 64 bytes of each
// stands the token of its lease.

namespace ds::ipc_proxy_cache {

/// What of a segment's bytes carries no content.
inline constexpr std::size_t kSegmentHeaderBytes = 64;

/// A value.
struct SegmentGeometry {
  static constexpr std::uint64_t kCountMax = 65536;
  static constexpr std::uint64_t kBytesMin = 824;
  static constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 30U;
  static constexpr std::uint64_t kTotalMax = std::uint64_t{1} << 34U;

  std::uint64_t count = 0;          ///< -n
  std::uint64_t segment_bytes = 0;  ///< -z, header included

  /// kInvalidArgument unless both, and the whole, are within the bounds.
  absl::Status Validate() const;
  std::size_t PayloadBytes() const { return segment_bytes - kSegmentHeaderBytes; }
  /// Of the memfd. REQUIRES: valid.
  std::size_t Bytes() const;
  std::size_t OffsetOf(std::uint32_t segment) const;
};

/// The proxy's side: makes the memfd. Owned by the proxy, shared by its workers; each touches only
/// segments that it holds a lease of. The methods are const and may be called from any thread.
class SegmentMemory {
 public:
  static absl::StatusOr<SegmentMemory> Create(const SegmentGeometry& geometry);

  /// Goes to the cache with HELLO.
  int fd() const { return memfd_.fd(); }
  const SegmentGeometry& geometry() const { return geometry_; }
  /// Writes the token; to be done before anything else with a new lease.
  void Stamp(const SegmentPool::Lease& lease) const;
  /// Where content goes, or has come. REQUIRES: the caller holds the lease, not handed over.
  std::span<std::byte> Payload(const SegmentPool::Lease& lease) const;

 private:
  SegmentMemory(shm::Memfd memfd, const SegmentGeometry& geometry);

  shm::Memfd memfd_;
  SegmentGeometry geometry_;
};

enum class SegmentCopy {
  kCopied,
  kNotLeased,  ///< the token is another's: what was copied is not to be used
  kOutside,    ///< no such segment, or longer than it: the peer is wrong
};

/// The cache's side of one proxy's segments; their bytes are not trusted, may change at any moment,
/// and are copied once. Owned by the link that brought it. Not thread-safe. Movable.
class PeerSegments {
 public:
  /// Checks seals, size and header of what came with HELLO; at most `bytes_max` bytes.
  static absl::StatusOr<PeerSegments> Adopt(UniqueFd fd, std::size_t bytes_max);

  const SegmentGeometry& geometry() const { return geometry_; }
  /// The first content.size() bytes of the segment, if it is that lease's before and after.
  SegmentCopy CopyFrom(const SegmentPool::Lease& lease, std::span<std::byte> content) const;
  /// The other way around. With kNotLeased the segment may have been written all the same: it was
  /// its holder's fault to name a lease that it then gave up.
  SegmentCopy CopyTo(const SegmentPool::Lease& lease, std::span<const std::byte> content) const;

 private:
  PeerSegments(shm::Memfd memfd, const SegmentGeometry& geometry);
  bool IsLeased(const SegmentPool::Lease& lease) const;

  shm::Memfd memfd_;
  SegmentGeometry geometry_;
};

}  // namespace ds::ipc_proxy_cache
