#include "ipc_proxy_cache/shm/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "common/base/check.h"

namespace ds::ipc_proxy_cache {
namespace {

/// Whether [offset, offset + bytes) lies within `size`, without wrapping around.
bool Within(std::uint64_t offset, std::uint64_t bytes, std::uint64_t size) {
  return offset <= size && bytes <= size - offset;
}

bool Overlap(std::uint64_t offset, std::uint64_t bytes, std::uint64_t other_offset,
             std::uint64_t other_bytes) {
  return other_bytes > 0 && offset < other_offset + other_bytes && other_offset < offset + bytes;
}

absl::Status NoRecord(std::uint64_t offset, std::string_view why) {
  return InvalidArgument(fmt::format("read the record at {}: {}", offset, why));
}

}  // namespace

std::uint64_t RecordBytes(std::size_t key_bytes, std::size_t fields_bytes) {
  const std::uint64_t bytes = sizeof(RecordHeader) + key_bytes + fields_bytes;
  return (bytes + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment;
}

void WriteRecord(std::span<std::byte> memory, std::uint64_t offset, const RecordContent& content) {
  const std::uint64_t bytes = RecordBytes(content.key.size(), content.fields.size());
  CHECK(content.key.size() <= UINT32_MAX && content.fields.size() <= UINT32_MAX);
  CHECK(offset % kRecordAlignment == 0 && Within(offset, bytes, memory.size()));
  CHECK(Within(content.body_offset, content.body_bytes, memory.size()));
  CHECK(!Overlap(offset, bytes, content.body_offset, content.body_bytes));
  CHECK(content.filled <= content.body_bytes);
  std::byte* const place = memory.data() + offset;
  new (place) RecordHeader{.magic = RecordHeader::kMagic,
                           .key_bytes = static_cast<std::uint32_t>(content.key.size()),
                           .fields_bytes = static_cast<std::uint32_t>(content.fields.size()),
                           .body_offset = content.body_offset,
                           .body_bytes = content.body_bytes,
                           .hash_low = content.hash.low,
                           .hash_high = content.hash.high,
                           .filled = content.filled,
                           .zero = 0};
  std::byte* const text = place + sizeof(RecordHeader);
  std::copy_n(reinterpret_cast<const std::byte*>(content.key.data()), content.key.size(), text);
  std::copy_n(reinterpret_cast<const std::byte*>(content.fields.data()), content.fields.size(),
              text + content.key.size());
}

void RaiseFilled(std::span<std::byte> memory, std::uint64_t offset, std::uint64_t filled) {
  CHECK(offset % kRecordAlignment == 0 && Within(offset, sizeof(RecordHeader), memory.size()));
  auto* const header = reinterpret_cast<RecordHeader*>(memory.data() + offset);
  CHECK(header->magic == RecordHeader::kMagic && filled <= header->body_bytes);
  CHECK(filled >= header->filled.load(std::memory_order_relaxed));
  header->filled.store(filled, std::memory_order_release);
}

absl::StatusOr<Record> Record::Read(std::span<const std::byte> memory, std::uint64_t offset) {
  if (offset % kRecordAlignment != 0) return NoRecord(offset, "not aligned");
  if (!Within(offset, sizeof(RecordHeader), memory.size())) {
    return NoRecord(offset, fmt::format("beyond the end at {}", memory.size()));
  }
  const auto* const header = reinterpret_cast<const RecordHeader*>(memory.data() + offset);
  if (header->magic != RecordHeader::kMagic) return NoRecord(offset, "no magic");
  // Each length is loaded once: what was checked is what is used.
  const std::uint64_t key_bytes = header->key_bytes;
  const std::uint64_t fields_bytes = header->fields_bytes;
  const std::uint64_t body_offset = header->body_offset;
  const std::uint64_t body_bytes = header->body_bytes;
  const std::uint64_t bytes = RecordBytes(key_bytes, fields_bytes);
  if (!Within(offset, bytes, memory.size())) {
    return NoRecord(offset, fmt::format("key of {} and fields of {} bytes beyond the end at {}",
                                        key_bytes, fields_bytes, memory.size()));
  }
  if (!Within(body_offset, body_bytes, memory.size())) {
    return NoRecord(offset, fmt::format("body of {} bytes at {} beyond the end at {}", body_bytes,
                                        body_offset, memory.size()));
  }
  if (Overlap(offset, bytes, body_offset, body_bytes)) {
    return NoRecord(offset, fmt::format("its body at {} lies in it", body_offset));
  }
  const char* const text = reinterpret_cast<const char*>(header) + sizeof(RecordHeader);
  Record record;
  record.key_ = {text, key_bytes};
  record.fields_ = {text + key_bytes, fields_bytes};
  record.hash_ = {.low = header->hash_low, .high = header->hash_high};
  record.body_offset_ = body_offset;
  record.body_bytes_ = body_bytes;
  record.body_ = memory.subspan(body_offset, body_bytes);
  record.filled_ = &header->filled;
  return record;
}

std::uint64_t Record::BytesOf(std::span<const std::byte> copy) {
  if (copy.size() < sizeof(RecordHeader)) return 0;
  const auto* const header = reinterpret_cast<const RecordHeader*>(copy.data());
  if (header->magic != RecordHeader::kMagic) return 0;
  return RecordBytes(header->key_bytes, header->fields_bytes);
}

absl::StatusOr<Record> Record::ReadHead(std::span<const std::byte> copy) {
  const std::uint64_t bytes = BytesOf(copy);
  if (bytes == 0 || bytes > copy.size()) return NoRecord(0, "a copy that is not whole");
  const auto* const header = reinterpret_cast<const RecordHeader*>(copy.data());
  if (header->filled.load(std::memory_order_relaxed) != header->body_bytes) {
    return NoRecord(0, "a body that is not whole");
  }
  const char* const text = reinterpret_cast<const char*>(header) + sizeof(RecordHeader);
  Record record;
  record.key_ = {text, header->key_bytes};
  record.fields_ = {text + header->key_bytes, header->fields_bytes};
  record.hash_ = {.low = header->hash_low, .high = header->hash_high};
  record.body_offset_ = header->body_offset;
  record.body_bytes_ = header->body_bytes;
  record.filled_ = &header->filled;
  return record;
}

std::uint64_t Record::Filled() const {
  // The bound holds whatever the word says.
  return std::min<std::uint64_t>(filled_->load(std::memory_order_acquire), body_.size());
}

}  // namespace ds::ipc_proxy_cache
