#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/fs/disk.h"

namespace ds::fs {

/// Records on a disk, in the order in which they were appended, numbered from 1; what a durable
/// store replays when it starts. Written in groups: Append() gathers records, Sync() makes them
/// durable with one write and one fdatasync, all of them or none. Kept in segments, files of a
/// folder of its own, so that the oldest records can be removed. One owner; not thread-safe; nobody
/// else writes in the folder.
///
/// Files, numbers big-endian. "<number of the first record, 20 digits>.log":
///   segment header   0  8  "DSAPPLOG"
///                    8  4  version, 1
///                   12  8  number of the first record
///                   20  8  salt
///                   28  4  CRC-32C of bytes 0 to 28
///   then groups      0  4  CRC-32C of the segment header's bytes 0 to 28 and bytes 4 to 36 of this
///                    4  4  CRC-32C of the segment header's bytes 0 to 28 and the group's records
///                    8  8  length of the records in bytes
///                   16  8  number of the first one
///                   24  8  offset of this group in the file
///                   32  4  how many they are, at least 1
///   of records       0  4  length of the payload
///                    4  1  type, the owner's
///                    5     payload
///
/// What a loss of power can do. A group is begun only when the one before it is durable, and a
/// segment only when the one before it is; the header of a segment becomes durable with its first
/// group, by the same sync (that of a log's first segment, whose salt nothing else says, before
/// it). So all that a loss of power may damage is one group at the end, of which any pages may be
/// there and any missing, with the segment's header if it is the first one. Hence the rule of
/// Open(), for a group that is not whole and right, and for a segment's header (with which goes its
/// first group):
///   - in the last segment, with no header of a group behind it: never durable, cut off (a file
///     whose header it is: removed);
///   - with a header of a group anywhere behind it (each says where it stands): kDataLoss, for a
///     header is written only when all before it is durable;
///   - in an earlier segment: kDataLoss.
/// A whole later group is not asked for, since it may be torn itself. Damage to the very last group
/// cannot be told from a torn write. The salt keeps a payload that is the image of a group header
/// from being taken for one.
class AppendLog {
 public:
  struct Options {
    std::uint64_t segment_bytes = 64U << 20U;  ///< a segment this large is not appended to
    /// For a new log; none: a random one. Simulations give their own.
    std::optional<std::uint64_t> salt;
  };
  struct Recovery {
    std::uint64_t torn_bytes = 0;     ///< cut off the end
    std::uint64_t removed_files = 0;  ///< segments that had not come to be
  };
  struct Record {
    std::uint64_t number = 0;
    std::uint64_t segment = 0;  ///< number of the first record of its segment
    std::uint8_t type = 0;
    std::string_view payload;  ///< until the call returns
  };
  /// An error ends Open() with it.
  using Replay = std::function<absl::Status(const Record& record)>;

  /// Opens or creates the log in `folder`, whose parent must exist, and gives all records to
  /// `replay`. When it returns OK, these records are durable: also those of a process that was
  /// killed before its fdatasync, or whose fdatasync failed. kDataLoss names file and offset.
  /// `disk` outlives the log.
  static absl::StatusOr<std::unique_ptr<AppendLog>> Open(Disk& disk, std::string folder,
                                                         const Options& options,
                                                         const Replay& replay);

  AppendLog(const AppendLog&) = delete;
  AppendLog& operator=(const AppendLog&) = delete;

  static constexpr std::uint64_t kPayloadBytesMax = UINT32_MAX;

  /// Adds a record to the group; its payload is the parts in a row. No I/O, no error.
  /// REQUIRES: kPayloadBytesMax is not exceeded.
  void Append(std::uint8_t type, std::initializer_list<std::string_view> parts);
  /// The group that is being gathered begins a segment: its owner may want to repeat in it what the
  /// segments before it say, so that these can be removed.
  bool StartsSegment() const;
  /// Makes the group durable; nothing to do without records. After an error nobody knows what is on
  /// the disk, and this object only repeats the error; another Open() finds all groups before this
  /// one, and this one if it was whole. kResourceExhausted: the disk is full.
  absl::Status Sync();

  /// Of the record that is appended next.
  std::uint64_t next_number() const { return next_number_; }
  /// Of the segment that the last group went to; 0: there is no segment.
  std::uint64_t last_segment() const { return segments_.empty() ? 0 : segments_.back().first; }
  /// Of all segments, without the group that is being gathered.
  std::uint64_t bytes() const;
  const Recovery& recovery() const { return recovery_; }

  /// Removes from the front the segments that have only records before `number`, but for the last
  /// segment. Durable one by one, so that no loss of power leaves a gap. An error is final as that
  /// of Sync(). REQUIRES: no group is being gathered.
  absl::Status RemoveBefore(std::uint64_t number);

 private:
  AppendLog(Disk& disk, std::string folder, const Options& options);

  struct Segment {
    std::uint64_t first = 0;  ///< number of its first record
    std::uint64_t bytes = 0;
  };
  /// Of a segment, by Open().
  struct Reading;

  std::string NameOf(std::uint64_t segment) const;
  absl::Status Recover(const Replay& replay);
  /// Reads a segment, and cuts its torn end off if it is the last one.
  absl::Status Read(std::uint64_t segment, bool last, const Replay& replay);
  /// All groups that are whole.
  absl::Status ReadGroups(Reading* reading, const Replay& replay);
  /// kDataLoss, if a group's header stands at `from` or behind: what is at `damaged` was durable.
  static absl::Status CheckTorn(Reading* reading, std::uint64_t damaged, std::uint64_t from);
  /// Of the last segment: its header is not right.
  absl::Status RemoveUnbegun(Reading* reading);
  absl::Status BeginSegment();
  absl::Status WriteGroup();

  Disk& disk_;
  const std::string folder_;
  const Options options_;
  Recovery recovery_;
  absl::Status dead_;

  std::vector<Segment> segments_;   // by the number of the first record, growing
  std::unique_ptr<DiskFile> file_;  // the last segment
  bool named_ = true;               // durably
  std::uint32_t seed_ = 0;          // CRC of its segment header
  std::uint64_t salt_ = 0;

  std::string buffer_;  // room for the group's header, then its records
  std::uint32_t gathered_ = 0;
  std::uint64_t next_number_ = 1;
};

}  // namespace ds::fs
