#include "common/fs/append_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <span>
#include <utility>

#include "common/base/big_endian.h"
#include "common/base/check.h"
#include "common/base/parse.h"
#include "common/fs/crc32c.h"
#include "common/fs/damage.h"

namespace ds::fs {
namespace {

constexpr std::string_view kMagic = "DSAPPLOG";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kSegmentHeaderBytes = 32;
constexpr std::size_t kGroupHeaderBytes = 36;
constexpr std::string_view kSuffix = ".log";
constexpr std::size_t kDigits = 20;
/// A buffer that one large group made larger than this is given back.
constexpr std::size_t kBufferKeptBytes = 4U << 20U;

std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

absl::Status Damaged(std::string_view file, std::uint64_t offset, std::string_view why) {
  return DataLoss("log", file, offset, why);
}

std::uint64_t RandomSalt() {
  std::random_device device;
  return std::uint64_t{device()} << 32U | device();
}

std::string SegmentHeader(std::uint64_t first_number, std::uint64_t salt) {
  std::string bytes(kMagic);
  AppendU32(&bytes, kVersion);
  AppendU64(&bytes, first_number);
  AppendU64(&bytes, salt);
  AppendU32(&bytes, Crc32c(bytes));
  return bytes;
}

/// Where the checksums of its groups begin.
std::uint32_t SeedOf(std::string_view segment_header) {
  return Crc32c(segment_header.substr(0, kSegmentHeaderBytes - 4));
}

struct Head {
  std::uint32_t version = 0;
  std::uint64_t first_number = 0;
  std::uint64_t salt = 0;
  std::uint32_t crc = 0;
};

/// What a segment begins with, if it is a header of one.
std::optional<Head> ParseSegmentHeader(std::string_view bytes) {
  BigEndianReader reader(bytes);
  Head head;
  const auto magic = reader.Bytes(kMagic.size());
  head.version = reader.U32().value_or(0);
  head.first_number = reader.U64().value_or(0);
  head.salt = reader.U64().value_or(0);
  const auto crc = reader.U32();
  if (!crc || *crc != SeedOf(bytes) || *magic != kMagic) return std::nullopt;
  head.crc = *crc;
  return head;
}

struct Group {
  std::uint32_t records_crc = 0;
  std::uint64_t bytes = 0;
  std::uint64_t first_number = 0;
  std::uint32_t records = 0;
};

/// What stands at `offset` if it is a group's header. Whether its records are there is not said.
std::optional<Group> ParseGroup(std::string_view bytes, std::uint64_t offset, std::uint32_t seed) {
  BigEndianReader reader(bytes);
  Group group;
  const auto crc = reader.U32();
  group.records_crc = reader.U32().value_or(0);
  group.bytes = reader.U64().value_or(0);
  group.first_number = reader.U64().value_or(0);
  const auto stands_at = reader.U64();
  const auto records = reader.U32();
  // Of the bytes that are no header hardly any get as far as the checksum.
  if (!records || *stands_at != offset) return std::nullopt;
  group.records = *records;
  if (*crc != Crc32c(bytes.substr(4, kGroupHeaderBytes - 4), seed)) return std::nullopt;
  return group;
}

/// Bytes of a file by large reads.
class Window {
 public:
  Window(DiskFile* file, std::uint64_t file_bytes) : file_(file), file_bytes_(file_bytes) {}

  /// Until the next call. Fewer only at the end of the file.
  absl::StatusOr<std::string_view> At(std::uint64_t offset, std::uint64_t bytes) {
    bytes = offset < file_bytes_ ? std::min(bytes, file_bytes_ - offset) : 0;
    if (offset < start_ || offset + bytes > start_ + held_) {
      const std::uint64_t wanted =
          std::min(std::max<std::uint64_t>(bytes, kReadBytes), file_bytes_ - offset);
      if (buffer_.size() < wanted) buffer_.resize(static_cast<std::size_t>(wanted));
      const auto out = std::as_writable_bytes(std::span(buffer_.data(), wanted));
      ASSIGN_OR_RETURN(held_, file_->ReadAt(offset, out));
      start_ = offset;
      bytes = std::min<std::uint64_t>(bytes, held_);
    }
    return std::string_view(buffer_).substr(static_cast<std::size_t>(offset - start_),
                                            static_cast<std::size_t>(bytes));
  }

