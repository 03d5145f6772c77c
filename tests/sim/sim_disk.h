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

  // --- Faults ---

  /// Syncs for which this holds do nothing. "file content <name>", "file all <name>", "folder
  /// <name>". To show that a sync is needed.
  std::function<bool(const std::string& sync)> forgotten_sync;
  /// Asked before each operation ("create", "open", "write", "read", "truncate", "attributes",
  /// "sync", "rename", "remove", "make folder", "sync folder", "list") on this name.
  std::function<absl::Status(const std::string& operation, const std::string& name)> fault;
  std::uint64_t free_bytes = std::uint64_t{1} << 40U;
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
  absl::StatusOr<std::uint64_t> FreeBytes() override { return free_bytes; }

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
};

}  // namespace ds::sim
