#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/fs/disk.h"
#include "raft/core/node.h"

namespace ds::raft {

/// What a member must find again after its death or a loss of power: hard state and entries in a
/// segmented append log with group commit, and the newest snapshot in a file of its own. Used by one
/// thread at a time, but for ReadSnapshot(). Formats: raft/ARCHITECTURE.md.
///
/// An error of Write(), SaveSnapshot() or Forget() ends the member: what is on the disk is not
/// known any more. kResourceExhausted (the disk is full) leaves what was durable before as it was,
/// and a new Open() finds it.
class RaftStore {
 public:
  struct Options {
    std::uint64_t segment_bytes = 64 << 20;  ///< a log segment is closed beyond this
  };
  /// What Open() had to do.
  struct Recovery {
    std::uint64_t torn_bytes = 0;  ///< cut off the end: a write that never became durable
    std::uint64_t removed_files = 0;
  };

  /// Opens or creates the store in `folder` of `disk` (made if it is missing). A torn end is cut
  /// off; damage before it is kDataLoss, with file and offset in the message. `disk` outlives the
  /// store.
  static absl::StatusOr<std::unique_ptr<RaftStore>> Open(fs::Disk& disk, std::string folder,
                                                         const Options& options);
  ~RaftStore();

  /// There is nothing in it: no hard state, no snapshot, no entry.
bool empty() const;
const Recovery& recovery() const;
  /// What it held when it was opened. Once.
Restored TakeRestored();

  /// Makes the durable part of `output` (hard state, snapshot part, install, entries) durable; when
  /// it returns OK, Node::Persisted(output.batch) may be called.
absl::Status Write(const Output& output);

  /// Makes a snapshot durable that this member made itself (meta.bytes == bytes.size()). A new
  /// cluster begins with one at index 0.
absl::Status SaveSnapshot(const SnapshotMeta& meta, std::string_view bytes);
  /// Entries up to `index` are not needed any more: whole segments of such are removed.
  /// REQUIRES: index <= the snapshot's.
absl::Status Forget(LogIndex index);

  /// The newest durable snapshot; none in an empty store.
std::optional<SnapshotMeta> snapshot() const;
  /// Bytes of the snapshot whose last position is `last`; kNotFound if that is not the newest.
absl::StatusOr<std::string> ReadSnapshot(LogPosition last, std::uint64_t offset,
                                           std::uint64_t length);

 private:
  class Impl;
  explicit RaftStore(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace ds::raft
