#include "ipc_proxy_cache/shm/index_writer.h"

#include <memory>
#include <new>
#include <utility>

#include "common/base/check.h"
#include "ipc_proxy_cache/shm/record.h"

namespace ds::ipc_proxy_cache {
namespace {

KeyHash HashOf(const IndexSlot& slot) {
  return {.low = slot.hash_low.load(std::memory_order_relaxed),
          .high = slot.hash_high.load(std::memory_order_relaxed)};
}

/// The writer's half of the seqlock. Each word is stored with release, so whoever reads one of them
/// also sees the odd sequence; the even one is stored last, so whoever reads that sees all of them.
void Write(IndexSlot& slot, const KeyHash& hash, const IndexEntry& entry) {
  const std::uint64_t sequence = slot.sequence.load(std::memory_order_relaxed);
  slot.sequence.store(sequence + 1, std::memory_order_relaxed);
  slot.hash_low.store(hash.low, std::memory_order_release);
  slot.hash_high.store(hash.high, std::memory_order_release);
  slot.memfd.store(entry.memfd, std::memory_order_release);
  slot.place.store(entry.record_offset / kRecordAlignment | std::uint64_t{entry.flags} << 32U,
                   std::memory_order_release);
  slot.fresh_until.store(static_cast<std::uint64_t>(entry.fresh_until_ns),
                         std::memory_order_release);
  slot.stale_until.store(static_cast<std::uint64_t>(entry.stale_until_ns),
                         std::memory_order_release);
  slot.age_zero.store(static_cast<std::uint64_t>(entry.age_zero_ns), std::memory_order_release);
  slot.sequence.store(sequence + 2, std::memory_order_release);
}

}  // namespace

absl::StatusOr<IndexWriter> IndexWriter::Create(const IndexGeometry& geometry,
                                                const HashSecret& secret) {
  RETURN_IF_ERROR(geometry.Validate());
  ASSIGN_OR_RETURN(shm::Memfd memfd, shm::Memfd::Create("getfile-index", geometry.Bytes(),
                                                        shm::Memfd::Access::kRead));
  return IndexWriter(std::move(memfd), geometry, secret);
}

IndexWriter::IndexWriter(shm::Memfd memfd, const IndexGeometry& geometry, const HashSecret& secret)
    : memfd_(std::move(memfd)), geometry_(geometry) {
  std::byte* const memory = memfd_.writable_bytes().data();
  header_ = new (memory) IndexHeader{.magic = IndexHeader::kMagic,
                                     .version = IndexHeader::kVersion,
                                     .slot_count = geometry.slot_count,
                                     .live_table_length = geometry.live_table_length,
                                     .secret = secret,
                                     .retirements = 0};
  auto* const live_table = reinterpret_cast<SharedWord*>(memory + geometry.LiveTableOffset());
  auto* const slots = reinterpret_cast<IndexSlot*>(memory + geometry.SlotsOffset());
  // Zeros to zeros; it also touches each page, so that no lookup meets one that is not there yet.
  std::uninitialized_value_construct_n(live_table, geometry.live_table_length);
  std::uninitialized_value_construct_n(slots, geometry.slot_count);
  live_table_ = {live_table, geometry.live_table_length};
  slots_ = {slots, geometry.slot_count};
}

IndexSlot* IndexWriter::FindSlot(const KeyHash& hash) const {
  IndexSlot* const set = &slots_[SetOf(hash, geometry_.slot_count) * kIndexSetSlots];
  for (std::size_t i = 0; i < kIndexSetSlots; ++i) {
    IndexSlot& slot = set[(FirstSlotOf(hash) + i) % kIndexSetSlots];
    if (HashOf(slot) == hash) return &slot;
  }
  return nullptr;
}

IndexWriter::PutResult IndexWriter::Put(const KeyHash& hash, const IndexEntry& entry) {
  CHECK(hash != KeyHash{});
  CHECK(entry.memfd != 0);
  CHECK(entry.record_offset % kRecordAlignment == 0 &&
        entry.record_offset / kRecordAlignment <= UINT32_MAX);
  if (IndexSlot* const slot = FindSlot(hash); slot != nullptr) {
    Write(*slot, hash, entry);
    return PutResult::kUpdated;
  }
  // An empty slot is searched in the order in which readers look: KeyHash{} would begin at 0.
  IndexSlot* const set = &slots_[SetOf(hash, geometry_.slot_count) * kIndexSetSlots];
  for (std::size_t i = 0; i < kIndexSetSlots; ++i) {
    IndexSlot& slot = set[(FirstSlotOf(hash) + i) % kIndexSetSlots];
    if (HashOf(slot) != KeyHash{}) continue;
    Write(slot, hash, entry);
    return PutResult::kInserted;
  }
  return PutResult::kSetFull;
}

bool IndexWriter::Erase(const KeyHash& hash) {
  IndexSlot* const slot = FindSlot(hash);
  if (slot == nullptr) return false;
  Write(*slot, KeyHash{}, IndexEntry{});
  return true;
}

std::optional<IndexEntry> IndexWriter::Find(const KeyHash& hash) const {
  const IndexSlot* const slot = FindSlot(hash);
  if (slot == nullptr) return std::nullopt;
  return LoadEntry(*slot, std::memory_order_relaxed);
}

std::vector<KeyHash> IndexWriter::Occupants(const KeyHash& hash) const {
  std::vector<KeyHash> occupants;
  const std::size_t first = SetOf(hash, geometry_.slot_count) * kIndexSetSlots;
  for (const IndexSlot& slot : slots_.subspan(first, kIndexSetSlots)) {
    if (const KeyHash occupant = HashOf(slot); occupant != KeyHash{}) occupants.push_back(occupant);
  }
  return occupants;
}

SharedWord& IndexWriter::LivePosition(std::uint64_t id) const {
  return live_table_[id % geometry_.live_table_length];
}

bool IndexWriter::HasRoomFor(std::uint64_t id) const {
  return LivePosition(id).load(std::memory_order_relaxed) == 0;
}

void IndexWriter::AddLive(std::uint64_t id) {
  CHECK(id != 0 && HasRoomFor(id));
  LivePosition(id).store(id, std::memory_order_release);
}

void IndexWriter::Retire(std::uint64_t id) {
  SharedWord& position = LivePosition(id);
  CHECK(position.load(std::memory_order_relaxed) == id);
  position.store(0, std::memory_order_release);
  header_->retirements.fetch_add(1, std::memory_order_release);
}

}  // namespace ds::ipc_proxy_cache
