#include "ipc_proxy_cache/shm/segment_memory.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <new>
#include <vector>

#include "common/base/time.h"

namespace ds::ipc_proxy_cache {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kMiB = std::size_t{1} << 20U;

UniqueFd Duplicate(int fd) { return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

std::vector<std::byte> Pattern(std::size_t size) {
  std::vector<std::byte> bytes(size);
  std::uint32_t x = 1;
  for (std::byte& byte : bytes)
    byte = static_cast<std::byte>((x = x * 1664525U + 1013904223U) >> 24U);
  return bytes;
}

/// Sends `content` from a proxy to a cache, and back from the cache to the proxy.
void Travel(const SegmentGeometry& geometry, std::span<const std::byte> content) {
  const auto memory = SegmentMemory::Create(geometry);
  ASSERT_TRUE(memory.ok()) << memory.status();
  const auto peer = PeerSegments::Adopt(Duplicate(memory->fd()), 1024 * kMiB);
  ASSERT_TRUE(peer.ok()) << peer.status();
  ASSERT_EQ(peer->geometry().PayloadBytes(), geometry.segment_bytes - kSegmentHeaderBytes);
  SegmentPool pool(static_cast<std::uint32_t>(geometry.count));
  std::vector<std::byte> there(content.size());
  std::vector<std::byte> back(content.size());
  std::size_t done = 0;
  do {
    const std::size_t n = std::min(geometry.PayloadBytes(), content.size() - done);
    const SegmentPool::Lease lease = *pool.Acquire(1);
    memory->Stamp(lease);
    std::ranges::copy(content.subspan(done, n), memory->Payload(lease).begin());
    pool.HandOver(lease, 1);
    ASSERT_EQ(peer->CopyFrom(lease, std::span(there).subspan(done, n)), SegmentCopy::kCopied);
    ASSERT_EQ(peer->CopyTo(lease, std::span(there).subspan(done, n)), SegmentCopy::kCopied);
    ASSERT_EQ(pool.TakeBack(lease, 1).to, SegmentPool::Return::kHolder);
    std::copy_n(memory->Payload(lease).begin(), n,
                back.begin() + static_cast<std::ptrdiff_t>(done));
    pool.Release(lease);
    done += n;
  } while (done < content.size());
  EXPECT_TRUE(std::ranges::equal(there, content));
  EXPECT_TRUE(std::ranges::equal(back, content));
}

TEST(SegmentMemoryTest, OneSmallestSegmentCarriesSixteenMiB) {
  Travel({.count = 1, .segment_bytes = 824}, Pattern(16 * kMiB));
}

TEST(SegmentMemoryTest, SizesAroundTheSegmentArriveWhole) {
  for (const std::size_t segment : {824U, 825U, 887U, 4096U, 65536U}) {
    const std::size_t payload = segment - kSegmentHeaderBytes;
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{560}, payload - 1,
                                   payload, payload + 1, 2 * payload, 3 * payload + 1}) {
      Travel({.count = 3, .segment_bytes = segment}, Pattern(size));
    }
  }
}

TEST(SegmentMemoryTest, SegmentsDoNotOverlap) {
  const SegmentGeometry geometry{.count = 91, .segment_bytes = 825};
  const auto memory = SegmentMemory::Create(geometry);
  ASSERT_TRUE(memory.ok()) << memory.status();
  const auto peer = PeerSegments::Adopt(Duplicate(memory->fd()), kMiB);
  ASSERT_TRUE(peer.ok()) << peer.status();
  std::vector<SegmentPool::Lease> leases;
  for (std::uint32_t i = 0; i < geometry.count; ++i) {
    leases.push_back({.segment = i, .token = i + 1});
    memory->Stamp(leases.back());
    std::ranges::fill(memory->Payload(leases.back()), static_cast<std::byte>(i));
  }
  std::vector<std::byte> content(geometry.PayloadBytes());
  for (std::uint32_t i = 0; i < geometry.count; ++i) {
    ASSERT_EQ(peer->CopyFrom(leases[i], content), SegmentCopy::kCopied) << i;
    EXPECT_TRUE(std::ranges::all_of(content, [&](std::byte b) { return b == std::byte(i); })) << i;
  }
}