 private:
  static constexpr std::uint64_t kReadBytes = 1U << 20U;
  DiskFile* file_;
  std::uint64_t file_bytes_;
  std::uint64_t start_ = 0;
  std::size_t held_ = 0;
  std::string buffer_;
};

}  // namespace

struct AppendLog::Reading {
  std::uint64_t segment = 0;
  std::string name;
  std::unique_ptr<DiskFile> file;
  std::uint64_t size = 0;
  Window window;
  std::uint32_t seed = 0;
  std::uint64_t whole = 0;       ///< up to here all is right
  std::uint64_t last_group = 0;  ///< where it begins; 0: there is none
};

AppendLog::AppendLog(Disk& disk, std::string folder, const Options& options)
    : disk_(disk), folder_(std::move(folder)), options_(options) {
  buffer_.resize(kGroupHeaderBytes);
}

absl::StatusOr<std::unique_ptr<AppendLog>> AppendLog::Open(Disk& disk, std::string folder,
                                                           const Options& options,
                                                           const Replay& replay) {
  std::unique_ptr<AppendLog> log(new AppendLog(disk, std::move(folder), options));
  RETURN_IF_ERROR(log->Recover(replay));
  return log;
}

std::string AppendLog::NameOf(std::uint64_t segment) const {
  return fmt::format("{}{}{:0{}}{}", folder_, folder_.empty() ? "" : "/", segment, kDigits,
                     kSuffix);
}

absl::Status AppendLog::Recover(const Replay& replay) {
  if (!folder_.empty()) {
    ASSIGN_OR_RETURN([[maybe_unused]] const bool made, disk_.MakeFolder(folder_, 0777));
    // Also if it was there: who made it may have been killed before this.
    RETURN_IF_ERROR(disk_.SyncFolder(FolderOf(folder_)));
  }
  ASSIGN_OR_RETURN(const std::vector<Disk::Entry> entries, disk_.List(folder_));
  std::vector<std::uint64_t> found;
  for (const Disk::Entry& entry : entries) {
    const std::string_view name = entry.name;
    if (name.size() != kDigits + kSuffix.size() || !name.ends_with(kSuffix)) continue;
    const auto number = ParseDecimal(name.substr(0, kDigits));
    if (number) found.push_back(*number);
  }
  if (!found.empty()) next_number_ = found.front();
  for (const std::uint64_t segment : found) {
    if (segment == 0 || segment != next_number_) {
      return Damaged(NameOf(segment), 0,
                     fmt::format("the segment with record {} is missing", next_number_));
    }
    RETURN_IF_ERROR(Read(segment, segment == found.back(), replay));
  }
  // What was replayed is acted upon, and what is appended says that all before it is durable.
  if (file_) RETURN_IF_ERROR(file_->Sync(DiskFile::What::kContent));
  RETURN_IF_ERROR(disk_.SyncFolder(folder_));
  if (segments_.empty()) salt_ = options_.salt ? *options_.salt : RandomSalt();
  return absl::OkStatus();
}

absl::Status AppendLog::Read(std::uint64_t segment, bool last, const Replay& replay) {
  const std::string name = NameOf(segment);
  ASSIGN_OR_RETURN(std::unique_ptr<DiskFile> file,
                   disk_.OpenFile(name, last ? Disk::Open::kExisting : Disk::Open::kToRead));
  ASSIGN_OR_RETURN(const std::uint64_t size, file->Size());
  Window window(file.get(), size);
  Reading reading{segment, name, std::move(file), size, std::move(window)};

  ASSIGN_OR_RETURN(const std::string_view header, reading.window.At(0, kSegmentHeaderBytes));
  const auto head = ParseSegmentHeader(header);
  if (!head) {
    return last ? RemoveUnbegun(&reading) : Damaged(name, 0, "this is not the header of a segment");
  }
  if (head->version != kVersion) {
    return Error(
        absl::StatusCode::kFailedPrecondition,
        fmt::format("read log \"{}\": its version is {}, not {}", name, head->version, kVersion));
  }
  if (head->first_number != segment) {
    return Damaged(name, 12,
                   fmt::format("its first record is {} by the header", head->first_number));
  }
  reading.seed = head->crc;
  reading.whole = kSegmentHeaderBytes;
  RETURN_IF_ERROR(ReadGroups(&reading, replay));
  if (reading.whole < size) {
    if (!last) return Damaged(name, reading.whole, "damaged, and another segment follows");
    RETURN_IF_ERROR(CheckTorn(&reading, reading.whole, reading.whole + 1));
    RETURN_IF_ERROR(reading.file->Truncate(reading.whole));
    recovery_.torn_bytes += size - reading.whole;
  }
  if (last) {
    // Where an fdatasync failed, the kernel goes on to show what it could not write, and no later
    // one tries again unless it is written again. That can be only what was written last: a group,
    // and the segment's header if that is its first one.
    const std::uint64_t from =
        reading.last_group > kSegmentHeaderBytes ? reading.last_group : std::uint64_t{0};
    ASSIGN_OR_RETURN(const std::string_view end, reading.window.At(from, reading.whole - from));
    RETURN_IF_ERROR(reading.file->WriteAt(from, AsBytes(end)));
  }
  segments_.push_back({segment, reading.whole});
  seed_ = head->crc;
  salt_ = head->salt;
  file_ = std::move(reading.file);
  return absl::OkStatus();
}

absl::Status AppendLog::ReadGroups(Reading* reading, const Replay& replay) {
  const std::string& name = reading->name;
  while (reading->whole < reading->size) {
    const std::uint64_t offset = reading->whole;
    ASSIGN_OR_RETURN(const std::string_view header, reading->window.At(offset, kGroupHeaderBytes));
    const auto group = ParseGroup(header, offset, reading->seed);
    if (!group || group->bytes > reading->size - offset - kGroupHeaderBytes) break;
    ASSIGN_OR_RETURN(const std::string_view payload,
                     reading->window.At(offset + kGroupHeaderBytes, group->bytes));
    if (payload.size() != group->bytes || Crc32c(payload, reading->seed) != group->records_crc) {
      break;
    }
    // The checksums hold: what does not fit from here on was written so.
    if (group->first_number != next_number_ || group->records == 0) {
      return Damaged(name, offset,
                     fmt::format("{} records from {} on, where {} comes next", group->records,
                                 group->first_number, next_number_));
    }
    BigEndianReader records(payload);
    for (std::uint32_t i = 0; i < group->records; ++i) {
      const std::uint64_t record_offset =
          offset + kGroupHeaderBytes + group->bytes - records.rest().size();
      const auto length = records.U32();
      const auto type = records.U8();
      const auto content = type ? records.Bytes(*length) : std::nullopt;
      if (!content) return Damaged(name, record_offset, "a record is longer than its group");
      RETURN_IF_ERROR(replay({next_number_, reading->segment, *type, *content}));
      ++next_number_;
    }
    if (!records.empty()) return Damaged(name, offset, "a group is longer than its records");
    reading->last_group = offset;
    reading->whole = offset + kGroupHeaderBytes + group->bytes;
  }
  return absl::OkStatus();
}

absl::Status AppendLog::CheckTorn(Reading* reading, std::uint64_t damaged, std::uint64_t from) {
  for (; from + kGroupHeaderBytes <= reading->size; ++from) {
    ASSIGN_OR_RETURN(const std::string_view bytes, reading->window.At(from, kGroupHeaderBytes));
    if (ParseGroup(bytes, from, reading->seed)) {
      return Damaged(reading->name, damaged,
                     fmt::format("damaged, and what follows at {} is not", from));
    }
  }
  return absl::OkStatus();
}

absl::Status AppendLog::RemoveUnbegun(Reading* reading) {
  if (segments_.empty()) {
    // Of a log's first segment the header was durable before anything was written behind it.
    if (reading->size > kSegmentHeaderBytes) {
      return Damaged(reading->name, 0, "this is not the header of a segment");
    }
    if (reading->segment != 1) {
      return Damaged(reading->name, 0,
                     fmt::format("the segment with record {} is missing", reading->segment - 1));
    }
  } else {
    // The header that it was to have says by which checksums a second group would be known.
    reading->seed = SeedOf(SegmentHeader(reading->segment, salt_));
    RETURN_IF_ERROR(CheckTorn(reading, 0, kSegmentHeaderBytes + 1));
  }
  RETURN_IF_ERROR(disk_.Remove(reading->name));
  ++recovery_.removed_files;
  // What was opened for reading alone is the last one now, and may be appended to.
  if (!segments_.empty()) {
    ASSIGN_OR_RETURN(file_, disk_.OpenFile(NameOf(segments_.back().first), Disk::Open::kExisting));
  }
  return absl::OkStatus();
}

void AppendLog::Append(std::uint8_t type, std::initializer_list<std::string_view> parts) {
  std::uint64_t length = 0;
  for (const std::string_view part : parts) length += part.size();
  CHECK(length <= kPayloadBytesMax);
  AppendU32(&buffer_, static_cast<std::uint32_t>(length));
  AppendU8(&buffer_, type);
  for (const std::string_view part : parts) buffer_.append(part);
  ++gathered_;
  ++next_number_;
}

bool AppendLog::StartsSegment() const {
  return segments_.empty() || segments_.back().bytes == kSegmentHeaderBytes ||
         segments_.back().bytes >= options_.segment_bytes;
}

std::uint64_t AppendLog::bytes() const {
  std::uint64_t bytes = 0;
  for (const Segment& segment : segments_) bytes += segment.bytes;
  return bytes;
}

absl::Status AppendLog::Sync() {
  if (dead_.ok() && gathered_ > 0) dead_ = WriteGroup();
  return dead_;
}

absl::Status AppendLog::BeginSegment() {
  const std::uint64_t first_number = next_number_ - gathered_;
  const std::string header = SegmentHeader(first_number, salt_);
  ASSIGN_OR_RETURN(file_, disk_.OpenFile(NameOf(first_number), Disk::Open::kEmpty));
  RETURN_IF_ERROR(file_->WriteAt(0, AsBytes(header)));
  // The first one of a log: if its header were torn, nothing would say which groups are its own.
  if (segments_.empty()) RETURN_IF_ERROR(file_->Sync(DiskFile::What::kContent));
  named_ = false;
  seed_ = SeedOf(header);
  segments_.push_back({first_number, kSegmentHeaderBytes});
  return absl::OkStatus();
}

absl::Status AppendLog::WriteGroup() {
  const std::uint64_t held = segments_.empty() ? 0 : segments_.back().bytes;
  if (segments_.empty() || (held > kSegmentHeaderBytes && held >= options_.segment_bytes)) {
    RETURN_IF_ERROR(BeginSegment());
  }
  Segment& segment = segments_.back();
  const std::string_view records = std::string_view(buffer_).substr(kGroupHeaderBytes);
  std::string header;
  AppendU32(&header, Crc32c(records, seed_));
  AppendU64(&header, records.size());
  AppendU64(&header, next_number_ - gathered_);
  AppendU64(&header, segment.bytes);
  AppendU32(&header, gathered_);
  std::string crc;
  AppendU32(&crc, Crc32c(header, seed_));
  buffer_.replace(0, crc.size(), crc);
  buffer_.replace(crc.size(), header.size(), header);

  RETURN_IF_ERROR(file_->WriteAt(segment.bytes, AsBytes(buffer_)));
  RETURN_IF_ERROR(file_->Sync(DiskFile::What::kContent));
  if (!named_) RETURN_IF_ERROR(disk_.SyncFolder(folder_));
  named_ = true;
  segment.bytes += buffer_.size();
  gathered_ = 0;
  buffer_.resize(kGroupHeaderBytes);
  if (buffer_.capacity() > kBufferKeptBytes) buffer_.shrink_to_fit();
  return absl::OkStatus();
}

absl::Status AppendLog::RemoveBefore(std::uint64_t number) {
  CHECK(gathered_ == 0);
  while (dead_.ok() && segments_.size() > 1 && segments_[1].first <= number) {
    dead_ = disk_.Remove(NameOf(segments_.front().first));
    if (dead_.ok()) dead_ = disk_.SyncFolder(folder_);
    segments_.erase(segments_.begin());
  }
  return dead_;
}

}  // namespace ds::fs
