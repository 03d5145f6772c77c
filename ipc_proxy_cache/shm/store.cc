#include "ipc_proxy_cache/shm/store.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "common/base/check.h"

namespace ds::ipc_proxy_cache {
namespace {

/// One slot for 2 KiB, and twice as many positions as there can be live memfds: then an id finds
/// its position free soon, since ids are counted up.
IndexGeometry IndexFor(std::uint64_t memory_bytes) {
  return {.slot_count = std::bit_floor(memory_bytes / 2048),
          .live_table_length = 2 * std::bit_ceil(std::uint64_t{kMemfdsMax})};
}

ObjectSize SizeOf(const StoreObject& object, std::uint64_t body_bytes) {
  return {.record_bytes = RecordBytes(object.key.size(), object.fields.size()),
          .body_bytes = body_bytes};
}

IndexEntry EntryFor(const StorePlace& place, const ObjectTimes& times) {
  return {.memfd = place.memfd,
          .record_offset = place.record_offset,
          .flags = times.flags,
          .fresh_until_ns = times.fresh_until_ns,
          .stale_until_ns = times.stale_until_ns,
          .age_zero_ns = times.age_zero_ns};
}

}  // namespace

absl::StatusOr<Store> Store::Create(std::uint64_t memory_bytes, const HashSecret& secret) {
  // Checked before anything is made of that size; the index is checked with its own below.
  RETURN_IF_ERROR(StoreGeometry::For(memory_bytes, 0).status());
  const IndexGeometry index_geometry = IndexFor(memory_bytes);
  ASSIGN_OR_RETURN(const StoreGeometry geometry,
                   StoreGeometry::For(memory_bytes, index_geometry.Bytes()));
  ASSIGN_OR_RETURN(IndexWriter index, IndexWriter::Create(index_geometry, secret));
  return Store(std::move(index), geometry);
}

std::uint64_t Store::Footprint(std::size_t key_bytes, std::size_t fields_bytes,
                               std::uint64_t body_bytes) const {
  return layout_.Footprint(
      {.record_bytes = RecordBytes(key_bytes, fields_bytes), .body_bytes = body_bytes});
}

/// Live from now on. Nothing if the kernel has none.
std::optional<std::uint64_t> Store::CreateMemfd(std::uint64_t bytes) {
  auto memfd = shm::Memfd::Create("getfile-cache", bytes, shm::Memfd::Access::kRead);
  if (!memfd.ok()) return std::nullopt;
  do {
    ++last_memfd_;
  } while (!index_.HasRoomFor(last_memfd_));
  index_.AddLive(last_memfd_);
  memfds_.emplace(last_memfd_, *std::move(memfd));
  return last_memfd_;
}

bool Store::OpenChunk() {
  const std::optional<std::uint64_t> memfd = CreateMemfd(layout_.geometry().chunk_bytes);
  if (!memfd) return false;
  if (const auto retired = layout_.OpenChunk(*memfd)) Retire(*retired);
  return true;
}

/// Moves the live objects of a chunk; false if the kernel gives no memfd, after some of them.
bool Store::Clean(std::uint64_t chunk) {
  // The source stays mapped although its last object retires it.
  const std::byte* const source = memfds_.at(chunk).bytes().data();
  for (const PlacedObject& object : layout_.LiveObjects(chunk)) {
    if (layout_.NextStepToMove(object.size) == StoreLayout::Step::kOpenChunk && !OpenChunk()) {
      return false;
    }
    const auto record =
        Record::Read({source, layout_.geometry().chunk_bytes}, object.place.record_offset);
    CHECK(record.ok(), "only the cache can have written it");
    const StoreLayout::Moved moved = layout_.Move(object);
    Write({.hash = record->hash(),
           .key = record->key(),
           .fields = record->fields(),
           .body = record->Body()},
          {.place = moved.to, .size = object.size}, object.size.body_bytes);
    std::optional<IndexEntry> entry = index_.Find(record->hash());
    CHECK(entry && entry->memfd == chunk && entry->record_offset == object.place.record_offset);
    entry->memfd = moved.to.memfd;
    entry->record_offset = moved.to.record_offset;
    index_.Put(record->hash(), *entry);
    if (moved.retired) Retire(chunk);
  }
  return true;
}

std::optional<StorePlace> Store::PlaceSmall(const ObjectSize& size) {
  for (int cleaned = 0;;) {
    switch (layout_.NextStepToAppend(size, holdings_.retired_bytes())) {
      case StoreLayout::Step::kPlace:
        return layout_.Append(size);
      case StoreLayout::Step::kOpenChunk:
        if (!OpenChunk()) return std::nullopt;
        break;
      case StoreLayout::Step::kClean:
        if (++cleaned > kCleanedMax || !Clean(*layout_.ChunkToClean())) return std::nullopt;
        break;
      case StoreLayout::Step::kNoRoom:
        return std::nullopt;
    }
  }
}

std::optional<StorePlace> Store::PlaceOwn(const ObjectSize& size) {
  for (int cleaned = 0;;) {
    switch (layout_.NextStepToCreate(size, holdings_.retired_bytes())) {
      case StoreLayout::Step::kPlace: {
        const std::optional<std::uint64_t> memfd = CreateMemfd(StoreLayout::OwnBytes(size));
        if (!memfd) return std::nullopt;
        return layout_.CreateOwn(*memfd, size);
      }
      case StoreLayout::Step::kClean:
        if (++cleaned > kCleanedMax || !Clean(*layout_.ChunkToClean())) return std::nullopt;
        break;
      case StoreLayout::Step::kOpenChunk:
      case StoreLayout::Step::kNoRoom:
        return std::nullopt;
    }
  }
}

void Store::Write(const StoreObject& object, const PlacedObject& placed, std::uint64_t filled) {
  const std::span<std::byte> memory = memfds_.at(placed.place.memfd).writable_bytes();
  std::ranges::copy(object.body, memory.subspan(placed.place.body_offset).begin());
  WriteRecord(memory, placed.place.record_offset,
              {.hash = object.hash,
               .key = object.key,
               .fields = object.fields,
               .body_offset = placed.place.body_offset,
               .body_bytes = placed.size.body_bytes,
               .filled = filled});
}

bool Store::SetIsFull(const KeyHash& hash) const {
  return !index_.Find(hash) && index_.Occupants(hash).size() == kIndexSetSlots;
}

/// In place of what the key had.
void Store::Publish(const KeyHash& hash, const StorePlace& place, const ObjectTimes& times) {
  const std::optional<IndexEntry> old = index_.Find(hash);
  CHECK(index_.Put(hash, EntryFor(place, times)) != IndexWriter::PutResult::kSetFull);
  if (old) Drop({.memfd = old->memfd, .record_offset = old->record_offset});
}

Store::Result Store::Insert(const StoreObject& object, const ObjectTimes& times) {
  const absl::Cleanup unmap = [this] { dropped_.clear(); };
  if (SetIsFull(object.hash)) return Result::kSetFull;
  const ObjectSize size = SizeOf(object, object.body.size());
  const std::optional<StorePlace> place = layout_.IsSmall(size) ? PlaceSmall(size) : PlaceOwn(size);
  if (!place) return Result::kNoRoom;
  Write(object, {.place = *place, .size = size}, size.body_bytes);
  Publish(object.hash, *place, times);
  return Result::kStored;
}

std::optional<Record> Store::Read(const KeyHash& hash) const {
  const std::optional<IndexEntry> entry = index_.Find(hash);
  if (!entry) return std::nullopt;
  return *Record::Read(memfds_.at(entry->memfd).bytes(), entry->record_offset);
}

bool Store::Update(const KeyHash& hash, const ObjectTimes& times) {
  const std::optional<IndexEntry> entry = index_.Find(hash);
  if (!entry) return false;
  index_.Put(hash, EntryFor({.memfd = entry->memfd, .record_offset = entry->record_offset}, times));
  return true;
}

bool Store::Evict(const KeyHash& hash) {
  const absl::Cleanup unmap = [this] { dropped_.clear(); };
  const std::optional<IndexEntry> entry = index_.Find(hash);
  if (!entry) return false;
  index_.Erase(hash);
  Drop({.memfd = entry->memfd, .record_offset = entry->record_offset});
  return true;
}

std::optional<std::uint64_t> Store::BeginFill(const StoreObject& object, std::uint64_t body_bytes) {
  CHECK(object.body.empty());
  const absl::Cleanup unmap = [this] { dropped_.clear(); };
  const ObjectSize size = SizeOf(object, body_bytes);
  const std::optional<StorePlace> place = PlaceOwn(size);
  if (!place) return std::nullopt;
  const PlacedObject placed{.place = *place, .size = size};
  Write(object, placed, 0);
  fills_.emplace(place->memfd, Filling{.object = placed, .hash = object.hash});
  return place->memfd;
}

std::uint64_t Store::Filled(std::uint64_t fill) const {
  return Record::Read(memfds_.at(fill).bytes(), 0)->Filled();
}

std::span<std::byte> Store::FillSpace(std::uint64_t fill) const {
  CHECK(fills_.contains(fill));
  const PlacedObject& object = fills_.at(fill).object;
  const std::uint64_t filled = Filled(fill);
  return memfds_.at(fill).writable_bytes().subspan(object.place.body_offset + filled,
                                                   object.size.body_bytes - filled);
}

void Store::RaiseFill(std::uint64_t fill, std::uint64_t bytes) {
  CHECK(fills_.contains(fill));
  RaiseFilled(memfds_.at(fill).writable_bytes(), 0, Filled(fill) + bytes);
}

Store::Result Store::PublishFill(std::uint64_t fill, const ObjectTimes& times) {
  const Filling filling = fills_.at(fill);
  CHECK(Filled(fill) == filling.object.size.body_bytes);
  const absl::Cleanup unmap = [this] { dropped_.clear(); };
  if (SetIsFull(filling.hash)) return Result::kSetFull;
  fills_.erase(fill);
  if (!layout_.IsSmall(filling.object.size)) {
    Publish(filling.hash, filling.object.place, times);
    return Result::kStored;
  }
  const auto record = Record::Read(memfds_.at(fill).bytes(), 0);
  const std::optional<StorePlace> place = PlaceSmall(filling.object.size);
  if (place) {
    Write({.hash = filling.hash,
           .key = record->key(),
           .fields = record->fields(),
           .body = record->Body()},
          {.place = *place, .size = filling.object.size}, filling.object.size.body_bytes);
    Publish(filling.hash, *place, times);
  }
  Drop(filling.object.place);
  return place ? Result::kStored : Result::kNoRoom;
}

void Store::AbandonFill(std::uint64_t fill) {
  const absl::Cleanup unmap = [this] { dropped_.clear(); };
  CHECK(fills_.erase(fill) == 1);
  Drop({.memfd = fill});
}

std::optional<Store::LiveMemfd> Store::Find(std::uint64_t memfd) const {
  const auto live = memfds_.find(memfd);
  if (live == memfds_.end()) return std::nullopt;
  return LiveMemfd{.fd = live->second.fd(), .chunk = layout_.IsChunk(memfd)};
}

/// REQUIRES: the index does not point there any more.
void Store::Drop(const StorePlace& place) {
  if (layout_.Drop(place.memfd, place.record_offset)) Retire(place.memfd);
}

void Store::Retire(std::uint64_t memfd) {
  index_.Retire(memfd);
  const auto retired = memfds_.find(memfd);
  const std::vector<std::uint64_t> holders = holdings_.Retire(memfd, retired->second.size());
  links_to_tell_.insert(links_to_tell_.end(), holders.begin(), holders.end());
  dropped_.push_back(std::move(retired->second));
  memfds_.erase(retired);
}

std::vector<std::uint64_t> Store::TakeLinksToTell() {
  std::vector<std::uint64_t> links = std::exchange(links_to_tell_, {});
  std::ranges::sort(links);
  links.erase(std::unique(links.begin(), links.end()), links.end());
  return links;
}

}  // namespace ds::ipc_proxy_cache
