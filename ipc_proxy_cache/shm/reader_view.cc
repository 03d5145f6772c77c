#include "ipc_proxy_cache/shm/reader_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "ipc_proxy_cache/core/store_layout.h"

namespace ds::ipc_proxy_cache {

/// One mapped memfd, and the objects in it that are referred to.
struct CachedObject::Mapping {
  std::uint64_t id;
  ReaderView::Kind kind;
  std::optional<shm::Memfd> memfd;                                           ///< none for kCopied
  std::unordered_map<std::uint64_t, std::weak_ptr<CachedObject>> objects{};  ///< by offset
};

CachedObject::CachedObject(std::shared_ptr<Mapping> mapping, std::uint64_t offset,
                           const Record& record)
    : mapping_(std::move(mapping)), offset_(offset), record_(record) {}

std::uint64_t CachedObject::memfd() const { return mapping_->id; }

CachedObject::~CachedObject() {
  if (mapping_ != nullptr) mapping_->objects.erase(offset_);
}

std::optional<CachedObject::File> CachedObject::SendfilePart() const {
  if (mapping_ == nullptr || head_only_) return std::nullopt;
  // Only what has pages of its own: others share theirs with bytes that are yet to be written.
  if (mapping_->kind == ReaderView::Kind::kChunk && body_bytes() <= kCopiedBodyMax) {
    return std::nullopt;
  }
  const std::uint64_t filled = record_.Filled();
  const std::uint64_t bytes = filled == body_bytes() ? filled : filled / kPageBytes * kPageBytes;
  return File{.fd = mapping_->memfd->fd(), .body_offset = record_.body_offset(), .bytes = bytes};
}

void CachedObject::CopyOut() {
  const std::string_view old_key = key();
  const std::string_view old_fields = fields();
  const std::span<const std::byte> old_body = Body();
  const std::uint64_t record_bytes = RecordBytes(old_key.size(), old_fields.size());
  std::vector<std::uint64_t> copy((record_bytes + old_body.size() + 7) / 8);
  const auto memory = std::as_writable_bytes(std::span(copy));
  WriteRecord(memory, 0,
              {.hash = record_.hash(),
               .key = old_key,
               .fields = old_fields,
               .body_offset = record_bytes,
               .body_bytes = old_body.size(),
               .filled = old_body.size()});
  std::ranges::copy(old_body, memory.subspan(record_bytes).begin());
  copy_ = std::move(copy);
  record_ = *Record::Read(std::as_bytes(std::span(copy_)), 0);
  mapping_.reset();
}

absl::StatusOr<std::shared_ptr<const CachedObject>> ReaderView::Reference(
    const std::shared_ptr<Mapping>& mapping, std::uint64_t offset, std::string_view key) {
  if (const auto known = mapping->objects.find(offset); known != mapping->objects.end()) {
    std::shared_ptr<const CachedObject> object = known->second.lock();
    if (object->key() != key) return InvalidArgument("another key's object");
    return object;
  }
  if (mapping->kind == Kind::kCopied) {
    return Error(absl::StatusCode::kNotFound, "its record was not copied");
  }
  ASSIGN_OR_RETURN(const Record record, Record::Read(mapping->memfd->bytes(), offset));
  // A collision of hashes.
  if (record.key() != key) return InvalidArgument("another key's object");
  const std::shared_ptr<CachedObject> object(new CachedObject(mapping, offset, record));
  mapping->objects.emplace(offset, object);
  return object;
}

std::variant<ReaderView::Miss, ReaderView::NeedsMemfd, ReaderView::Hit> ReaderView::Lookup(
    std::string_view key) {
  const std::optional<IndexEntry> entry = index_.Find(index_.Hash(key));
  if (!entry) return Miss{};
  const auto mapping = mappings_.find(entry->memfd);
  const NeedsMemfd needed{entry->memfd, entry->record_offset};
  if (mapping == mappings_.end()) return needed;
  auto object = Reference(mapping->second, entry->record_offset, key);
  if (absl::IsNotFound(object.status())) return needed;
  if (!object.ok()) return Miss{};
  return Hit{*std::move(object), *entry};
}

absl::Status ReaderView::Map(std::uint64_t memfd, UniqueFd fd, Kind kind) {
  // Asked for twice, and answered twice, is one.
  if (mappings_.contains(memfd)) return absl::OkStatus();
  ASSIGN_OR_RETURN(shm::Memfd mapped,
                   shm::Memfd::Adopt(std::move(fd), shm::Memfd::Access::kRead,
                                     {.max = std::numeric_limits<std::size_t>::max()}));
  // Asked after it was mapped: it may have been retired after the answer was sent, and before the
  // counter was read last. An object of its own is kept all the same: followers read it to its end.
  if (kind == Kind::kChunk && !index_.IsLive(memfd)) {
    released_.push_back(memfd);
    return absl::OkStatus();
  }
  mappings_.emplace(memfd, std::shared_ptr<Mapping>(
                               new Mapping{.id = memfd, .kind = kind, .memfd = std::move(mapped)}));
  if (!index_.IsLive(memfd)) retirements_seen_ = std::numeric_limits<std::uint64_t>::max();
  return absl::OkStatus();
}

/// One memfd has one mapping here, also while it leaves: of it, one RELEASED is told.
std::shared_ptr<CachedObject::Mapping> ReaderView::Held(std::uint64_t memfd) const {
  if (const auto known = mappings_.find(memfd); known != mappings_.end()) return known->second;
  const auto leaving =
      std::ranges::find(leaving_, memfd, [](const auto& held) { return held->id; });
  return leaving == leaving_.end() ? nullptr : *leaving;
}

void ReaderView::HoldCopied(std::uint64_t memfd) {
  if (Held(memfd) != nullptr) return;
  mappings_.emplace(memfd, std::shared_ptr<Mapping>(
                               new Mapping{.id = memfd, .kind = Kind::kCopied, .memfd = {}}));
  if (!index_.IsLive(memfd)) retirements_seen_ = std::numeric_limits<std::uint64_t>::max();
}

absl::StatusOr<std::shared_ptr<const CachedObject>> ReaderView::AddCopy(
    std::uint64_t memfd, std::uint64_t record_offset, std::vector<std::uint64_t> record) {
  const std::shared_ptr<Mapping> mapping = Held(memfd);
  if (mapping == nullptr) return InvalidArgument("a copy of what is not held");
  ASSIGN_OR_RETURN(const Record head, Record::ReadHead(std::as_bytes(std::span(record))));
  if (mapping->kind != Kind::kCopied) return Reference(mapping, record_offset, head.key());
  if (const auto known = mapping->objects.find(record_offset); known != mapping->objects.end()) {
    return std::shared_ptr<const CachedObject>(known->second.lock());
  }
  const std::shared_ptr<CachedObject> object(new CachedObject(mapping, record_offset, head));
  object->head_only_ = true;
  object->copy_ = std::move(record);  // its bytes stay where they are
  mapping->objects.emplace(record_offset, object);
  return object;
}

absl::StatusOr<std::shared_ptr<const CachedObject>> ReaderView::ObjectAt(
    std::uint64_t memfd, std::uint64_t record_offset, std::string_view key) {
  const auto mapping = mappings_.find(memfd);
  if (mapping == mappings_.end()) {
    return Error(absl::StatusCode::kNotFound, fmt::format("memfd {} is not mapped", memfd));
  }
  return Reference(mapping->second, record_offset, key);
}

std::vector<std::uint64_t> ReaderView::Turn() {
  if (const std::uint64_t retirements = index_.retirements(); retirements != retirements_seen_) {
    retirements_seen_ = retirements;
    for (auto at = mappings_.begin(); at != mappings_.end();) {
      if (index_.IsLive(at->first)) {
        ++at;
        continue;
      }
      leaving_.push_back(std::move(at->second));
      at = mappings_.erase(at);
    }
    for (const std::shared_ptr<Mapping>& mapping : leaving_) {
      if (mapping->kind != Kind::kChunk) continue;
      for (const auto& [offset, object] : mapping->objects) object.lock()->CopyOut();
      mapping->objects.clear();
    }
  }
  std::erase_if(leaving_, [&](const std::shared_ptr<Mapping>& mapping) {
    if (mapping.use_count() > 1) return false;
    released_.push_back(mapping->id);
    return true;
  });
  return std::exchange(released_, {});
}

}  // namespace ds::ipc_proxy_cache
