#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/fs/disk.h"
#include "raft/core/types.h"

namespace ds::raft {

/// A snapshot on a disk: what it is of, its bytes, and checksums of blocks of them. Format:
/// raft/ARCHITECTURE.md. A value; ReadAt() may be called by several threads.
class SnapshotFile {
 public:
  /// Reads all but the snapshot's bytes. kDataLoss names the file.
  static absl::StatusOr<SnapshotFile> Open(fs::Disk& disk, std::string name);

  const std::string& name() const { return name_; }
  const SnapshotMeta& meta() const { return meta_; }
  /// Bytes from `offset` on, fewer at the end; kDataLoss if they are not what was written.
  absl::StatusOr<std::string> ReadAt(std::uint64_t offset, std::uint64_t length) const;

  static constexpr std::uint64_t kBlockBytes = 64U << 10U;

 private:
  SnapshotFile(fs::Disk& disk, std::string name) : disk_(&disk), name_(std::move(name)) {}

  fs::Disk* disk_;
  std::string name_;
  SnapshotMeta meta_;
  std::uint64_t data_offset_ = 0;
  std::vector<std::uint32_t> block_crcs_;
};

/// Writes a snapshot under a name of its own, front to back; how long it is need not be known
/// before. Used by one thread at a time. What is not finished is nothing, and has no header: the
/// file is there until somebody removes it.
class SnapshotWriter {
 public:
  /// Creates or empties the file; what meta.bytes is does not matter. kInvalidArgument: a
  /// configuration that no reader would take.
  static absl::StatusOr<std::unique_ptr<SnapshotWriter>> Create(fs::Disk& disk, std::string name,
                                                                const SnapshotMeta& meta);

  const std::string& name() const { return name_; }
  /// Its `bytes` are those of Create() until Finish() makes them written().
  const SnapshotMeta& meta() const { return meta_; }
  std::uint64_t written() const { return written_; }
  bool finished() const { return finished_; }

  absl::Status Append(std::string_view bytes);
  /// Nothing comes any more. Makes the file durable, not its name.
  absl::Status Finish();

 private:
  SnapshotWriter(std::string name, SnapshotMeta meta, std::string configuration)
      : name_(std::move(name)), meta_(std::move(meta)), configuration_(std::move(configuration)) {}

  const std::string name_;
  SnapshotMeta meta_;
  const std::string configuration_;  // as it is written
  std::unique_ptr<fs::DiskFile> file_;
  std::uint64_t file_bytes_ = 0;
  std::uint64_t written_ = 0;
  std::uint32_t block_crc_ = 0;  // of the block that is not full yet
  std::string block_crcs_;       // of the full ones, as they are written
  bool finished_ = false;
};

}  // namespace ds::raft
