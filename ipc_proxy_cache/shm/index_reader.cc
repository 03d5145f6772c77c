#include "ipc_proxy_cache/shm/index_reader.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

namespace ds::ipc_proxy_cache {
namespace {

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

bool Holds(const IndexSlot& slot, const KeyHash& hash) {
  return slot.hash_low.load(std::memory_order_acquire) == hash.low &&
         slot.hash_high.load(std::memory_order_acquire) == hash.high;
}

/// The reader's half of the seqlock: nothing if the slot holds another key by now.
std::optional<IndexEntry> Snapshot(const IndexSlot& slot, const KeyHash& hash) {
  for (int attempt = 0; attempt < IndexView::kAttemptsMax; ++attempt) {
    const std::uint64_t sequence = slot.sequence.load(std::memory_order_acquire);
    if (sequence % 2 == 0) {
      const bool holds = Holds(slot, hash);
      const IndexEntry entry = LoadEntry(slot, std::memory_order_acquire);
      // A word of a later write would have made that write's odd sequence visible as well.
      if (slot.sequence.load(std::memory_order_relaxed) == sequence) {
        return holds ? std::optional(entry) : std::nullopt;
      }
    }
    Pause();
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<IndexView> IndexView::Over(std::span<const std::byte> memory) {
  if (memory.size() < sizeof(IndexHeader)) {
    return InvalidArgument(fmt::format("read an index: {} bytes", memory.size()));
  }
  const auto* header = reinterpret_cast<const IndexHeader*>(memory.data());
  if (header->magic != IndexHeader::kMagic || header->version != IndexHeader::kVersion) {
    return InvalidArgument(fmt::format("read an index: magic {:#x}, version {}, not {:#x}, {}",
                                       header->magic, header->version, IndexHeader::kMagic,
                                       IndexHeader::kVersion));
  }
  const IndexGeometry geometry{header->slot_count, header->live_table_length};
  RETURN_IF_ERROR(geometry.Validate());
  if (memory.size() != geometry.Bytes()) {
    return InvalidArgument(
        fmt::format("read an index: {} bytes, not {}", memory.size(), geometry.Bytes()));
  }
  return IndexView(memory, geometry);
}

IndexView::IndexView(std::span<const std::byte> memory, const IndexGeometry& geometry)
    : header_(reinterpret_cast<const IndexHeader*>(memory.data())) {
  secret_ = header_->secret;
  live_table_ = {reinterpret_cast<const SharedWord*>(memory.data() + geometry.LiveTableOffset()),
                 geometry.live_table_length};
  slots_ = {reinterpret_cast<const IndexSlot*>(memory.data() + geometry.SlotsOffset()),
            geometry.slot_count};
}

std::optional<IndexEntry> IndexView::Find(const KeyHash& hash) const {
  const IndexSlot* const set = &slots_[SetOf(hash, slots_.size()) * kIndexSetSlots];
  for (std::size_t i = 0; i < kIndexSetSlots; ++i) {
    const IndexSlot& slot = set[(FirstSlotOf(hash) + i) % kIndexSetSlots];
    if (!Holds(slot, hash)) continue;
    if (const std::optional<IndexEntry> entry = Snapshot(slot, hash)) return entry;
  }
  return std::nullopt;
}

absl::StatusOr<IndexReader> IndexReader::Adopt(UniqueFd fd) {
  ASSIGN_OR_RETURN(shm::Memfd memfd,
                   shm::Memfd::Adopt(std::move(fd), shm::Memfd::Access::kRead,
                                     {.min = sizeof(IndexHeader),
                                      .max = std::numeric_limits<std::size_t>::max()}));
  ASSIGN_OR_RETURN(const IndexView view, IndexView::Over(memfd.bytes()));
  return IndexReader(std::move(memfd), view);
}

}  // namespace ds::ipc_proxy_cache