TEST(SegmentMemoryTest, CopyUnderAnotherLeaseOrBeyondTheSegmentIsRefused) {
  const auto memory = SegmentMemory::Create({.count = 2, .segment_bytes = 1024});
  const auto peer = PeerSegments::Adopt(Duplicate(memory->fd()), kMiB);
  ASSERT_TRUE(peer.ok()) << peer.status();
  std::vector<std::byte> content(1024 - kSegmentHeaderBytes);
  const SegmentPool::Lease lease{.segment = 1, .token = 9};
  EXPECT_EQ(peer->CopyFrom(lease, content), SegmentCopy::kNotLeased);
  EXPECT_EQ(peer->CopyFrom({.segment = 1, .token = 0}, content), SegmentCopy::kNotLeased)
      << "never leased";
  memory->Stamp(lease);
  EXPECT_EQ(peer->CopyFrom(lease, content), SegmentCopy::kCopied);
  memory->Stamp({.segment = 1, .token = 10});
  EXPECT_EQ(peer->CopyFrom(lease, content), SegmentCopy::kNotLeased);
  EXPECT_EQ(peer->CopyTo(lease, content), SegmentCopy::kNotLeased);
  content.push_back({});
  EXPECT_EQ(peer->CopyFrom({.segment = 1, .token = 10}, content), SegmentCopy::kOutside);
  EXPECT_EQ(peer->CopyTo({.segment = 1, .token = 10}, content), SegmentCopy::kOutside);
  EXPECT_EQ(peer->CopyFrom({.segment = 2, .token = 10}, {}), SegmentCopy::kOutside);
}

TEST(SegmentMemoryTest, CopyDuringWhichTheLeaseChangedIsNotUsed) {
  const SegmentGeometry geometry{.count = 1, .segment_bytes = 256 * 1024};
  const auto memory = SegmentMemory::Create(geometry);
  const auto peer = PeerSegments::Adopt(Duplicate(memory->fd()), kMiB);
  ASSERT_TRUE(peer.ok()) << peer.status();
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  auto* const written = new (page) std::atomic<std::uint64_t>(0);
  // A proxy that leases its segment again and again and never waits for the cache.
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    for (std::uint64_t token = 1;; ++token) {
      const SegmentPool::Lease lease{.segment = 0, .token = token};
      memory->Stamp(lease);
      std::ranges::fill(memory->Payload(lease), static_cast<std::byte>(token));
      written->store(token);
      for (int i = 0; i < 20'000; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
    }
  }
  std::vector<std::byte> content(geometry.PayloadBytes());
  int copied = 0;
  int refused = 0;
  const TimePoint give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while ((copied < 200 || refused < 200) && std::chrono::steady_clock::now() < give_up) {
    const std::uint64_t token = written->load();
    if (peer->CopyFrom({.segment = 0, .token = token}, content) != SegmentCopy::kCopied) {
      ++refused;
      continue;
    }
    ++copied;
    const auto one = static_cast<std::byte>(token);
    if (!std::ranges::all_of(content, [&](std::byte byte) { return byte == one; })) {
      ADD_FAILURE() << "a mixture of leases";
      break;
    }
  }
  ::kill(child, SIGKILL);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  ::munmap(page, 4096);
  EXPECT_GT(copied, 0);
  EXPECT_GT(refused, 0);
}

TEST(SegmentMemoryTest, GeometryOutsideTheBoundsIsAnError) {
  const SegmentGeometry bad[] = {{0, 824},
                                 {1, 823},
                                 {65537, 824},
                                 {1, (std::uint64_t{1} << 30U) + 1},
                                 {65536, std::uint64_t{1} << 30U},
                                 {UINT64_MAX, UINT64_MAX}};
  for (const SegmentGeometry& geometry : bad) {
    EXPECT_FALSE(SegmentMemory::Create(geometry).ok())
        << geometry.count << " " << geometry.segment_bytes;
  }
}

TEST(PeerSegmentsTest, HeaderThatDoesNotFitIsRefused) {
  struct Case {
    const char* what;
    std::size_t offset;
    std::uint64_t value;
    const char* why;
  };
  const Case cases[] = {
      {"magic", 0, 0, "magic"},
      {"version", 8, 2, "version 2"},
      {"no segments", 16, 0, "not 1 to"},
      {"more segments", 16, 3, "bytes, not"},
      {"segments that wrap around", 16, UINT64_MAX, "not 1 to"},
      {"tiny segments", 24, 64, "not 1 to"},
      {"larger segments", 24, 4096, "bytes, not"},
      {"segments of all memory", 24, UINT64_MAX, "not 1 to"},
  };
  for (const Case& c : cases) {
    const auto memory = SegmentMemory::Create({.count = 2, .segment_bytes = 1024});
    ASSERT_EQ(::pwrite(memory->fd(), &c.value, sizeof c.value, static_cast<off_t>(c.offset)), 8);
    const auto peer = PeerSegments::Adopt(Duplicate(memory->fd()), kMiB);
    EXPECT_EQ(peer.status().code(), absl::StatusCode::kInvalidArgument) << c.what;
    EXPECT_THAT(Message(peer.status()), HasSubstr(c.why)) << c.what;
  }
  const auto memory = SegmentMemory::Create({.count = 2, .segment_bytes = 1024});
  EXPECT_FALSE(PeerSegments::Adopt(Duplicate(memory->fd()), 4096).ok()) << "more than is allowed";
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
