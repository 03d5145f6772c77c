#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/base/status.h"
#include "ipc_proxy_cache/core/key_hash.h"
#include "ipc_proxy_cache/core/store_layout.h"

// The index as it lies in shared memory (ARCHITECTURE.md, "The index"): a header page, the table of
// live memfds, the slots. What changes are 64-bit atomics, which are free of addresses and locks,
// so that one process can write what others have mapped read-only.

namespace ds::ipc_proxy_cache {

using SharedWord = std::atomic<std::uint64_t>;
static_assert(SharedWord::is_always_lock_free && sizeof(SharedWord) == 8);

/// 192 random bytes, made anew by each cache, without which nobody can aim at a hash.
using HashSecret = std::array<std::byte, 192>;

absl::StatusOr<HashSecret> RandomHashSecret();

/// XXH3, 128 bit; never 0, 0.
KeyHash HashKey(const HashSecret& secret, std::string_view key);

/// What the index says about a key. A value.
struct IndexEntry {
  static constexpr std::uint32_t kNegative = 1;        ///< a record of 404, 403 or 410
  static constexpr std::uint32_t kMustRevalidate = 2;  ///< never stale (RFC 9111, 5.2.2.2)

  std::uint64_t memfd = 0;          ///< its id, never 0
  std::uint64_t record_offset = 0;  ///< bytes; a multiple of kRecordAlignment, below 2^38
  std::uint32_t flags = 0;
  std::int64_t fresh_until_ns = 0;  ///< CLOCK_MONOTONIC
  std::int64_t stale_until_ns = 0;  ///< may be served while somebody revalidates
  std::int64_t age_zero_ns = 0;     ///< when its Age was 0

  friend bool operator==(const IndexEntry&, const IndexEntry&) = default;
};

/// One cache line.
struct alignas(64) IndexSlot {
  SharedWord sequence;  ///< odd while the cache writes
  SharedWord hash_low;  ///< 0 with hash_high 0: empty
  SharedWord hash_high;
  SharedWord memfd;
  SharedWord place;  ///< record offset / 64, flags << 32
  SharedWord fresh_until;
  SharedWord stale_until;
  SharedWord age_zero;
};
static_assert(sizeof(IndexSlot) == 64);

inline constexpr std::size_t kIndexSetSlots = 8;
struct IndexSet {
  std::array<IndexSlot, kIndexSetSlots> slots;
};

struct alignas(4096) IndexHeader {
  static constexpr std::uint64_t kMagic = 0x3158444946475344;  // "DSGFIDX1"
  static constexpr std::uint64_t kVersion = 1;

  std::uint64_t magic;
  std::uint64_t version;
  std::uint64_t slot_count;         ///< a power of two, at least 8
  std::uint64_t live_table_length;  ///< a power of two, at least 8
  HashSecret secret;
  alignas(64) SharedWord retirements;  ///< grows after ids have left the live table
};
static_assert(sizeof(IndexHeader) == 4096);

/// The entry in `slot`, word by word: a snapshot only if the sequence says so.
inline IndexEntry LoadEntry(const IndexSlot& slot, std::memory_order order) {
  const std::uint64_t memfd = slot.memfd.load(order);
  const std::uint64_t place = slot.place.load(order);
  return {.memfd = memfd,
          .record_offset = (place & 0xffff'ffffU) * kRecordAlignment,
          .flags = static_cast<std::uint32_t>(place >> 32U),
          .fresh_until_ns = static_cast<std::int64_t>(slot.fresh_until.load(order)),
          .stale_until_ns = static_cast<std::int64_t>(slot.stale_until.load(order)),
          .age_zero_ns = static_cast<std::int64_t>(slot.age_zero.load(order))};
}

/// How large an index is. A value.
struct IndexGeometry {
  static constexpr std::uint64_t kMax = std::uint64_t{1} << 32U;

  std::uint64_t slot_count = 0;
  std::uint64_t live_table_length = 0;

  /// kInvalidArgument unless both are powers of two from 8 to kMax.
  absl::Status Validate() const;
  /// Of the whole memfd: header, live table, slots. REQUIRES: valid.
  std::size_t Bytes() const { return SlotsOffset() + slot_count * sizeof(IndexSlot); }
  std::size_t LiveTableOffset() const { return sizeof(IndexHeader); }
  std::size_t SlotsOffset() const {
    return LiveTableOffset() + live_table_length * sizeof(SharedWord);
  }
};

/// Where a key may stand: its set, and the slot of it that is looked at first.
inline std::size_t SetOf(const KeyHash& hash, std::uint64_t slot_count) {
  return hash.low % (slot_count / kIndexSetSlots);
}
inline std::size_t FirstSlotOf(const KeyHash& hash) { return hash.high % kIndexSetSlots; }

}  // namespace ds::ipc_proxy_cache
