#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/fs/disk.h"
#include "raft/core/node.h"
#include "raft/storage/snapshot_file.h"

namespace ds::raft {

/// What a member must find again after its death or a loss of power: hard state and entries in a
/// segmented append log with group commit, and the newest snapshot in a file of its own. Used by
/// one thread at a time, but for ReadSnapshot() and BeginSnapshot(). Formats: raft/ARCHITECTURE.md.
///
/// An error of Write(), SaveSnapshot(), Adopt() or Forget() ends the member: what is on the disk is
/// not known any more, and the store repeats the error. kResourceExhausted (the disk is full)
/// leaves what was durable before as it was, and a new Open() finds it. One process at a time opens
/// a store; the daemon sees to that.
class RaftStore {
 public:
  struct Options {
    std::uint64_t segment_bytes = 64 << 20;  ///< a log segment is closed beyond this
    std::optional<std::uint64_t> salt;       ///< fs::AppendLog::Options::salt
  };
  /// What Open() had to do.
  struct Recovery {
    std::uint64_t torn_bytes = 0;  ///< cut off the end: a write that never became durable
    std::uint64_t removed_files = 0;
  };

  /// Opens or creates the store in `folder` of `disk` (made if it is missing; its parent is not). A
  /// torn end is cut off; damage before it is kDataLoss, with file and offset in the message.
  /// `disk` outlives the store.
  static absl::StatusOr<std::unique_ptr<RaftStore>> Open(fs::Disk& disk, std::string folder,
                                                         const Options& options);
  ~RaftStore();

  /// There is nothing in it: no hard state, no snapshot, no entry.
  bool empty() const;
  const Recovery& recovery() const;
  /// What it held when it was opened, with the entries before the snapshot that Forget() has not
  /// removed yet: it removes whole segments, so there may be more than were asked to stay. Once.
  Restored TakeRestored();

  /// Makes the durable parts of `outputs` (hard state, snapshot part, install, entries), in their
  /// order, durable: all of them or none. When it returns OK, Node::Persisted() may be called with
  /// the last one's batch. However many they are, without a snapshot it is one write and one
  /// fdatasync; a new segment or an install needs some more.
  /// Parts of a snapshot are not durable before its install: a restart drops them. A part that is
  /// not the next of the snapshot being received, or an install of anything but what was received
  /// whole, is kInvalidArgument: the core sees to the order. Of several installs only the last
  /// one's snapshot can be read afterwards. REQUIRES: entries leave no gap.
  absl::Status Write(std::span<const Output* const> outputs);
  absl::Status Write(const Output& output);

  /// Makes a snapshot durable that this member made itself (meta.bytes == bytes.size()). A new
  /// cluster begins with one at index 0. One of a position that the log does not have makes the log
  /// begin anew after it; one that is not newer than snapshot() does nothing.
  absl::Status SaveSnapshot(const SnapshotMeta& meta, std::string_view bytes);
  /// The same in two steps, so that a large one need not hold up the log: fill and Finish() the
  /// writer on any thread, then give it to Adopt() on the store's. At most one at a time. How many
  /// bytes it comes to need not be known before: meta() of the finished writer says it.
  absl::StatusOr<std::unique_ptr<SnapshotWriter>> BeginSnapshot(const SnapshotMeta& meta);
  /// REQUIRES: finished.
  absl::Status Adopt(std::unique_ptr<SnapshotWriter> writer);
  /// Entries up to `index` are not needed any more: whole segments of such are removed.
  /// REQUIRES: index <= the snapshot's.
  absl::Status Forget(LogIndex index);
  /// What the log takes on the disk; only Forget() and an install make it less, by whole segments.
  /// Who compacts by size compares it with what it was after the last Forget().
  std::uint64_t log_bytes() const;

  /// The newest durable snapshot; none in an empty store. Any thread.
  std::optional<SnapshotMeta> snapshot() const;
  /// Bytes of the snapshot whose last position is `last`, fewer at its end; kNotFound if that is
  /// not the newest, kDataLoss if they are damaged. Any thread.
  absl::StatusOr<std::string> ReadSnapshot(LogPosition last, std::uint64_t offset,
                                           std::uint64_t length) const;

 private:
  class Impl;
  explicit RaftStore(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace ds::raft
