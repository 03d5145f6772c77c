#include "raft/storage/snapshot_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "common/base/big_endian.h"
#include "common/base/check.h"
#include "common/fs/crc32c.h"
#include "common/fs/damage.h"

namespace ds::raft {
namespace {

using fs::Crc32c;
using fs::DiskFile;

constexpr std::string_view kMagic = "DSRAFTSN";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeadBytes = 40;  // before the configuration
constexpr std::size_t kCrcBytes = 4;
/// More than any configuration that Validate() lets through.
constexpr std::uint32_t kConfigurationBytesMax = 1U << 20U;

absl::Status Damaged(std::string_view name, std::uint64_t offset, std::string_view why) {
  return fs::DataLoss("snapshot", name, offset, why);
}

absl::StatusOr<std::string> ReadBytes(DiskFile* file, std::uint64_t offset, std::uint64_t bytes) {
  std::string read(static_cast<std::size_t>(bytes), '\0');
  ASSIGN_OR_RETURN(const std::size_t size,
                   file->ReadAt(offset, std::as_writable_bytes(std::span(read))));
  read.resize(size);
  return read;
}

std::uint64_t BlocksOf(std::uint64_t bytes) {
  return bytes / SnapshotFile::kBlockBytes + (bytes % SnapshotFile::kBlockBytes != 0 ? 1 : 0);
}

}  // namespace

absl::StatusOr<SnapshotFile> SnapshotFile::Open(fs::Disk& disk, std::string name) {
  SnapshotFile snapshot(disk, std::move(name));
  const std::string& file_name = snapshot.name_;
  ASSIGN_OR_RETURN(const std::unique_ptr<DiskFile> file,
                   disk.OpenFile(file_name, fs::Disk::Open::kToRead));
  ASSIGN_OR_RETURN(const std::uint64_t size, file->Size());
  ASSIGN_OR_RETURN(std::string header, ReadBytes(file.get(), 0, kHeadBytes));
  BigEndianReader reader(header);
  const auto magic = reader.Bytes(kMagic.size());
  const auto version = reader.U32();
  const auto configuration_bytes = reader.U32();
  const auto bytes = reader.U64();
  const auto term = reader.U64();
  const auto index = reader.U64();
  if (!index || *magic != kMagic || *configuration_bytes > kConfigurationBytesMax) {
    return Damaged(file_name, 0, "this is not the header of a snapshot");
  }
  if (*version != kVersion) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 fmt::format("read snapshot \"{}\": its version is {}, not {}", file_name, *version,
                             kVersion));
  }
  ASSIGN_OR_RETURN(const std::string rest,
                   ReadBytes(file.get(), kHeadBytes, *configuration_bytes + kCrcBytes));
  const std::string_view configuration = std::string_view(rest).substr(0, *configuration_bytes);
  const auto crc = BigEndianReader(std::string_view(rest).substr(configuration.size())).U32();
  if (!crc || *crc != Crc32c(configuration, Crc32c(header))) {
    return Damaged(file_name, 0, "the header is damaged");
  }
  if (!configuration.empty()) {
    auto decoded = DecodeConfiguration(configuration);
    if (!decoded.ok()) return Damaged(file_name, kHeadBytes, ds::Message(decoded.status()));
    snapshot.meta_.configuration = *std::move(decoded);
  }
  snapshot.meta_.last = {Term(*term), LogIndex(*index)};
  snapshot.meta_.bytes = *bytes;
  snapshot.data_offset_ = kHeadBytes + rest.size();

  const std::uint64_t table_bytes = BlocksOf(*bytes) * kCrcBytes;
  if (*bytes > size || size != snapshot.data_offset_ + *bytes + table_bytes + kCrcBytes) {
    return Damaged(file_name, size, "the file's size does not fit its header");
  }
  const std::uint64_t table_offset = snapshot.data_offset_ + *bytes;
  ASSIGN_OR_RETURN(const std::string table,
                   ReadBytes(file.get(), table_offset, table_bytes + kCrcBytes));
  BigEndianReader crcs(table);
  for (std::uint64_t i = 0; i < table_bytes / kCrcBytes; ++i) {
    snapshot.block_crcs_.push_back(crcs.U32().value_or(0));
  }
  if (crcs.U32() != Crc32c(std::string_view(table).substr(0, table_bytes))) {
    return Damaged(file_name, table_offset, "the checksums are damaged");
  }
  return snapshot;
}

