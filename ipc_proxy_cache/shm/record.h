#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "common/base/status.h"
#include "ipc_proxy_cache/shm/index_layout.h"

// A record: what stands before an object's body in a chunk or a memfd of its own (ARCHITECTURE.md,
// "The store"). 64 bytes of header, the key, the fields; the body lies elsewhere in the same memfd.

namespace ds::ipc_proxy_cache {

struct RecordHeader {
  static constexpr std::uint64_t kMagic = 0x3143455246475344;  // "DSGFREC1"

  std::uint64_t magic;
  std::uint32_t key_bytes;
  std::uint32_t fields_bytes;
  std::uint64_t body_offset;  ///< from the start of the memfd
  std::uint64_t body_bytes;
  std::uint64_t hash_low;
  std::uint64_t hash_high;
  SharedWord filled;  ///< how much of the body is valid; only grows
  std::uint64_t zero;
};
static_assert(sizeof(RecordHeader) == 64);

/// What a record takes, a multiple of kRecordAlignment.
std::uint64_t RecordBytes(std::size_t key_bytes, std::size_t fields_bytes);

/// What is written. The views are copied.
struct RecordContent {
  KeyHash hash;
  std::string_view key;
  std::string_view fields;  ///< opaque here
  std::uint64_t body_offset = 0;
  std::uint64_t body_bytes = 0;
  std::uint64_t filled = 0;
};

/// Writes a record at `offset`; the body is the caller's business. REQUIRES: `offset` is aligned;
/// record and body lie within `memory` and do not overlap; key and fields are below 4 GiB.
void WriteRecord(std::span<std::byte> memory, std::uint64_t offset, const RecordContent& content);

/// Tells readers that the first `filled` bytes of the body are there; they have been written
/// before. REQUIRES: a record was written at `offset`; `filled` does not shrink, nor exceed the
/// body.
void RaiseFilled(std::span<std::byte> memory, std::uint64_t offset, std::uint64_t filled);

/// A record as a reader sees it, all of it within the memory it was read from, which must stay
/// mapped. Copyable, thread-safe.
class Record {
 public:
  /// kInvalidArgument if there is no record at `offset`, or it does not fit into `memory`.
  static absl::StatusOr<Record> Read(std::span<const std::byte> memory, std::uint64_t offset);

  /// A copy of a record alone, from its first byte on: its body lies elsewhere, and Body() is
  /// empty. kInvalidArgument too if the body is not whole.
  static absl::StatusOr<Record> ReadHead(std::span<const std::byte> copy);
  /// What the record that begins with `copy` takes in all, or 0 if there is none, or only part of
  /// its header.
  static std::uint64_t BytesOf(std::span<const std::byte> copy);

  std::string_view key() const { return key_; }
  std::string_view fields() const { return fields_; }
  KeyHash hash() const { return hash_; }
  /// From the start of the memfd, as sendfile(2) wants it.
  std::uint64_t body_offset() const { return body_offset_; }
  std::uint64_t body_bytes() const { return body_bytes_; }
  /// Bytes of the body that may be read now; they do not change any more. All of them are there
  /// when this is body_bytes().
  std::uint64_t Filled() const;
  /// The first Filled() bytes of the body. Reading beyond `filled` would be a race.
  std::span<const std::byte> Body() const { return body_.first(Filled()); }

 private:
  Record() = default;

  std::string_view key_;
  std::string_view fields_;
  KeyHash hash_;
  std::uint64_t body_offset_ = 0;
  std::uint64_t body_bytes_ = 0;
  std::span<const std::byte> body_;
  const SharedWord* filled_ = nullptr;
};

}  // namespace ds::ipc_proxy_cache
