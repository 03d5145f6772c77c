#include "ipc_proxy_cache/core/store_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "common/base/check.h"

namespace ds::ipc_proxy_cache {
namespace {

constexpr std::uint64_t RoundUp(std::uint64_t bytes, std::uint64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

/// What an object takes of a chunk from the bottom, and from the top.
struct ChunkBytes {
  std::uint64_t bottom;
  std::uint64_t top;
};
ChunkBytes BytesInChunk(const ObjectSize& size) {
  if (size.body_bytes > kCopiedBodyMax) {
    return {size.record_bytes, RoundUp(size.body_bytes, kPageBytes)};
  }
  return {size.record_bytes + RoundUp(size.body_bytes, kRecordAlignment), 0};
}
std::uint64_t TotalInChunk(const ObjectSize& size) {
  const ChunkBytes bytes = BytesInChunk(size);
  return bytes.bottom + bytes.top;
}

}  // namespace

absl::StatusOr<StoreGeometry> StoreGeometry::For(std::uint64_t memory_bytes,
                                                 std::uint64_t index_bytes) {
  if (memory_bytes < kMemoryMin || memory_bytes > kMemoryMax) {
    return InvalidArgument(fmt::format("lay out a store of {} bytes: not {} to {}", memory_bytes,
                                       kMemoryMin, kMemoryMax));
  }
  if (index_bytes > memory_bytes / 16) {
    return InvalidArgument(
        fmt::format("lay out a store of {} bytes: its index takes {}", memory_bytes, index_bytes));
  }
  constexpr std::uint64_t kChunkMax = std::uint64_t{64} << 20U;
  return StoreGeometry{.memory_bytes = memory_bytes,
                       .index_bytes = index_bytes,
                       .chunk_bytes = std::min(std::bit_floor(memory_bytes / 64), kChunkMax)};
}

std::uint64_t StoreLayout::OwnBytes(const ObjectSize& size) {
  return RoundUp(size.record_bytes, kPageBytes) + RoundUp(size.body_bytes, kPageBytes);
}

std::uint64_t StoreLayout::Footprint(const ObjectSize& size) const {
  return kObjectOverhead + (IsSmall(size) ? TotalInChunk(size) : OwnBytes(size));
}

bool StoreLayout::FitsOpenChunk(const ObjectSize& size) const {
  if (!open_) return false;
  const Chunk& chunk = chunks_.at(*open_);
  // A record never lies in a page that a body for sendfile has: top is a page boundary.
  return TotalInChunk(size) <= chunk.top - chunk.bottom;
}

bool StoreLayout::FitsWithRetired(std::uint64_t bytes, std::uint64_t retired_bytes) const {
  return used_bytes_ + bytes + retired_bytes <= geometry_.memory_bytes + geometry_.memory_bytes / 4;
}

StoreLayout::Step StoreLayout::CleanOrGiveUp(std::uint64_t retired_bytes) const {
  // Cleaning may need a chunk before it gives one back, and what it gives back may still be held.
  if (!FitsWithRetired(geometry_.chunk_bytes, retired_bytes)) return Step::kNoRoom;
  return ChunkToClean() ? Step::kClean : Step::kNoRoom;
}

StoreLayout::Step StoreLayout::NextStepToAppend(const ObjectSize& size,
                                                std::uint64_t retired_bytes) const {
  CHECK(IsSmall(size));
  const bool overhead_fits = used_bytes_ + kObjectOverhead <= geometry_.UsableBytes();
  if (FitsOpenChunk(size) && overhead_fits) return Step::kPlace;
  if (!FitsOpenChunk(size) && FitsWithRetired(geometry_.chunk_bytes, retired_bytes) &&
      used_bytes_ + kObjectOverhead + geometry_.chunk_bytes <= geometry_.UsableBytes()) {
    return Step::kOpenChunk;
  }
  return CleanOrGiveUp(retired_bytes);
}

StoreLayout::Step StoreLayout::NextStepToCreate(const ObjectSize& size,
                                                std::uint64_t retired_bytes) const {
  const std::uint64_t bytes = OwnBytes(size);
  if (memfds() >= kMemfdsMax || retired_bytes > geometry_.memory_bytes / 4 ||
      bytes > geometry_.memory_bytes || !FitsWithRetired(bytes, retired_bytes)) {
    return Step::kNoRoom;
  }
  if (used_bytes_ + kObjectOverhead + bytes <= geometry_.UsableBytes()) return Step::kPlace;
  return CleanOrGiveUp(retired_bytes);
}

StoreLayout::Step StoreLayout::NextStepToMove(const ObjectSize& size) const {
  return FitsOpenChunk(size) ? Step::kPlace : Step::kOpenChunk;
}

std::optional<std::uint64_t> StoreLayout::OpenChunk(std::uint64_t memfd) {
  CHECK(memfd != 0 && !chunks_.contains(memfd) && !owns_.contains(memfd));
  std::optional<std::uint64_t> retired;
  if (open_ && chunks_.at(*open_).live_objects == 0) {
    retired = open_;
    chunks_.erase(*open_);
    used_bytes_ -= geometry_.chunk_bytes;
  }
  chunks_[memfd].top = geometry_.chunk_bytes;
  used_bytes_ += geometry_.chunk_bytes;
  open_ = memfd;
  return retired;
}

StorePlace StoreLayout::Take(const ObjectSize& size) {
  CHECK(size.record_bytes > 0 && size.record_bytes % kRecordAlignment == 0);
  CHECK(IsSmall(size) && FitsOpenChunk(size));
  Chunk& chunk = chunks_.at(*open_);
  const ChunkBytes bytes = BytesInChunk(size);
  StorePlace place{.memfd = *open_, .record_offset = chunk.bottom};
  chunk.bottom += bytes.bottom;
  chunk.top -= bytes.top;
  place.body_offset = bytes.top > 0 ? chunk.top : place.record_offset + size.record_bytes;
  chunk.live_bytes += bytes.bottom + bytes.top;
  ++chunk.live_objects;
  chunk.entries.push_back({.object = {.place = place, .size = size}});
  return place;
}

StorePlace StoreLayout::Append(const ObjectSize& size) {
  const StorePlace place = Take(size);
  ++objects_;
  used_bytes_ += kObjectOverhead;
  CHECK(used_bytes_ <= geometry_.UsableBytes());
  return place;
}

StorePlace StoreLayout::CreateOwn(std::uint64_t memfd, const ObjectSize& size) {
  CHECK(memfd != 0 && !chunks_.contains(memfd) && !owns_.contains(memfd));
  CHECK(size.record_bytes > 0 && size.record_bytes % kRecordAlignment == 0);
  const StorePlace place{.memfd = memfd, .body_offset = RoundUp(size.record_bytes, kPageBytes)};
  owns_.emplace(memfd, PlacedObject{.place = place, .size = size});
  ++objects_;
  used_bytes_ += kObjectOverhead + OwnBytes(size);
  CHECK(used_bytes_ <= geometry_.UsableBytes());
  return place;
}

const StoreLayout::Entry& StoreLayout::EntryAt(std::uint64_t chunk,
                                               std::uint64_t record_offset) const {
  const std::vector<Entry>& entries = chunks_.at(chunk).entries;
  const auto entry = std::ranges::lower_bound(
      entries, record_offset, {}, [](const Entry& e) { return e.object.place.record_offset; });
  CHECK(entry != entries.end() && entry->object.place.record_offset == record_offset &&
        entry->alive);
  return *entry;
}

bool StoreLayout::DropInChunk(std::uint64_t memfd, std::uint64_t record_offset) {
  auto& entry = const_cast<Entry&>(EntryAt(memfd, record_offset));
  entry.alive = false;
  Chunk& chunk = chunks_.at(memfd);
  chunk.live_bytes -= TotalInChunk(entry.object.size);
  --chunk.live_objects;
  if (chunk.live_objects > 0 || open_ == memfd) return false;
  chunks_.erase(memfd);
  used_bytes_ -= geometry_.chunk_bytes;
  return true;
}

bool StoreLayout::Drop(std::uint64_t memfd, std::uint64_t record_offset) {
  --objects_;
  used_bytes_ -= kObjectOverhead;
  if (chunks_.contains(memfd)) return DropInChunk(memfd, record_offset);
  const auto own = owns_.find(memfd);
  CHECK(own != owns_.end() && record_offset == 0);
  used_bytes_ -= OwnBytes(own->second.size);
  owns_.erase(own);
  return true;
}

std::optional<std::uint64_t> StoreLayout::ChunkToClean() const {
  std::optional<std::uint64_t> emptiest;
  std::uint64_t least = geometry_.chunk_bytes - geometry_.chunk_bytes / 16 + 1;
  for (const auto& [memfd, chunk] : chunks_) {
    if (memfd == open_ || chunk.live_bytes >= least) continue;
    least = chunk.live_bytes;
    emptiest = memfd;
  }
  return emptiest;
}

std::vector<PlacedObject> StoreLayout::LiveObjects(std::uint64_t chunk) const {
  std::vector<PlacedObject> objects;
  for (const Entry& entry : chunks_.at(chunk).entries) {
    if (entry.alive) objects.push_back(entry.object);
  }
  return objects;
}

StoreLayout::Moved StoreLayout::Move(const PlacedObject& object) {
  CHECK(object.place.memfd != open_);
  CHECK(EntryAt(object.place.memfd, object.place.record_offset).object == object);
  const StorePlace to = Take(object.size);
  const bool retired = DropInChunk(object.place.memfd, object.place.record_offset);
  CHECK(used_bytes_ <= geometry_.memory_bytes);
  return {.to = to, .retired = retired};
}

PlacedObject StoreLayout::Find(std::uint64_t memfd, std::uint64_t record_offset) const {
  if (chunks_.contains(memfd)) return EntryAt(memfd, record_offset).object;
  const auto own = owns_.find(memfd);
  CHECK(own != owns_.end() && record_offset == 0);
  return own->second;
}

}  // namespace ds::ipc_proxy_cache