absl::StatusOr<std::string> SnapshotFile::ReadAt(std::uint64_t offset, std::uint64_t length) const {
  if (offset >= meta_.bytes || length == 0) return std::string();
  const std::uint64_t end = offset + std::min(length, meta_.bytes - offset);
  const std::uint64_t first_block = offset / kBlockBytes;
  const std::uint64_t start = first_block * kBlockBytes;
  const std::uint64_t stop = std::min(meta_.bytes, BlocksOf(end) * kBlockBytes);
  ASSIGN_OR_RETURN(const std::unique_ptr<DiskFile> file,
                   disk_->OpenFile(name_, fs::Disk::Open::kToRead));
  ASSIGN_OR_RETURN(std::string bytes, ReadBytes(file.get(), data_offset_ + start, stop - start));
  if (bytes.size() != stop - start) return Damaged(name_, data_offset_ + start, "it ends here");
  for (std::size_t at = 0; at < bytes.size(); at += kBlockBytes) {
    const auto block = static_cast<std::size_t>(first_block) + at / kBlockBytes;
    if (Crc32c(std::string_view(bytes).substr(at, kBlockBytes)) != block_crcs_[block]) {
      return Damaged(name_, data_offset_ + start + at, "this block is damaged");
    }
  }
  bytes.resize(static_cast<std::size_t>(end - start));
  bytes.erase(0, static_cast<std::size_t>(offset - start));
  return bytes;
}

absl::StatusOr<std::unique_ptr<SnapshotWriter>> SnapshotWriter::Create(fs::Disk& disk,
                                                                       std::string name,
                                                                       const SnapshotMeta& meta) {
  std::string configuration;
  if (meta.configuration != Configuration{}) {
    RETURN_IF_ERROR(meta.configuration.Validate());
    configuration = EncodeConfiguration(meta.configuration);
  }
  std::unique_ptr<SnapshotWriter> writer(
      new SnapshotWriter(std::move(name), meta, std::move(configuration)));
  ASSIGN_OR_RETURN(writer->file_, disk.OpenFile(writer->name_, fs::Disk::Open::kEmpty));
  writer->file_bytes_ = kHeadBytes + writer->configuration_.size() + kCrcBytes;
  return writer;
}

absl::Status SnapshotWriter::Append(std::string_view bytes) {
  CHECK(!finished_);
  RETURN_IF_ERROR(file_->WriteAt(file_bytes_, std::as_bytes(std::span(bytes))));
  file_->StartWriteOut(file_bytes_, bytes.size());
  file_bytes_ += bytes.size();
  while (!bytes.empty()) {
    const std::uint64_t room = SnapshotFile::kBlockBytes - written_ % SnapshotFile::kBlockBytes;
    const std::string_view part = bytes.substr(0, static_cast<std::size_t>(room));
    block_crc_ = Crc32c(part, block_crc_);
    written_ += part.size();
    if (part.size() == room) {
      AppendU32(&block_crcs_, block_crc_);
      block_crc_ = 0;
    }
    bytes.remove_prefix(part.size());
  }
  return absl::OkStatus();
}

absl::Status SnapshotWriter::Finish() {
  CHECK(!finished_);
  if (written_ % SnapshotFile::kBlockBytes != 0) AppendU32(&block_crcs_, block_crc_);
  AppendU32(&block_crcs_, Crc32c(block_crcs_));
  RETURN_IF_ERROR(file_->WriteAt(file_bytes_, std::as_bytes(std::span(block_crcs_))));
  meta_.bytes = written_;
  std::string header(kMagic);
  AppendU32(&header, kVersion);
  AppendU32(&header, static_cast<std::uint32_t>(configuration_.size()));
  AppendU64(&header, meta_.bytes);
  AppendU64(&header, meta_.last.term.value());
  AppendU64(&header, meta_.last.index.value());
  header += configuration_;
  AppendU32(&header, Crc32c(header));
  RETURN_IF_ERROR(file_->WriteAt(0, std::as_bytes(std::span(header))));
  RETURN_IF_ERROR(file_->Sync(DiskFile::What::kContent));
  finished_ = true;
  return absl::OkStatus();
}

}  // namespace ds::raft
