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

/// Writes a snapshot under a name of its own, front to back. Used by one thread at a time. What is
/// not finished is nothing: the file is there until somebody removes it.
class SnapshotWriter {
 public:
  /// Creates or empties the file. kInvalidArgument: a configuration that no reader would take.
  static absl::StatusOr<std::unique_ptr<SnapshotWriter>> Create(fs::Disk& disk, std::string name,
                                                                const SnapshotMeta& meta);

  const std::string& name() const { return name_; }
  const SnapshotMeta& meta() const { return meta_; }
  /// How many of meta().bytes are there.
  std::uint64_t written() const { return written_; }
  bool finished() const { return finished_; }

  /// kInvalidArgument: that is more than meta().bytes.
  absl::Status Append(std::string_view bytes);
  /// Makes the file durable, not its name. kInvalidArgument: bytes are missing.
  absl::Status Finish();

 private:
  SnapshotWriter(std::string name, SnapshotMeta meta)
      : name_(std::move(name)), meta_(std::move(meta)) {}

  const std::string name_;
  const SnapshotMeta meta_;
  std::unique_ptr<fs::DiskFile> file_;
  std::uint64_t file_bytes_ = 0;
  std::uint64_t written_ = 0;
  std::uint32_t block_crc_ = 0;  // of the block that is not full yet
  std::string block_crcs_;       // of the full ones, as they are written
  bool finished_ = false;
};

}  // namespace ds::raft
