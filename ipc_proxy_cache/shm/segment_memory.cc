#include "ipc_proxy_cache/shm/segment_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <utility>

#include "common/base/check.h"
#include "ipc_proxy_cache/shm/index_layout.h"

namespace ds::ipc_proxy_cache {
namespace {

struct alignas(4096) PoolHeader {
  static constexpr std::uint64_t kMagic = 0x3147455346475344;  // "DSGFSEG1"
  static constexpr std::uint64_t kVersion = 1;

  std::uint64_t magic;
  std::uint64_t version;
  std::uint64_t count;
  std::uint64_t segment_bytes;
};
static_assert(sizeof(PoolHeader) == 4096);

constexpr std::size_t kStrideUnit = 64;

std::size_t Stride(std::uint64_t segment_bytes) {
  return (segment_bytes + kStrideUnit - 1) / kStrideUnit * kStrideUnit;
}

SharedWord& TokenOf(const shm::Memfd& memfd, std::size_t offset) {
  return *reinterpret_cast<SharedWord*>(memfd.writable_bytes().data() + offset);
}

}  // namespace

absl::Status SegmentGeometry::Validate() const {
  if (count == 0 || count > kCountMax || segment_bytes < kBytesMin || segment_bytes > kBytesMax ||
      Bytes() > kTotalMax) {
    return InvalidArgument(
        fmt::format("lay out {} segments of {} bytes: not 1 to {}, of {} to {}, {} in all", count,
                    segment_bytes, kCountMax, kBytesMin, kBytesMax, kTotalMax));
  }
  return absl::OkStatus();
}

std::size_t SegmentGeometry::Bytes() const {
  return sizeof(PoolHeader) + count * Stride(segment_bytes);
}

std::size_t SegmentGeometry::OffsetOf(std::uint32_t segment) const {
  return sizeof(PoolHeader) + segment * Stride(segment_bytes);
}

absl::StatusOr<SegmentMemory> SegmentMemory::Create(const SegmentGeometry& geometry) {
  RETURN_IF_ERROR(geometry.Validate());
  ASSIGN_OR_RETURN(shm::Memfd memfd, shm::Memfd::Create("getfile-segments", geometry.Bytes(),
                                                        shm::Memfd::Access::kReadWrite));
  return SegmentMemory(std::move(memfd), geometry);
}

SegmentMemory::SegmentMemory(shm::Memfd memfd, const SegmentGeometry& geometry)
    : memfd_(std::move(memfd)), geometry_(geometry) {
  std::byte* const memory = memfd_.writable_bytes().data();
  new (memory) PoolHeader{.magic = PoolHeader::kMagic,
                          .version = PoolHeader::kVersion,
                          .count = geometry.count,
                          .segment_bytes = geometry.segment_bytes};
  for (std::uint32_t segment = 0; segment < geometry.count; ++segment) {
    new (memory + geometry.OffsetOf(segment)) SharedWord(0);
  }
}

void SegmentMemory::Stamp(const SegmentPool::Lease& lease) const {
  CHECK(lease.segment < geometry_.count && lease.token != 0);
  TokenOf(memfd_, geometry_.OffsetOf(lease.segment)).store(lease.token, std::memory_order_seq_cst);
}

std::span<std::byte> SegmentMemory::Payload(const SegmentPool::Lease& lease) const {
  CHECK(lease.segment < geometry_.count);
  return memfd_.writable_bytes().subspan(geometry_.OffsetOf(lease.segment) + kSegmentHeaderBytes,
                                         geometry_.PayloadBytes());
}

absl::StatusOr<PeerSegments> PeerSegments::Adopt(UniqueFd fd, std::size_t bytes_max) {
  ASSIGN_OR_RETURN(shm::Memfd memfd,
                   shm::Memfd::Adopt(std::move(fd), shm::Memfd::Access::kReadWrite,
                                     {.min = sizeof(PoolHeader), .max = bytes_max}));
  // Each word is loaded once, since the peer can still write it: what was checked is what is used.
  const auto word = [&](std::size_t offset) {
    return TokenOf(memfd, offset).load(std::memory_order_relaxed);
  };
  const std::uint64_t magic = word(offsetof(PoolHeader, magic));
  const std::uint64_t version = word(offsetof(PoolHeader, version));
  if (magic != PoolHeader::kMagic || version != PoolHeader::kVersion) {
    return InvalidArgument(fmt::format("adopt segments: magic {:#x}, version {}", magic, version));
  }
  const SegmentGeometry geometry{.count = word(offsetof(PoolHeader, count)),
                                 .segment_bytes = word(offsetof(PoolHeader, segment_bytes))};
  RETURN_IF_ERROR(geometry.Validate());
  if (memfd.size() != geometry.Bytes()) {
    return InvalidArgument(
        fmt::format("adopt segments: {} bytes, not {}", memfd.size(), geometry.Bytes()));
  }
  return PeerSegments(std::move(memfd), geometry);
}

PeerSegments::PeerSegments(shm::Memfd memfd, const SegmentGeometry& geometry)
    : memfd_(std::move(memfd)), geometry_(geometry) {}

bool PeerSegments::IsLeased(const SegmentPool::Lease& lease) const {
  return lease.token != 0 &&
         TokenOf(memfd_, geometry_.OffsetOf(lease.segment)).load(std::memory_order_seq_cst) ==
             lease.token;
}

SegmentCopy PeerSegments::CopyFrom(const SegmentPool::Lease& lease,
                                   std::span<std::byte> content) const {
  if (lease.segment >= geometry_.count || content.size() > geometry_.PayloadBytes()) {
    return SegmentCopy::kOutside;
  }
  if (!IsLeased(lease)) return SegmentCopy::kNotLeased;
  std::copy_n(memfd_.bytes().data() + geometry_.OffsetOf(lease.segment) + kSegmentHeaderBytes,
              content.size(), content.data());
  // The copy stays before the second look at the token.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return IsLeased(lease) ? SegmentCopy::kCopied : SegmentCopy::kNotLeased;
}

SegmentCopy PeerSegments::CopyTo(const SegmentPool::Lease& lease,
                                 std::span<const std::byte> content) const {
  if (lease.segment >= geometry_.count || content.size() > geometry_.PayloadBytes()) {
    return SegmentCopy::kOutside;
  }
  if (!IsLeased(lease)) return SegmentCopy::kNotLeased;
  std::ranges::copy(content, memfd_.writable_bytes().data() + geometry_.OffsetOf(lease.segment) +
                                 kSegmentHeaderBytes);
  return IsLeased(lease) ? SegmentCopy::kCopied : SegmentCopy::kNotLeased;
}

}  // namespace ds::ipc_proxy_cache
