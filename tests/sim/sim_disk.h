#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/rng.h"
#include "common/fs/disk.h"

namespace ds::sim {

/// A Disk in memory that knows what would survive a loss of power: of a file what was synced, of a
/// folder the names that were in it when it was synced. A rename is atomic, whatever was synced of
/// it. The test owns it, and with it the power switch. Single threaded.
class SimDisk final : public fs::Disk {
 public:
  enum class Survival {
    kSynced,  ///< nothing but what must
    kNames,   ///< all names, and of the content what must: files that are short or empty
    kRandom,  ///< some names; pages of content, each new or old
    kTorn,    ///< some names; files that grew end anywhere, sectors of content are new or old
  };

  SimDisk();
  ~SimDisk() override;

  // --- The power ---

  /// The power fails at the n-th operation from now that changes or syncs something: this one and
  /// all after it have no effect and fail, until PowerOn().
  void FailPowerAfter(std::uint64_t operations) { power_left_ = operations; }
  /// Everything that did not survive is gone. Open files go on failing.
  void PowerOn(Survival survival, Rng& rng);
  /// Operations that counted for FailPowerAfter().
  std::uint64_t operations() const { return operations_; }
  /// Files whose content came out of a PowerOn() neither as it was synced nor as it was written.
  std::uint64_t torn() const { return torn_; }

  // --- Faults ---

  /// Syncs for which this holds do nothing. "file content <name>", "file all <name>", "folder
  /// <name>". To show that a sync is needed.
  std::function<bool(const std::string& sync)> forgotten_sync;
  /// Asked before each operation ("create", "open", "write", "read", "truncate", "attributes",
  /// "sync", "rename", "remove", "make folder", "sync folder", "list") on this name.
  std::function<absl::Status(const std::string& operation, const std::string& name)> fault;
  std::uint64_t free_bytes = std::uint64_t{1} << 40U;
  /// The n-th sync of a file or folder from now fails with kDataLoss, once. As on Linux, the pages
  /// of that file which it should have written are taken for written: they are read as before, but
  /// no later sync writes them unless they have been written anew.
  void FailSync(std::uint64_t n) { syncs_left_ = n; }
  std::uint64_t failed_syncs() const { return failed_syncs_; }
  /// The disk holds so many bytes of content; a write beyond fails with kResourceExhausted after
  /// the part that fits. FreeBytes() is then what is left.
  std::optional<std::uint64_t> capacity_bytes;
  std::int64_t now_unix_s = 1'000'000;
  /// Bytes that were written and not yet begun to be written out or synced, of all open files.
  std::uint64_t dirty_bytes() const;

  // --- What a reader sees ---

  std::optional<std::string> Read(const std::string& name) const;
  /// Of all files and folders ("name/"), sorted.
  std::vector<std::string> Names() const;
  unsigned ModeOf(const std::string& name) const;
  std::int64_t MtimeOf(const std::string& name) const;

  // --- Disk ---

  absl::StatusOr<std::unique_ptr<fs::DiskFile>> OpenFile(const std::string& name,
                                                         Disk::Open open) override;
  absl::Status Rename(const std::string& from, const std::string& to, Target target) override;
  absl::Status Remove(const std::string& name) override;
  absl::StatusOr<bool> MakeFolder(const std::string& name, unsigned mode) override;
  absl::Status SyncFolder(const std::string& name) override;
  absl::StatusOr<std::vector<Entry>> List(const std::string& folder) override;
  absl::StatusOr<bool> Exists(const std::string& name) override;
  absl::StatusOr<std::uint64_t> FreeBytes() override;

 private:
  class File;
  struct Inode;
  using Link = std::shared_ptr<Inode>;
  using Tree = std::map<std::string, Link>;
  /// Names that change together; null: the name goes.
  using Change = std::vector<std::pair<std::string, Link>>;

  /// An operation that changes something may begin.
  absl::Status Begin(const std::string& operation, const std::string& name);
  absl::Status Look(const std::string& operation, const std::string& name) const;
  /// This sync is the one of FailSync().
  bool SyncFails();
  /// Of capacity_bytes, beside the content of all files that have a name. REQUIRES: it is set.
  std::uint64_t Left() const;
  /// A file of `size_now` may grow to `size`.
  bool Fits(std::uint64_t size, std::uint64_t size_now) const;
  absl::Status NeedFolder(const std::string& name) const;
  void Make(Change change);
  /// Makes the pending changes for which `wanted` holds durable, and those before them that they
  /// build upon.
  void Settle(const std::function<bool(const Change&)>& wanted);

  Tree tree_;
  Tree durable_;
  std::vector<Change> pending_;
  std::optional<std::uint64_t> power_left_;
  std::uint64_t operations_ = 0;
  std::uint64_t boots_ = 0;
  std::uint64_t torn_ = 0;
  std::uint64_t syncs_left_ = 0;
  std::uint64_t failed_syncs_ = 0;
};

}  // namespace ds::sim
